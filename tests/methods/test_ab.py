import pytest
import torch
import torch.nn.functional as F

from tutelage.methods.ab import AB
from tutelage.types import Outputs


def by_hand(student, teacher, margin):
    """The three cases of the paper, an element at a time."""
    loss = torch.zeros(len(student))
    for row, (ours, theirs) in enumerate(zip(student.flatten(1).tolist(), teacher.flatten(1).tolist(), strict=True)):
        for s, t in zip(ours, theirs, strict=True):
            if t <= 0 and s > -margin:
                loss[row] += (s + margin) ** 2
            elif t > 0 and s <= margin:
                loss[row] += (s - margin) ** 2
    return loss


@pytest.mark.parametrize("margin", [1.0, 2.0])
def test_first_stage_counts_the_last_map_whole_and_the_one_before_by_half(make_nets, batch, margin):
    method = AB(margin=margin, unsupervised=0.5)
    nets = make_nets(method)
    nets.student.eval(), nets.extra.eval()
    images = torch.cat([batch.labeled.strong, batch.unlabeled.strong])
    student, teacher = nets.student(images).features, nets.teacher(images).features
    first, last = (by_hand(net(student[name]), teacher[name], margin) for net, name in
                   zip(nets.extra.net.nets, ("stage1", "stage2"), strict=True))  # fmt: skip
    rows = 0.003 * (first / 2 + last)
    terms = method.loss(nets, batch)
    torch.testing.assert_close(terms["boundary"], (rows[:6].sum() + 0.5 * rows[6:].sum()) / 10)
    assert terms["task"] == terms["distillation"] == 0


@pytest.mark.parametrize(("label", "soft"), [(0.0, 1.0), (1.0, 0.5)])
def test_second_stage_is_soft_labels_without_t_squared(make_nets, batch, label, soft):
    method = AB(first=0.5, label=label, soft=soft)
    nets = make_nets(method, steps=10)
    nets.student.eval()
    method.after_step(nets, 5)
    images = torch.cat([batch.labeled.strong, batch.unlabeled.strong])
    student, teacher = nets.student(images).logits, nets.teacher(images).logits
    wanted = (teacher / 3).log_softmax(-1)
    divergence = F.kl_div((student / 3).log_softmax(-1), wanted, log_target=True, reduction="batchmean")
    terms = method.loss(nets, batch)
    torch.testing.assert_close(terms["distillation"], soft * divergence)
    torch.testing.assert_close(terms["task"], label * F.cross_entropy(student[:6], batch.labeled.labels))
    assert terms["boundary"] == 0


def test_where_sizes_differ_the_majority_fires(make_nets, batch):
    """One of four neurons of the teacher fires, strongly: the student, which sees them as one, must not."""
    method = AB(layers=("stage2:stage1",), weight=1.0)
    nets = make_nets(method)
    nets.student.eval(), nets.extra.eval()
    images = torch.cat([batch.labeled.strong, batch.unlabeled.strong])
    said = nets.student(images)
    student = nets.extra.net.nets[0](said.features["stage2"])
    for firing, side in ((1, 1.0), (3, -1.0)):
        block = torch.zeros(4)
        block[:firing] = 100.0
        maps = block.view(2, 2).repeat(4, 4).expand(14, 6, 8, 8)
        teacher = lambda images, maps=maps: Outputs(said.logits, said.embedding, {"stage1": maps})  # noqa: E731
        wanted = (1 + side * student).clamp(min=0).square().sum((1, 2, 3)).mean()
        torch.testing.assert_close(method.loss(nets._replace(teacher=teacher), batch)["boundary"], wanted)
