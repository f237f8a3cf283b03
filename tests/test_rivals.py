import argparse
import sys
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn

from benchmarks import rivals
from tutelage.train.device import accelerator
from tutelage.train.settings import Compute


class Trainer:
    """detectron2's loop, as far as the benchmark calls it: what precision its steps run in."""

    def __init__(self, network, feed, optimizer):
        self.low = []

    def run_step(self):
        self.low.append(torch.is_autocast_enabled("cpu"))


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_on_a_cpu_detectron2_steps_in_our_precision(monkeypatch, precision):
    made = []
    names = {
        "engine": {"AMPTrainer": None, "SimpleTrainer": lambda *given: made.append(Trainer(*given)) or made[0]},
        "structures": {"Boxes": None, "Instances": None}, "utils": {}, "utils.events": {"EventStorage": nullcontext},
    }  # fmt: skip
    for name, content in {"": {}, **names}.items():
        whole = ".".join(("detectron2", name)).rstrip(".")
        module = ModuleType(whole)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, whole, module)
    scene, asked = rivals.Scene(torch.zeros(0, 3, 8, 8), []), argparse.Namespace(size=8, steps=2)
    engine = accelerator(Compute(threads=1, workers=0, device="cpu", precision=precision))
    assert rivals.detectron2_trainer(SimpleNamespace(net=nn.Linear(1, 1)), scene, engine, asked)() == 2
    assert made[0].low == [precision == "bf16"] * 2
