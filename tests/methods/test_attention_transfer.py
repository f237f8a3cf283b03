import pytest
import torch
import torch.nn.functional as F

from tutelage.methods.attention_transfer import AttentionTransfer


def seen(maps):
    energy = maps.square().sum(1).flatten(1)
    return energy / energy.norm(dim=1, keepdim=True)


@pytest.mark.parametrize(
    ("form", "weight", "row"),
    [
        ("code", 1000.0, lambda d: 1000 * d.square().mean(1)),
        ("paper", 0.1, lambda d: 0.05 * d.norm(dim=1)),
    ],
)
def test_every_stage_counts_and_the_pool_by_its_trust(make_nets, batch, form, weight, row):
    method = AttentionTransfer(form=form, weight=weight, unsupervised=0.5)
    nets = make_nets(method)
    nets.student.eval()
    images = torch.cat([batch.labeled.strong, batch.unlabeled.strong])
    student, teacher = nets.student(images), nets.teacher(images)
    rows = sum(row(seen(student.features[name]) - seen(teacher.features[name])) for name in ("stage1", "stage2"))
    terms = method.loss(nets, batch)
    torch.testing.assert_close(terms["attention"], (rows[:6].sum() + 0.5 * rows[6:].sum()) / 10)
    torch.testing.assert_close(terms["task"], F.cross_entropy(student.logits[:6], batch.labeled.labels))
    assert terms["distillation"] == 0


def test_soft_labels_may_join(make_nets, batch):
    method = AttentionTransfer(soft=2.0)
    nets = make_nets(method)
    nets.student.eval()
    images = torch.cat([batch.labeled.strong, batch.unlabeled.strong])
    student, teacher = nets.student(images).logits / 4, nets.teacher(images).logits / 4
    divergence = F.kl_div(student.log_softmax(-1), teacher.log_softmax(-1), log_target=True, reduction="batchmean")
    torch.testing.assert_close(method.loss(nets, batch)["distillation"], 2 * 16 * divergence)
