import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F

from tutelage.methods.tf_kd import TfKD

STUDENT, TEACHER = [1.0, 2.0, 3.0], [0.0, 0.0, 0.0]


@pytest.fixture
def one_image(say, saying):
    return saying(strong=say([STUDENT], [TEACHER]), labels=[2])


def test_self_mode_value(echoing, one_image):
    method = TfKD(alpha=0.95, temperature=4.0, multiplier=0.5)
    terms = method.loss(echoing(method), one_image)
    torch.testing.assert_close(terms["distillation"], torch.tensor(0.95 * 0.5 * 0.331613), atol=1e-5, rtol=0)
    torch.testing.assert_close(terms["task"], torch.tensor(0.05 * 0.407606), atol=1e-6, rtol=0)


@pytest.mark.parametrize("target", ["code", "power"])
def test_reg_mode_value_and_the_student_is_not_softened(echoing, one_image, target):
    method = TfKD(mode="reg", target=target)
    raw = [0.005, 0.005, 0.99]
    soft = [math.exp(p / 20) if target == "code" else p ** (1 / 20) for p in raw]
    soft = torch.tensor(soft) / sum(soft)
    by_hand = (soft * (soft.log() - torch.tensor(STUDENT).log_softmax(-1))).sum()
    terms = method.loss(echoing(method), one_image)
    torch.testing.assert_close(terms["distillation"], 0.1 * by_hand, atol=1e-6, rtol=1e-5)


def test_reg_mode_asks_no_teacher(echoing, one_image):
    reg, self_taught = TfKD(mode="reg"), TfKD()
    for method, calls in ((reg, []), (self_taught, [1])):
        nets = echoing(method)
        method.loss(nets, one_image)
        assert nets.teacher.net.calls == calls


def test_alpha_zero_is_cross_entropy(echoing, one_image):
    for mode in ("self", "reg"):
        method = TfKD(mode=mode, alpha=0.0)
        total = sum(method.loss(echoing(method), one_image).values())
        torch.testing.assert_close(total, F.cross_entropy(torch.tensor([STUDENT]), torch.tensor([2])))


@pytest.mark.parametrize(("mode", "paper"), [("self", (0.95, 6.0, 0.5)), ("reg", (0.1, 20.0, 1.0))])
def test_what_is_left_out_is_the_authors(echoing, one_image, mode, paper):
    left_out = TfKD(mode=mode)
    written = TfKD(mode=mode, alpha=paper[0], temperature=paper[1], multiplier=paper[2])
    torch.testing.assert_close(
        left_out.loss(echoing(left_out), one_image), written.loss(echoing(written), one_image), rtol=0, atol=0
    )


@pytest.mark.parametrize("mode", ["self", "reg"])
def test_multiplier_with_mean_is_classes_times_that_with_batchmean(echoing, one_image, mode):
    method = TfKD(mode=mode, multiplier=2.0)
    code = dataclasses.replace(method, multiplier=6.0, reduction="mean")  # 3 classes
    torch.testing.assert_close(method.loss(echoing(method), one_image), code.loss(echoing(code), one_image))
