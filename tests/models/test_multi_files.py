import pytest
import torch
from multi_fixtures import multi_net

from tutelage.models.backbone import NetworkSpec, create
from tutelage.models.files import load_detector, load_model, save_model
from tutelage.models.multi_files import load_multi, save_multi
from tutelage.types import BadInput

CLASSES = ["a", "b", "c"]


def test_a_network_comes_back_as_it_was(tmp_path):
    net = multi_net(("segmentation", "depth"))
    save_multi(tmp_path / "net.safetensors", net, classes=CLASSES, method="must")
    back, card = load_multi(tmp_path / "net.safetensors")
    images = torch.rand(2, 3, 32, 32)
    said, again = net.eval().answers(images), back.answers(images)
    assert torch.equal(said.depth, again.depth)
    assert torch.equal(said.segmentation, again.segmentation)
    assert back.spec == net.spec == card.spec
    assert (card.classes, card.method, card.image_size) == (CLASSES, "must", 32)
    assert card.parameters == sum(p.numel() for p in net.parameters())


def test_equal_weights_are_equal_bytes(tmp_path):
    net = multi_net()
    for name in ("one", "two"):
        save_multi(tmp_path / name, net, classes=CLASSES, method="must")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_files_of_other_kinds_are_refused(tmp_path):
    save_multi(tmp_path / "multi", multi_net(), classes=CLASSES, method="must")
    save_model(tmp_path / "plain", create(NetworkSpec(width=8), 3), classes=CLASSES, method="kd")
    with pytest.raises(BadInput, match="is a model for classification, and one for several tasks"):
        load_multi(tmp_path / "plain")
    for load in (load_model, load_detector):
        with pytest.raises(BadInput, match="is a model for several tasks"):
            load(tmp_path / "multi")
