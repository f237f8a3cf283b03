import itertools

import pytest
import torch
from torch import nn

from tutelage.models.average import Frozen
from tutelage.models.backbone import NetworkSpec, create
from tutelage.models.files import count_parameters
from tutelage.train.nas_student import (
    Blocks,
    Joined,
    Search,
    choose,
    fit_stage,
    likeness,
    rate_stage,
    relative_error,
    search,
)
from tutelage.types import BadInput, Sizes

SIZES = Sizes(labeled=6, unlabeled=8, classes=3, steps=8)
SPECS = tuple(NetworkSpec(width=width, image_size=8) for width in (2, 3, 8))


@pytest.fixture
def teacher():
    return create(NetworkSpec(width=4, image_size=8), 3).eval()


def test_a_candidate_that_is_too_large_is_not_trained(engine, teacher, batch):
    settings, started = Search(specs=SPECS, parameters=count_parameters(create(SPECS[1], 3)), steps=2), []

    def batches():
        started.append(True)
        return itertools.repeat(batch)

    rated = list(search(settings, teacher, batches, torch.rand(12, 3, 8, 8), sizes=SIZES, accelerator=engine))
    assert [one.spec for one in rated] == list(SPECS[:2])
    assert [one.parameters for one in rated] == [count_parameters(create(spec, 3)) for spec in SPECS[:2]]
    assert all(-1 <= one.score <= 1 for one in rated)
    assert len(started) == 2


def test_a_rating_depends_on_the_seed_and_on_nothing_before_it(engine, teacher, batch):
    probe = torch.rand(12, 3, 8, 8)

    def rate(specs, seed=0):
        settings = Search(specs=specs, parameters=10**6, steps=3, seed=seed)
        return list(search(settings, teacher, lambda: [batch] * 3, probe, sizes=SIZES, accelerator=engine))

    before = torch.get_rng_state()
    whole = rate(SPECS)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert rate(SPECS[1:]) == whole[1:]
    assert rate(SPECS, seed=1) != whole


def test_training_counts(engine, teacher, batch):
    def rate(steps):
        settings = Search(specs=SPECS[:1], parameters=10**6, steps=steps)
        found = search(
            settings, teacher, lambda: itertools.repeat(batch), batch.labeled.weak, sizes=SIZES, accelerator=engine
        )
        return next(found).score

    assert len({rate(0), rate(1), rate(5)}) == 3


def test_a_teacher_is_most_like_itself(teacher):
    probe = torch.rand(12, 3, 8, 8)
    torch.testing.assert_close(likeness(teacher, teacher, probe), torch.tensor(1.0))
    torch.testing.assert_close(
        likeness(create(teacher.spec, 3).train(), Frozen(teacher), probe) < 0.99, torch.tensor(True)
    )


def test_a_search_without_candidates_is_refused(engine, teacher, batch):
    with pytest.raises(BadInput, match="at least one spec"):
        Search(specs=(), parameters=10)
    least = count_parameters(create(SPECS[0], 3))
    with pytest.raises(BadInput, match=f"parameters is 10, and the smallest candidate has {least}"):
        list(
            search(
                Search(specs=SPECS, parameters=10),
                teacher,
                list,
                torch.rand(4, 3, 8, 8),
                sizes=SIZES,
                accelerator=engine,
            )
        )


def test_relative_error_by_hand():
    wanted = torch.tensor([0.0, 2.0, 4.0, 6.0]).view(1, 1, 2, 2)  # variance 5
    torch.testing.assert_close(relative_error(wanted + 2, wanted), torch.tensor(4 / 5))
    torch.testing.assert_close(relative_error(torch.full_like(wanted, 3.0), wanted), torch.tensor(1.0))
    torch.testing.assert_close(relative_error(10 * (wanted + 2), 10 * wanted), torch.tensor(4 / 5))


def narrow():
    """From the map behind stage 1 of the teacher to the size of that behind stage 2."""
    return nn.Conv2d(8, 8, 1, stride=2)


def test_the_teachers_own_stage_loses_nothing_and_is_taken_where_it_fits(teacher):
    own, small = teacher.net.stages[1], narrow()
    images = [torch.rand(16, 3, 8, 8) for _ in range(3)]
    rated = rate_stage(teacher, 2, [small, own], images)
    torch.testing.assert_close(rated.losses[1], torch.tensor(0.0), atol=1e-6, rtol=0)
    assert rated.losses[0] > 0.1
    assert choose([rated], count_parameters(own)) == (1,)
    assert choose([rated], count_parameters(own) - 1) == (0,)


def test_candidates_learn_to_imitate_the_stage_and_the_teacher_stays(teacher):
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    candidates = [
        narrow(),
        nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 8, 1)),
    ]
    images = [torch.rand(16, 3, 8, 8) for _ in range(8)]
    untrained = rate_stage(teacher, 2, candidates, images[:2]).losses
    losses = list(fit_stage(teacher, 2, candidates, images * 10, lr=1e-2))
    assert losses[0].shape == (2,)
    assert (rate_stage(teacher, 2, candidates, images[:2]).losses < 0.7 * untrained).all()
    torch.testing.assert_close(dict(teacher.state_dict()), before, rtol=0, atol=0)


def test_a_stage_of_candidates_that_learn_nothing_is_rated_all_the_same(teacher):
    assert len(list(fit_stage(teacher, 2, [nn.AvgPool2d(2)], [torch.rand(4, 3, 8, 8)] * 2))) == 2


def blocks(*of):
    """Candidates of so many parameters, with such losses."""
    nets = [nn.Linear(size, 1, bias=False) for size, _ in of]
    return Blocks(nets, torch.tensor([loss for _, loss in of]))


def test_the_least_sum_that_fits_is_chosen():
    stages = [blocks((10, 0.1), (2, 0.5)), blocks((10, 0.2), (1, 0.9))]
    assert choose(stages, 20) == (0, 0)
    assert choose(stages, 19) == (1, 0)  # 0.7 with 12 parameters, against 1.0 with 11
    assert choose(stages, 11) == (0, 1)
    assert choose(stages, 3) == (1, 1)
    assert choose([blocks((10, 0.5), (2, 0.5))], 20) == (1,)  # of equals, the smaller
    with pytest.raises(BadInput, match="parameters is 2, and the smallest student has 3"):
        choose(stages, 2)


def test_the_teachers_own_stages_joined_are_the_teacher(teacher):
    stem = nn.Sequential(nn.BatchNorm2d(3, affine=False, eps=1e-12), teacher.net.stem, teacher.net.stages[0]).eval()
    stem[0].running_mean.fill_(0.5)
    stem[0].running_var.fill_(0.25)  # normalises as the teacher does
    student = Joined(teacher, [stem, *teacher.net.stages[1:]]).eval()
    images = torch.rand(4, 3, 8, 8)
    ours, theirs = student(images), teacher(images)
    torch.testing.assert_close(ours.logits, theirs.logits)
    torch.testing.assert_close(ours.embedding, theirs.embedding)
    torch.testing.assert_close(ours.features, theirs.features)
    assert student.widths == teacher.widths
