"""How long two networks take for the same images, side by side, so that a busy machine slows both."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from tutelage.multi_types import Multi
from tutelage.train.device import accelerator
from tutelage.train.settings import Compute
from tutelage.types import Detector, Network

BATCHES = (1, 32)
REPEATS = 15
DOUBT = 0.15  # a measured ratio this near to the limit may fall on either side of it the next time


def operations(network: Network | Detector | Multi, size: int) -> int:
    """Floating point operations for one image of `size` pixels, counted and not measured: equal everywhere."""
    counter, device = FlopCounterMode(display=False), next(network.parameters()).device
    with torch.no_grad(), counter:
        network.eval()(torch.zeros(1, 3, size, size, device=device))
    return int(counter.get_total_flops())


def measure(
    first: tuple[Network | Detector, int], second: tuple[Network | Detector, int], compute: Compute,
    names: tuple[str, str],
) -> float:  # fmt: skip
    """The larger, over batches of 1 and 32, of the ratios of median times, which it prints under `names`. Each is a
    network and its image size."""
    engine = accelerator(compute)
    ratios = []
    for batch in BATCHES:
        runs = [
            (net.eval().to(engine.device), torch.rand(batch, 3, s, s, device=engine.device))
            for net, s in (first, second)
        ]
        with torch.inference_mode(), engine.autocast():
            one, other = per_call([lambda net=net, x=x: _answer(net, x) for net, x in runs])  # type: ignore[misc]
        print(f"latency at batch {batch}: {told(batch, dict(zip(names, (one, other), strict=True)))}", flush=True)
        ratios.append(one / other)
    return max(ratios)


def told(images: int, seconds: Mapping[str, float]) -> str:
    """What some images took, by name, for the log: no output holds what a clock says."""
    return ", ".join(
        f"{name} {1000 * took / images:.2f} ms an image ({images / took:,.0f} images/s)"
        for name, took in seconds.items()
    )


def _answer(network: Network | Detector, images: Tensor) -> None:
    """Waits for the device."""
    said = network(images)
    if isinstance(said, list):
        for each in said:
            each.scores.sum().item()
    else:
        said.logits.sum().item()


def per_call(calls: Sequence[Callable[[], object]]) -> list[float]:
    """Median seconds of each call. They take turns, so that a busy machine slows all of them."""
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(REPEATS + 2):
        for place, call in enumerate(calls):
            start = time.perf_counter()
            call()
            seconds[place].append(time.perf_counter() - start)
    return [statistics.median(row[2:]) for row in seconds]  # the first two warm up


def within(ratio: float, limit: float, counted: float) -> bool:
    """Whether a measured ratio keeps a limit. In doubt the ratio of counted operations decides, which never varies."""
    doubtful = abs(ratio / limit - 1) < DOUBT
    return (counted if doubtful else ratio) <= limit


def doubt(passed: bool, limit: float, counted: float) -> str:
    """What a sentence on `within` must add where counted operations may have been what decided, the same at any time;
    "" where they say otherwise, so that it was the clock."""
    return f", give or take {100 * DOUBT:g} %, where counted operations decide" if (counted <= limit) == passed else ""
