"""An empty pseudo-label batch on one process must not stop the others (gloo, two processes, CPU)."""

from pathlib import Path

import pytest
import torch
from fresh import ranks

from tutelage.methods import METHODS
from tutelage.models.backbone import NetworkSpec, create
from tutelage.train.device import accelerator
from tutelage.train.loop import begin, fit
from tutelage.train.settings import Compute, Optimiser
from tutelage.types import Batch, Labeled, Sizes, Unlabeled


def batch(rank: int, *, rejected: bool) -> Batch:
    torch.manual_seed(10 + rank)
    images = torch.rand(4, 3, 8, 8)
    weight = torch.zeros(4) if rejected else torch.ones(4)
    target = torch.eye(2)[torch.tensor([0, 1, 0, 1])] * weight[:, None]
    return Batch(
        Labeled(images, images.flip(-1), torch.tensor([0, 1, 0, 1])),
        Unlabeled(images, images.flip(-1), torch.arange(4), target, weight),
    )


def worker(rank: int, folder: Path, shares: int) -> None:
    engine = accelerator(Compute(threads=1, device="cpu", precision="fp32"))
    assert engine.num_processes == 2
    torch.manual_seed(0)
    method, settings = METHODS["noisy_student"](), Optimiser()
    student = create(NetworkSpec(width=4, image_size=8), 2)
    run = begin(method, student, create(NetworkSpec(width=4, image_size=8), 2), Sizes(4, 4, 2, 4), settings)
    feed = [batch(rank, rejected=rank == 1 and step < 3) for step in range(4)]
    taken = fit(method, run, feed, settings, steps=4, accelerator=engine, accumulate=shares)
    keys = [sorted(step.terms) for step in taken]
    parameters = torch.cat([p.detach().reshape(-1) for p in run.nets.student.parameters()])
    torch.save({"keys": keys, "weights": parameters}, folder / f"{rank}.pt")


@pytest.mark.parametrize("shares", [1, 2])
def test_a_process_without_pseudo_labels_keeps_up(tmp_path, shares):
    ranks(lambda rank: worker(rank, tmp_path, shares))
    one, two = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert one["keys"] == two["keys"]
    assert len(one["keys"]) == 4
    torch.testing.assert_close(one["weights"], two["weights"], rtol=0, atol=0)
