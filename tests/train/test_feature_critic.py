import copy
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from interrupted import continues
from tiny import Tiny
from torch import nn

from tasks.lesson_params import parse_loop
from tutelage.losses.adversarial import critic_loss
from tutelage.losses.distillation import soft_label_kl
from tutelage.models.backbone import NetworkSpec, create
from tutelage.train.feature_critic import (
    ADV_AUDIO_FD,
    KDFM,
    PORTABLE_STUDENT,
    XMODAL_CGAN,
    FeatureCritic,
    begin,
    deployed,
    fit,
    fooling,
    half,
    losses,
)
from tutelage.train.settings import Optimiser
from tutelage.types import BadInput

SETTINGS = Optimiser(lr=0.05, warmup_steps=1)
WORKS = {"portable_student": PORTABLE_STUDENT, "kdfm": KDFM, "adv_audio_fd": ADV_AUDIO_FD, "xmodal_cgan": XMODAL_CGAN}
every_work = pytest.mark.parametrize("method", list(WORKS.values()), ids=list(WORKS))


def start(method, student=None, teacher=None):
    torch.manual_seed(3)
    return begin(method, student or Tiny(4), teacher or Tiny(6), classes=3, settings=SETTINGS)


def looked(run, batch):
    return run.student.eval()(batch.labeled.strong), run.teacher(batch.labeled.strong), batch.labeled.labels


@pytest.mark.parametrize("name", WORKS)
def test_a_work_is_named_in_params(name):
    assert parse_loop({"name": name}) == WORKS[name]
    assert parse_loop({"name": name, "adversarial": 0.7}) == replace(WORKS[name], adversarial=0.7)
    with pytest.raises(ValueError, match="nonsense"):
        parse_loop({"name": name, "nonsense": 1})


def test_a_critic_that_sees_one_distribution_has_a_loss_of_ln_2_on_each_half():
    """The sum of both halves is 2 ln 2; critic_loss is half of it."""
    verdict = torch.zeros(7)
    torch.testing.assert_close(2 * critic_loss(verdict, verdict, form="bce"), torch.tensor(2 * math.log(2)))


def test_terms_of_the_portable_student(batch):
    run = start(PORTABLE_STUDENT)
    said, told, labels = looked(run, batch)
    terms = losses(PORTABLE_STUDENT, run, said, told, labels)
    assert set(terms) == {"task", "logits"}
    torch.testing.assert_close(terms["task"], F.cross_entropy(said.logits, labels))
    apart = (said.logits - told.logits).square().sum(-1).mean()
    torch.testing.assert_close(terms["logits"], PORTABLE_STUDENT.logits * apart / 2)
    verdict = torch.tensor([0.0, math.log(3)])  # D is 1/2 and 3/4
    by_hand = (math.log(1 / 2) + math.log(1 / 4)) / 2
    torch.testing.assert_close(fooling(PORTABLE_STUDENT, verdict)["fooling"], torch.tensor(0.1 * by_hand))
    plain = replace(PORTABLE_STUDENT, minimax=False)
    by_hand = -(math.log(1 / 2) + math.log(3 / 4)) / 2
    torch.testing.assert_close(fooling(plain, verdict)["fooling"], torch.tensor(0.1 * by_hand))


def test_audio_without_its_critic_is_hints_soft_labels_and_labels(batch):
    method = replace(ADV_AUDIO_FD, adversarial=0.0, hint=2.0, soft=3.0)
    run = start(method)
    said, told, labels = looked(run, batch)
    terms = losses(method, run, said, told, labels)
    pairs = run.beside.eval().adapters(said.features, told.features)
    assert len(pairs) == 2
    run.beside.train()
    torch.testing.assert_close(
        terms["hint"], 2 * sum(F.mse_loss(*pair) for pair in run.beside.adapters(said.features, told.features))
    )
    torch.testing.assert_close(terms["distillation"], 3 * soft_label_kl(said.logits, told.logits, temperature=4.0))
    assert fooling(method, torch.randn(5))["fooling"] == 0


