import torch
import torch.nn.functional as F
from tiny import nets_of, tiny_vit

from tutelage.methods.minilm import MiniLM


def apart(student, teacher):
    """KL(teacher || student) of each image, the mean over heads and queries."""
    return (teacher.softmax(-1) * (teacher.log_softmax(-1) - student.log_softmax(-1))).sum(-1).mean((1, 2))


def test_terms_are_of_the_last_blocks_whatever_their_widths(batch):
    method = MiniLM(attention=3.0, values=2.0, task=0.5, unsupervised=0.25)
    nets = nets_of(method, tiny_vit(2), tiny_vit(3, width=16))
    images, trust = torch.cat([batch.labeled.strong, batch.unlabeled.strong]), torch.tensor([1.0] * 6 + [0.25] * 8)
    student, teacher = (net(images, tokens="attention") for net in (nets.student, nets.teacher))
    ours, theirs = student.tokens, teacher.tokens
    related = [v @ v.mT / v.shape[-1] ** 0.5 for v in (ours.values[1], theirs.values[2])]
    terms = method.loss(nets, batch)
    torch.testing.assert_close(terms["attention"], 3 * (apart(ours.scores[1], theirs.scores[2]) * trust).sum() / 8)
    torch.testing.assert_close(terms["values"], 2 * (apart(*related) * trust).sum() / 8)
    torch.testing.assert_close(terms["task"], 0.5 * F.cross_entropy(student.logits[:6], batch.labeled.labels))


def test_the_teacher_itself_lacks_nothing(batch):
    method, teacher = MiniLM(), tiny_vit(2)
    terms = method.loss(nets_of(method, teacher, teacher), batch)
    torch.testing.assert_close(terms["attention"] + terms["values"], torch.tensor(0.0), atol=1e-6, rtol=0)
