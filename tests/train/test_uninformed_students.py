import pytest
import torch
from interrupted import continues

from tutelage.models.backbone import NetworkSpec, create
from tutelage.models.files import save_model
from tutelage.train.uninformed_students import Detector, begin, calibrate, fit, load_anomalies, measure, save_anomalies
from tutelage.types import BadInput, Diverged

SPEC = NetworkSpec(width=8, image_size=16)


def normal(batches, *, seed=0, size=16):
    """Stripes, of any phase."""
    draw = torch.Generator().manual_seed(seed)
    for _ in range(batches):
        phase = 6.3 * torch.rand(16, 1, 1, 1, generator=draw)
        stripes = 0.5 + 0.4 * torch.sin(torch.arange(32.0).view(1, 1, 1, 32) + phase)
        yield stripes[..., :size].expand(16, 3, size, size).contiguous()


def detector(students=3, *, seed=0):
    torch.manual_seed(seed)
    return Detector(create(SPEC, 3).eval(), [create(SPEC, 3) for _ in range(students)], "stage1:stage1")


def learned(made, images, *, lr):
    """The losses of each student in each step."""
    return torch.stack([torch.stack(list(step.terms.values())) for step in fit(begin(made, lr=lr), images)])


@pytest.fixture(scope="module")
def trained():
    made = detector()
    measure(made, normal(10))
    before = {name: value.clone() for name, value in made.teacher.state_dict().items()}
    losses = learned(made, normal(60, seed=1), lr=2e-2)
    calibrate(made, normal(5, seed=2))
    torch.testing.assert_close(dict(made.teacher.state_dict()), before, rtol=0, atol=0)
    return made, losses


def test_students_learn_what_is_normal(trained):
    _, losses = trained
    assert losses.shape == (60, 3)
    assert (losses[-5:].mean(0) < 0.2 * losses[0]).all()


def test_a_defect_stands_out_from_the_pixels_around_it(trained):
    made, _ = trained
    (clean,) = normal(1, seed=3)
    images = clean.clone()
    torch.manual_seed(3)
    images[:, :, 6:10, 6:10] = torch.rand(16, 3, 4, 4)
    scores = made(images)
    assert scores.shape == (16, 16, 16)
    around = torch.ones(16, 16, dtype=torch.bool)
    around[3:13, 3:13] = False
    inside, outside = scores[:, 6:10, 6:10].flatten(1), scores[:, around]
    assert (inside.mean(1) > outside.amax(1)).float().mean() >= 0.9
    for damaged, whole in zip(made.signals(images), made.signals(clean), strict=True):  # each of the two sees it alone
        assert damaged[:, 3:5, 3:5].mean() > 2 * whole[:, 3:5, 3:5].mean()  # stage1: one position for 2 x 2 pixels


def test_normal_images_score_about_zero(trained):
    made, _ = trained
    scores = torch.cat([made.eval().signals(x).flatten(1) for x in normal(5, seed=2)], dim=1)
    torch.testing.assert_close(made.usual, scores.mean(1))
    torch.testing.assert_close(made.usual_spread, scores.std(1, correction=0))
    assert made(next(normal(1, seed=4))).mean().abs() < 1


def test_the_teacher_is_normalised_by_channel():
    made = detector()
    measure(made, normal(4))
    _, told = made.maps(torch.cat(list(normal(4))))
    torch.testing.assert_close(told.mean((0, 2, 3)), torch.zeros(8), atol=1e-5, rtol=0)
    spread = told.std((0, 2, 3), correction=0)
    assert ((spread - 1).abs() < 1e-4).sum() + (spread == 0).sum() == 8  # or dead


def test_same_seed_same_students_and_others_by_another():
    def run(seed):
        made = detector(2, seed=seed)
        measure(made, normal(2))
        return learned(made, normal(3), lr=1e-3)

    assert torch.equal(run(0), run(0))
    assert not torch.equal(run(0), run(1))
    assert not torch.equal(*run(0).unbind(1))


def test_one_student_never_disagrees_with_itself():
    made = detector(1)
    e, v = made.signals(next(normal(1)))
    assert e.mean() > 0
    assert (v == 0).all()


def test_what_is_missing_is_said():
    net = create(SPEC, 3)
    with pytest.raises(BadInput, match="students is empty"):
        Detector(net, [], "stage1:stage1")
    with pytest.raises(BadInput, match="'stage9' is no stage of the teacher"):
        Detector(net, [net], "stage1:stage9")
    with pytest.raises(BadInput, match="normal has 0 positions"):
        measure(detector(), [])


def test_cut_and_continued_is_bit_equal_to_never_cut(tmp_path):
    def start():
        run = begin(detector(2), lr=1e-3)
        measure(run.detector, normal(1))
        return run

    continues(start, fit, list(normal(5)), 2, tmp_path)


def test_a_loss_that_is_no_number_stops_the_run():
    (images,) = normal(1)
    with pytest.raises(Diverged, match="not finite at step 1"):
        next(fit(begin(detector(1)), [images * torch.nan]))


def test_from_a_file_it_says_the_same(trained, tmp_path):
    made, _ = trained
    save_anomalies(tmp_path / "model.safetensors", made, classes=["a", "b", "c"], method="here")
    (images,) = normal(1, seed=5)
    assert torch.equal(load_anomalies(tmp_path / "model.safetensors")(images), made(images))
    save_model(tmp_path / "other.safetensors", create(SPEC, 3), classes=["a", "b", "c"], method="here")
    with pytest.raises(BadInput, match="one for maps of anomalies is needed here"):
        load_anomalies(tmp_path / "other.safetensors")
