import pytest
import torch
import torch.nn.functional as F
from tiny import nets_of, tiny_vit
from torch import nn

from tutelage.losses.distillation import kl_rows
from tutelage.methods.pkd import PKD
from tutelage.types import BadInput, Sizes


@pytest.mark.parametrize(("blocks", "followed"), [("skip", [2, 4]), ("last", [4, 5])])
def test_terms_are_the_papers(batch, blocks, followed):
    method = PKD(blocks=blocks, alpha=0.25, beta=10.0, temperature=1.0, unsupervised=0.5)
    given = tiny_vit(6)
    nn.init.normal_(given.net.head.weight, std=3.0)
    nets = nets_of(method, tiny_vit(3), given)
    images, trust = torch.cat([batch.labeled.strong, batch.unlabeled.strong]), torch.tensor([1.0] * 6 + [0.5] * 8)
    student, teacher = nets.student(images, tokens="hidden"), nets.teacher(images, tokens="hidden")
    rows = [
        (F.normalize(student.tokens.hidden[mine][:, 0], dim=1) - F.normalize(teacher.tokens.hidden[other][:, 0], dim=1))
        .square()
        .mean(1)
        for mine, other in zip([1, 2], followed, strict=True)
    ]
    soft = kl_rows(student.logits, teacher.logits, temperature=1.0, reduction="mean")
    terms = method.loss(nets, batch)
    torch.testing.assert_close(terms["patience"], 10 * (torch.stack(rows).mean(0) * trust).sum() / 10)
    torch.testing.assert_close(terms["distillation"], 0.25 * (soft * trust).sum() / 10)
    torch.testing.assert_close(terms["task"], 0.75 * F.cross_entropy(student.logits[:6], batch.labeled.labels))


def test_the_teacher_itself_has_nothing_to_follow(batch):
    method, teacher = PKD(), tiny_vit(3)
    terms = method.loss(nets_of(method, teacher, teacher), batch)
    torch.testing.assert_close(terms["patience"], torch.tensor(0.0))
    torch.testing.assert_close(terms["distillation"], torch.tensor(0.0), atol=1e-5, rtol=0)


def test_other_widths_have_a_map_between_them_and_one_block_is_refused(batch):
    method = PKD()
    nets = nets_of(method, tiny_vit(2), tiny_vit(3, width=12))
    assert method.loss(nets, batch)["patience"].isfinite()
    with pytest.raises(BadInput, match="has 1 block"):
        method.init(tiny_vit(1), tiny_vit(3), Sizes(6, 8, 3, 60))
