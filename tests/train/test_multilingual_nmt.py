import math

import pytest
import torch
import torch.nn.functional as F

from tutelage.train.multilingual_nmt import MultilingualNMT, Teaching, top_classes
from tutelage.types import BadInput


def test_the_top_classes_sum_to_one_again():
    kept = top_classes(torch.tensor([[0.5, 0.3, 0.15, 0.05]]), 2)
    torch.testing.assert_close(kept, torch.tensor([[0.625, 0.375, 0.0, 0.0]]))
    every = torch.randn(3, 5).softmax(-1)
    torch.testing.assert_close(top_classes(every, 8), every)


def test_the_loss_by_hand():
    """The student says 1/2, 1/4, 1/4. NLL of class 0 is ln 2; against 0.625, 0.375 it is (0.625 + 2 * 0.375) ln 2."""
    logits = torch.tensor([[0.5, 0.25, 0.25]]).log()
    teacher = torch.tensor([[0.5, 0.3, 0.2]])
    method = MultilingualNMT(top=2, share=0.25)
    wanted = (0.75 + 0.25 * (0.625 + 2 * 0.375)) * math.log(2)
    assert method.loss(logits, torch.tensor([0]), teacher).item() == pytest.approx(wanted)


def test_a_task_that_left_its_teacher_learns_from_labels_alone():
    logits, labels = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    assert MultilingualNMT().loss(logits, labels, None) == F.cross_entropy(logits, labels)


def test_no_gradient_reaches_a_teacher():
    teacher = torch.randn(2, 3, requires_grad=True)
    logits = torch.randn(2, 3, requires_grad=True)
    MultilingualNMT().loss(logits, torch.tensor([0, 1]), teacher.softmax(-1)).backward()
    assert teacher.grad is None
    assert logits.grad.any()


def test_a_teacher_is_left_when_the_student_is_better_by_the_threshold_and_comes_back():
    method = MultilingualNMT(threshold=1.0)
    teaching, teacher = Teaching.begin(["de", "fr"]), {"de": 30.0, "fr": 20.0}
    teaching = teaching.judged(method, {"de": 31.0, "fr": 21.5}, teacher)
    assert teaching.active == {"de": True, "fr": False}
    assert teaching.judged(method, {"de": 31.1, "fr": 20.5}, teacher).active == {"de": False, "fr": True}


def test_what_cannot_be_is_refused():
    with pytest.raises(BadInput, match="top of MultilingualNMT is 0"):
        MultilingualNMT(top=0)
    with pytest.raises(BadInput, match="share of MultilingualNMT"):
        MultilingualNMT(share=2.0)
    with pytest.raises(BadInput, match="task fr has no score"):
        Teaching.begin(["de", "fr"]).judged(MultilingualNMT(), {"de": 1.0}, {"de": 1.0, "fr": 1.0})
