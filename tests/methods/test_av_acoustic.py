import pytest
import torch

from tutelage.data.modalities import seen_as
from tutelage.methods.av_acoustic import AVAcoustic
from tutelage.methods.kd import KD


def gradients(method, nets, batch):
    nets.student.zero_grad()
    torch.stack(list(method.loss(nets, batch).values())).sum().backward()
    return {name: p.grad.clone() for name, p in nets.student.named_parameters()}


def test_of_one_sense_it_teaches_as_kd_does(make_nets, batch):
    """Cross entropy with soft labels is their divergence and a constant."""
    method, plain = AVAcoustic(sense="colour", hard=0.3, temperature=1.0), KD(alpha=0.7, temperature=1.0)
    nets = make_nets(method)
    nets.student.eval()
    torch.testing.assert_close(gradients(method, nets, batch), gradients(plain, nets, batch))


def test_values(echoing, saying, say):
    """A student that says nothing has ln 3 of everything; only the teacher is softened."""
    method = AVAcoustic(sense="colour", hard=0.25, temperature=2.0)
    batch = saying(strong=say([[1.0, 2.0, 3.0]], [[2.0, 0.0, 0.0]]), labels=[0])
    terms = method.loss(echoing(method), batch)
    told = torch.tensor([1.0, 0.0, 0.0]).softmax(0)
    said = -torch.tensor([1.0, 2.0, 3.0]).log_softmax(0)
    torch.testing.assert_close(terms, {"task": 0.25 * said[0], "distillation": 0.75 * (told * said).sum()})


@pytest.mark.parametrize("sense", ["grey", "edges"])
def test_the_student_alone_has_the_poorer_sense(make_nets, batch, sense):
    method = AVAcoustic(sense=sense)
    nets = make_nets(method)
    nets.student.eval()
    images = torch.cat([batch.labeled.strong, batch.unlabeled.strong])
    said, told = nets.student(seen_as(images, sense)).logits, nets.teacher(images).logits
    expected = -0.5 * ((told / 2).softmax(-1) * said.log_softmax(-1)).sum(-1).mean()
    torch.testing.assert_close(method.loss(nets, batch)["distillation"], expected)
