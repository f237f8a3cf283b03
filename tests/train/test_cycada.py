import copy

import pytest
import torch
from interrupted import continues
from tiny import Tiny
from torch import nn

from tutelage.train.adversarial import Pair, pairs
from tutelage.train.cycada import IMAGES, CyCADA, begin, fit, translated
from tutelage.train.settings import Optimiser
from tutelage.types import BadInput

SETTINGS, CPU = Optimiser(), torch.device("cpu")
FAST = CyCADA(lr=1e-2)


@pytest.fixture
def pair(batch) -> Pair:
    seen = next(pairs([batch], device=CPU))
    return seen._replace(source=0.2 * seen.source, target=0.8 + 0.2 * seen.target)


def start(method=FAST):
    torch.manual_seed(3)
    return begin(method, Tiny(4), torch.zeros(2, 3, 8, 8))


def steps(run, seen, number, method=FAST):
    return list(fit(method, run, [seen] * number, SETTINGS))


def test_the_image_stage_has_the_papers_weights():
    assert (IMAGES.cycle, IMAGES.semantic, IMAGES.identity, IMAGES.perceptual) == (10, 1, 0, 0)


def says_only(critic, verdict):
    nn.init.zeros_(critic[-1].weight)
    nn.init.constant_(critic[-1].bias, verdict)


def test_a_critic_that_is_not_right_often_enough_moves_nothing(pair):
    """One that says "source" of all is right for 12 of 12 images and 0 of 8: 0.5, and not more."""
    method, run = CyCADA(lr=1e-12, least=0.5), start(CyCADA(lr=1e-12))
    says_only(run.critic, 1.0)
    before = copy.deepcopy(run.student.state_dict())
    (step,) = steps(run, pair, 1, method)
    torch.testing.assert_close(run.student.state_dict(), before, rtol=0, atol=0)
    assert step.terms["fooling"] == 0
    (step,) = steps(run, pair, 1, CyCADA(lr=1e-12, least=0.49))
    assert step.terms["fooling"] > 0


def test_the_student_climbs_the_critics_verdict_and_the_sources_network_stays(pair):
    """A critic that calls the first logit "source": it grows on the target."""
    method = CyCADA(lr=1e-3, least=0.0)
    run = start(method)
    run.critic = nn.Linear(3, 1, bias=False)
    run.critic.weight.data.copy_(torch.tensor([[1.0, 0.0, 0.0]]))
    run.critic_optimizer = torch.optim.SGD(run.critic.parameters(), lr=1e-9)
    known, before = (net.eval()(pair.target).logits for net in (run.source, run.student))
    torch.testing.assert_close(known, before)
    steps(run, pair, 10, method)
    after = run.student(pair.target).logits
    assert (after[:, 0] > before[:, 0]).all()
    torch.testing.assert_close(run.source(pair.target).logits, known, rtol=0, atol=0)


def test_cut_and_continued_is_bit_equal_to_never_cut(pair, tmp_path):
    continues(start, lambda run, seen: fit(FAST, run, seen, SETTINGS), [pair] * 6, 2, tmp_path)


def test_constant_images_stay_finite_and_labels_are_not_read(pair):
    flat = pair._replace(source=torch.zeros_like(pair.source), target=torch.ones_like(pair.target))
    runs = [start() for _ in range(2)]
    steps(runs[0], flat, 5)
    steps(runs[1], flat._replace(labels=flat.labels.flip(0)), 5)
    assert all(x.isfinite().all() for x in runs[0].student.state_dict().values())
    torch.testing.assert_close(runs[0].student.state_dict(), runs[1].student.state_dict(), rtol=0, atol=0)


def test_the_second_stage_sees_translated_source_images_with_their_labels(batch):
    class Darker(nn.Module):
        def forward(self, images):
            return 0.5 * images

    (seen,) = translated([batch], Darker(), device=CPU)
    torch.testing.assert_close(seen.labeled.strong, 0.5 * batch.labeled.strong)
    torch.testing.assert_close(seen.labeled.weak, 0.5 * batch.labeled.weak)
    assert seen.labeled.labels is batch.labeled.labels
    assert seen.unlabeled is batch.unlabeled


def test_numbers_out_of_range_are_refused():
    with pytest.raises(BadInput, match="least of CyCADA is 2"):
        CyCADA(least=2.0)
