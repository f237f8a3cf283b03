"""What benchmarks of speed share: two sides that take turns, and batches of noise."""

import time
from collections.abc import Callable

import torch

from tutelage.models.backbone import NetworkSpec
from tutelage.types import Batch, Labeled, Unlabeled

CLASSES = 10


def take_turns(
    ours: Callable[[], int], theirs: Callable[[], int], *, turns: int, processor: bool = False
) -> list[tuple[float, float]]:
    """For each turn, the seconds that ours and theirs take for a unit of work. A side works and says how many it did.

    They take turns at going first, so that a noisy machine slows both. `processor`: the CPU's seconds in this process,
    which other processes lengthen far less than those on the wall. They are no measure of a GPU.
    """

    def seconds(work: Callable[[], int]) -> float:
        began = _now(processor)
        units = work()
        return (_now(processor) - began) / units

    seconds(ours), seconds(theirs)  # caches and allocators warm
    times = []
    for turn in range(turns):
        if turn % 2:
            b, a = seconds(theirs), seconds(ours)
        else:
            a, b = seconds(ours), seconds(theirs)
        times.append((a, b))
    return times


def _now(processor: bool) -> float:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.process_time() if processor else time.perf_counter()


def random_batch(labelled: int, pool: int) -> Batch:
    """Noise of 28 x 28 pixels, with pseudo-labels that are all trusted."""
    size = NetworkSpec().image_size

    def views(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        weak, strong = torch.randint(0, 256, (2, count, 3, size, size), dtype=torch.uint8)
        return weak, strong

    target = torch.randn(pool, CLASSES).softmax(-1)
    return Batch(
        Labeled(*views(labelled), torch.randint(0, CLASSES, (labelled,))),
        Unlabeled(*views(pool), torch.arange(pool), target, torch.ones(pool)),
    )