def test_one_classifier_says_the_same_of_equal_features(batch):
    teacher = Tiny(4).eval()
    run = start(KDFM, student=copy.deepcopy(teacher), teacher=teacher)
    nn.init.eye_(run.beside.project.weight)
    said, told, labels = looked(run, batch)
    terms = losses(KDFM, run, said, told, labels)
    torch.testing.assert_close(terms["task"], terms["teacher_task"])
    torch.testing.assert_close(run.critic(said.embedding), run.critic(told.embedding))


def test_without_critic_and_labels_the_missing_modality_is_a_regression(batch):
    method = replace(XMODAL_CGAN, adversarial=0.0, label=0.0)
    run = start(method)
    images, labels = batch.labeled.strong, batch.labeled.labels
    said, told = run.student.eval()(half(images)), run.teacher(images)
    total = sum(losses(method, run, said, told, labels).values())
    torch.testing.assert_close(total, F.mse_loss(run.beside.project(said.embedding), told.embedding))


def test_half_an_image():
    images = torch.rand(2, 3, 4, 6)
    seen = half(images)
    torch.testing.assert_close(seen[..., :3], images[..., :3])
    assert (seen[..., 3:] == 0.5).all()


def test_a_student_of_half_images_never_sees_the_other_half(batch):
    runs = [start(XMODAL_CGAN) for _ in range(2)]
    other = batch.labeled.strong.clone()
    other[..., 4:] = other[..., 4:].flip(0)
    for run, images in zip(runs, (batch.labeled.strong, other), strict=True):
        run.teacher.forward = lambda images, run=run: run.teacher.net(batch.labeled.strong)  # one teacher's answer
        list(fit(XMODAL_CGAN, run, [batch._replace(labeled=batch.labeled._replace(strong=images))], SETTINGS, steps=5))
    torch.testing.assert_close(runs[0].student.state_dict(), runs[1].student.state_dict(), rtol=0, atol=0)


@every_work
def test_critic_and_student_move_and_the_teacher_stays(batch, method):
    run = start(method)
    before = {part: copy.deepcopy(getattr(run, part).state_dict()) for part in ("student", "critic", "teacher")}
    (step,) = fit(method, run, [batch], SETTINGS, steps=5)
    assert all(term.isfinite() for term in step.terms.values())
    moved = {part: any((now != before[part][name]).any() for name, now in getattr(run, part).state_dict().items())
             for part in before}  # fmt: skip
    assert moved == {"student": True, "critic": True, "teacher": False}


@every_work
def test_the_student_goes_where_the_critic_says_teacher(batch, method):
    """Nothing but a critic that does not move: its verdict on the student's features rises."""
    method = replace(method, label=0.0, logits=0.0, soft=0.0, hint=0.0, feature=0.0, adversarial=1.0, critic_lr=1e-12)
    run = start(method)
    steps = list(fit(method, run, [batch] * 12, SETTINGS, steps=12))
    assert steps[-1].terms["fooling"] < steps[0].terms["fooling"]


@every_work
def test_cut_and_continued_is_bit_equal_to_never_cut(batch, method, tmp_path):
    continues(
        lambda: start(method), lambda run, seen: fit(method, run, seen, SETTINGS, steps=5), [batch] * 5, 2, tmp_path
    )


def test_a_shared_classifier_becomes_the_students_head():
    spec = NetworkSpec(width=2, image_size=12)
    run = start(KDFM, student=create(spec, 3), teacher=create(replace(spec, width=16), 3))
    images = torch.rand(4, 3, 12, 12)
    said = run.beside.classify(run.beside.project(run.student.eval()(images).embedding))
    torch.testing.assert_close(deployed(KDFM, run)(images).logits, said)
    with pytest.raises(BadInput, match="Tiny has no linear head"):
        deployed(KDFM, start(KDFM))
    alone = start(PORTABLE_STUDENT)
    assert deployed(PORTABLE_STUDENT, alone) is alone.student


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(BadInput, match=r"minimax is true and form 'least_squares'"):
        FeatureCritic(minimax=True, form="least_squares")
    with pytest.raises(BadInput, match="hint of FeatureCritic is -1"):
        FeatureCritic(hint=-1.0)
    wide = Tiny(4)
    wide.embedding_width = 9
    with pytest.raises(BadInput, match="no map as wide as its embedding"):
        start(KDFM, student=wide)
