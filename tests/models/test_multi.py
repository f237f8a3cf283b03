import copy
import dataclasses

import pytest
import torch
from torch import nn

from tutelage.models.detectors import DetectorSpec
from tutelage.models.fcos import Fcos, fcos_losses
from tutelage.models.multi import DenseHead, MultiNet
from tutelage.models.multi_spec import MultiSpec
from tutelage.models.retinanet import RetinaNet
from tutelage.multi_types import DenseObjects
from tutelage.types import TASKS, BadInput, Boxes

SMALL = DetectorSpec(width=8, channels=8, head_convs=1, image_size=32)


def net(*tasks, classes=3):
    return MultiNet(MultiSpec(tasks=tasks or TASKS, detector=SMALL, dense_width=8), classes)


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def test_every_head_answers_for_every_image():
    said = net().eval().answers(torch.rand(2, 3, 32, 32))
    assert said.classification.shape == (2, 3)
    assert len(said.detection) == 2
    assert said.segmentation.shape == (2, 4, 32, 32)
    assert said.depth.shape == (2, 32, 32)
    torch.testing.assert_close(said.segmentation.sum(1), torch.ones(2, 32, 32))
    assert (said.depth > 0).all()


@pytest.mark.parametrize(("width", "groups"), [(8, 1), (24, 3), (64, 8), (256, 32), (264, 24), (512, 32)])
def test_any_width_of_a_multiple_of_eight_is_normalised_by_groups(width, groups):
    detector = dataclasses.replace(SMALL, channels=width)
    heads = (DenseHead(1, 8, width, 2), Fcos(detector, 3, download=False), RetinaNet(detector, 3, download=False))
    norms = [module for head in heads for module in head.modules() if isinstance(module, nn.GroupNorm)]
    assert {norm.num_groups for norm in norms} == {groups}
    assert len(norms) == 1 + 2 + 2


@pytest.mark.parametrize("task", TASKS)
def test_a_head_that_is_absent_costs_nothing(task):
    alone, all_ = net(task), net()
    assert parameters(alone) == parameters(all_.body) + parameters(all_.heads[task])
    said = alone.answers(torch.rand(1, 3, 32, 32))
    assert [name for name in TASKS if getattr(said, name) is not None] == [task]


def test_a_head_looks_at_its_rows_alone():
    one, images = net().eval(), torch.rand(3, 3, 32, 32)
    rows = {"segmentation": torch.tensor([2, 0]), "depth": torch.tensor([], dtype=torch.long)}
    whole, said = one(images), one(images, rows)
    torch.testing.assert_close(said.segmentation, whole.segmentation[[2, 0]])
    assert said.depth is said.classification is said.detection is None
    torch.testing.assert_close(said.pyramid["p2"], whole.pyramid["p2"])


def test_the_detector_is_fcos_on_a_shared_pyramid():
    one = net("detection").eval()
    theirs = Fcos(SMALL, 3, download=False).eval()
    theirs.load_state_dict({**{f"body.{k}": v for k, v in one.body.state_dict().items()},
                            **one.heads["detection"].state_dict()})  # fmt: skip
    images = torch.rand(2, 3, 32, 32)
    for ours, other in zip(one.answers(images).detection, theirs(images), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours, other, strict=True))


def test_a_class_nobody_looked_for_is_no_negative_of_a_detector():
    torch.manual_seed(1)
    said = {"logits": torch.randn(2, 16, 3, requires_grad=True), "deltas": torch.rand(2, 16, 4),
            "centerness": torch.randn(2, 16, 1)}  # fmt: skip
    y, x = torch.meshgrid(torch.arange(4) * 4.0, torch.arange(4) * 4.0, indexing="ij")
    anchors = torch.stack([x, y, x + 4, y + 4], -1).reshape(-1, 4)
    box = Boxes(torch.tensor([[2.0, 2, 12, 12]]), torch.tensor([1]), torch.ones(1), torch.ones(1))
    known = torch.tensor([[True, True, False], [True, True, True]])
    dense = DenseObjects(said, anchors, (16,))
    fcos_losses(dense, [box, box], None, known)["classification"].backward()
    moved = said["logits"].grad.abs() > 0
    inside = ((anchors[:, :2] + 2 > 2) & (anchors[:, :2] + 2 < 12)).all(1)  # what is the object is no other class
    assert moved[0, :, :2].all()
    assert torch.equal(moved[0, :, 2], inside)
    assert moved[1].all()
    every = torch.ones(2, 3, dtype=torch.bool)
    assert fcos_losses(dense, [box, box], None, every) == fcos_losses(dense, [box, box], None)


def test_dense_heads_add_levels_by_hand():
    """Two levels of ones and of twos; the convolution passes the middle on, group norm is left out: 1 + 2."""
    head = DenseHead(2, 8, 8, 1)
    for conv in head.convs:
        torch.nn.init.zeros_(conv[0].weight)
        torch.nn.init.zeros_(conv[0].bias)
        conv[0].weight.data[:, 0, 1, 1] = 1
        conv[1] = torch.nn.Identity()
    torch.nn.init.constant_(head.last.weight, 1 / 8)
    torch.nn.init.zeros_(head.last.bias)
    said = head({"p2": torch.ones(1, 8, 4, 4), "p3": 2 * torch.ones(1, 8, 2, 2)}, 8)
    torch.testing.assert_close(said, torch.full((1, 1, 8, 8), 3.0))


def test_no_head_has_batch_norm():
    norms = [m for m in net().heads.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    assert norms == []


def test_weights_of_a_copy_are_those_of_the_original():
    one = net()
    other = copy.deepcopy(one)
    assert list(one.state_dict()) == list(other.state_dict())


@pytest.mark.parametrize(
    "fields", [{"tasks": ()}, {"tasks": ("depth", "depth")}, {"dense_width": 12},
               {"detector": DetectorSpec(kind="retinanet")}]
)  # fmt: skip
def test_what_cannot_be_made_is_refused(fields):
    with pytest.raises(BadInput, match="multi"):
        MultiSpec(**fields)
