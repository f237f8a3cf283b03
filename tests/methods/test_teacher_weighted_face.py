import math

import pytest
import torch

from tutelage.methods.teacher_weighted_face import TeacherWeightedFace

HALF = [math.log(2.0), 0.0, 0.0]  # probabilities 1/2, 1/4, 1/4


@pytest.mark.parametrize(
    ("wrong", "label", "weight"), [("silent", 0, 0.5), ("silent", 1, 0.0), ("doubted", 0, 0.5), ("doubted", 1, 0.25)]
)
def test_the_teacher_counts_as_far_as_it_is_right(echoing, say, saying, wrong, label, weight):
    """Embeddings of echoing networks are their logits. KL of [1/2, 1/4, 1/4] from thirds is ln 3 - 3/2 ln 2."""
    method = TeacherWeightedFace(wrong=wrong, temperature=1.0, soft=2.0, hint=3.0)
    terms = method.loss(echoing(method), saying(strong=say([[0.0] * 3], [HALF]), labels=[label]))
    torch.testing.assert_close(terms["distillation"], torch.tensor(2 * weight * (math.log(3) - 1.5 * math.log(2))))
    torch.testing.assert_close(terms["hint"], torch.tensor(3 * weight * math.log(2) ** 2))
    torch.testing.assert_close(terms["task"], torch.tensor(math.log(3)))


def test_of_wrong_teachers_nothing_but_the_labels_is_left(echoing, say, saying):
    method = TeacherWeightedFace()
    batch = saying(strong=say([[1.0, 2.0, 3.0]] * 2, [[9.0, 0.0, 0.0]] * 2), labels=[1, 2])
    terms = method.loss(echoing(method), batch)
    assert terms["distillation"] == terms["hint"] == 0
    assert terms["task"] > 0


def test_on_the_pool_it_counts_as_far_as_it_is_sure(echoing, say, saying):
    """The mean is over all images: a labelled one of weight 0, a pool one of weight 1/2 that counts 0.5."""
    method = TeacherWeightedFace(unsupervised=0.5)
    batch = saying(strong=say([[0.0] * 3], [HALF]), labels=[1], pool_strong=say([[0.0] * 3], [HALF]))
    hint = method.loss(echoing(method), batch)["hint"]
    torch.testing.assert_close(hint, torch.tensor(0.5 * 0.5 * math.log(2) ** 2 / 1.5))


def test_distances_are_summed_over_the_embedding_and_softening_keeps_its_t_squared(make_nets, batch):
    method = TeacherWeightedFace()
    nets = make_nets(method)
    nets.student.eval()
    images = torch.cat([batch.labeled.strong, batch.unlabeled.strong])
    student, teacher = nets.student(images), nets.teacher(images)
    told = teacher.logits.softmax(-1)
    right = told.amax(-1)
    right[:6] = torch.where(told[:6].argmax(-1) == batch.labeled.labels, right[:6], 0.0)
    squares = (nets.extra(student.embedding) - teacher.embedding).square().sum(1)
    terms = method.loss(nets, batch)
    torch.testing.assert_close(terms["hint"], (right * squares).mean())
    soft, wanted = (student.logits / 4).log_softmax(-1), (teacher.logits / 4).softmax(-1)
    torch.testing.assert_close(terms["distillation"], 16 * (right * (wanted * (wanted.log() - soft)).sum(1)).mean())
