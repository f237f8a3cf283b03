import pytest
import torch

from tutelage.data.modalities import seen_as
from tutelage.methods.emotion_xmodal import EmotionXModal, pooled


def test_the_order_of_frames_is_irrelevant():
    frames = torch.tensor([[[1.0, 4.0]], [[3.0, 0.0]], [[2.0, 2.0]]])
    for how, expected in (("mean", [[2.0, 2.0]]), ("max", [[3.0, 4.0]])):
        assert pooled(frames, how).tolist() == pooled(frames.flip(0), how).tolist() == expected


@pytest.mark.parametrize("frames", ["mean", "max"])
def test_it_is_what_both_views_tell_together(make_nets, batch, frames):
    method = EmotionXModal(frames=frames, unsupervised=0.5)
    nets = make_nets(method)
    nets.student.eval()
    weak = torch.cat([batch.labeled.weak, batch.unlabeled.weak])
    strong = torch.cat([batch.labeled.strong, batch.unlabeled.strong])
    told = pooled(torch.stack([nets.teacher(weak).logits, nets.teacher(strong).logits]), frames)
    said = nets.student(seen_as(strong, "grey")).logits
    rows = -((told / 2).softmax(-1) * (said / 2).log_softmax(-1)).sum(-1)
    expected = (rows[:6].sum() + 0.5 * rows[6:].sum()) / 10
    torch.testing.assert_close(method.loss(nets, batch), {"distillation": expected})


def test_labels_are_not_read(make_nets, batch):
    method = EmotionXModal()
    nets = make_nets(method)
    nets.student.eval()
    other = batch._replace(labeled=batch.labeled._replace(labels=batch.labeled.labels.flip(0)))
    assert method.loss(nets, batch) == method.loss(nets, other)
