import math

import torch

from tutelage.losses.ensembles import voted_triplets
from tutelage.methods.multi_teacher_triplet import MultiTeacherTriplet
from tutelage.models.average import Frozen
from tutelage.models.committee import Committee


def test_terms_of_three_teachers(make_nets, batch):
    method = MultiTeacherTriplet(soft=2.0, triplet=3.0, temperature=4.0, margin=0.3, unsupervised=0.5)
    nets = make_nets(method)
    members = [make_nets(method).teacher.net for _ in range(3)]
    nets = nets._replace(teacher=Frozen(Committee(members)))
    nets.student.eval()
    terms = method.loss(nets, batch)
    images = torch.cat([batch.labeled.strong, batch.unlabeled.strong])
    said, told = nets.student(images), [member.eval()(images) for member in members]
    soft = torch.stack([(one.logits / 4).softmax(-1) for one in told]).mean(0)
    rows = -(soft * (said.logits / 4).log_softmax(-1)).sum(-1)
    trust = torch.tensor([1.0] * 6 + [0.5] * 8)
    torch.testing.assert_close(terms["distillation"], 2 * (rows * trust).sum() / trust.sum())
    triplets = voted_triplets(said.embedding, [one.embedding for one in told], margin=0.3, trust=trust)
    torch.testing.assert_close(terms["triplet"], 3 * triplets)
    assert triplets > 0


def test_an_equal_student_pays_for_certainty_alone(echoing, saying, say):
    """Embeddings are logits. A student that says what its only teacher says has its entropy to pay, and no triplet."""
    method = MultiTeacherTriplet(margin=0.0, temperature=1.0)
    said = [[0.0, 0.0, 0.0], [math.log(2), 0.0, 0.0], [0.0, 5.0, 0.0]]
    terms = method.loss(echoing(method), saying(strong=say(said, said), labels=[0, 0, 1]))
    assert terms["triplet"] == 0
    p = torch.tensor(said).softmax(-1)
    torch.testing.assert_close(terms["distillation"], -(p * p.log()).sum(-1).mean())
