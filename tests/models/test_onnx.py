import builtins
import importlib

import numpy as np
import pytest
import torch

from tutelage.models.backbone import NetworkSpec, create
from tutelage.models.export import Session, write_fp16, write_fp32, write_int8
from tutelage.types import BadInput


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    net = create(NetworkSpec(width=8, image_size=16), 3)
    with torch.no_grad():
        for _ in range(3):  # statistics of batch norm that differ from where they start
            net.train()(torch.rand(8, 3, 16, 16))
    return net.eval()


@pytest.fixture(scope="module")
def folder(net, tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    write_fp32(net, folder / "fp32", size=16)
    write_fp16(folder / "fp32", folder / "fp16")
    write_int8(folder / "fp32", folder / "int8")
    return folder


def difference(net, path, number):
    images = torch.rand(number, 3, 16, 16)
    with torch.inference_mode():
        return np.abs(Session(path, threads=1)(images.numpy()) - net(images).logits.numpy()).max()


@pytest.mark.parametrize("number", [1, 5])
@pytest.mark.parametrize(("name", "least", "most"), [("fp32", 0, 1e-5), ("fp16", 1e-6, 1e-2), ("int8", 1e-5, 0.2)])
def test_answers_as_pytorch_does_for_any_number_of_images(net, folder, name, number, least, most):
    """What is not fp32 must differ a little, or nothing was converted."""
    assert least <= difference(net, folder / name, number) < most


def test_half_the_bytes_and_less(folder):
    size = {name: (folder / name).stat().st_size for name in ("fp32", "fp16", "int8")}
    assert size["fp16"] < 0.6 * size["fp32"]
    assert size["int8"] < size["fp32"]


def test_equal_weights_are_equal_bytes_and_the_network_stays_in_eval_mode(net, folder, tmp_path):
    write_fp32(net, tmp_path / "again", size=16)
    assert (tmp_path / "again").read_bytes() == (folder / "fp32").read_bytes()
    assert not any(module.training for module in net.modules())
    for write, name in ((write_fp16, "fp16"), (write_int8, "int8")):
        write(folder / "fp32", tmp_path / name)
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_without_the_extra_one_line_installs_it(net, tmp_path, monkeypatch, missing):
    def absent(name, *args):
        if name.partition(".")[0] == missing:
            raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)
        return builtins.__import__(name, *args)

    monkeypatch.setattr(importlib, "import_module", absent)
    use = {
        "onnx": lambda: write_fp32(net, tmp_path / "x", size=16),
        "onnxruntime": lambda: Session(tmp_path, threads=1),
    }
    with pytest.raises(BadInput, match=rf"{missing} is not installed.*pip install .*\[export\]") as caught:
        use[missing]()
    assert "\n" not in str(caught.value)
