"""What a step of training, or an image that a network is asked about, takes on this machine: a few are tried.

Nothing is written. Weights are drawn, and no published ones are loaded: the time does not depend on them.
"""

import itertools
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sized
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from tasks.params import Params
from tasks.progress import peak
from tasks.training import Job, fingerprint, source
from tutelage.data.batches import batches
from tutelage.data.images import CACHE, Images
from tutelage.data.manifest import classes_of, read_split
from tutelage.models.backbone import NetworkSpec, create
from tutelage.train.cost import Timed, Took, timed
from tutelage.train.device import accelerator
from tutelage.train.loop import Run, begin, fit
from tutelage.train.predict import logits, looks
from tutelage.train.settings import Compute, Optimiser
from tutelage.types import Sizes

WARM_UP, TRIED = 5, 20  # steps, or batches
SECONDS = 5.0  # after which no further step is tried; one always is
AHEAD = 4  # batches that a loader's process makes ahead: the first ones are waited for less than those after them


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Seconds of a step or an image, and bytes of the process that does nothing else."""

    begin: float  # from the start of the process until its first step or batch is done
    first: float  # where its images must be read and decoded
    again: float  # where they lie decoded in memory
    waited: float = 0.0  # share of `again` that is spent waiting for images
    tried: int  # steps or batches
    memory: int  # with the processes that make its batches, without decoded images that it keeps
    gpu: int = 0  # bytes that torch held there


def classifier(job: Job, teacher: NetworkSpec | None, split: Path, params: Params) -> Pace:
    """Some steps of `job`, whose teacher is `teacher` with weights as they are drawn."""
    table = read_split(split)
    fingerprint(job, table, params)  # as a stage begins: of a large split it takes time and memory
    number = len(classes_of(table))
    torch.manual_seed(params.seed)
    student, given = create(job.network, number), create(teacher, number) if teacher else None
    sizes = Sizes(len(job.labeled), len(job.pool), number, job.train.steps)
    state, made = begin(job.train.method, student, given, sizes, params.optimiser), source(job, table, params)

    def feed(stop: int) -> Iterator[Any]:
        return batches(made, start=0, stop=stop, workers=params.compute.workers)

    return steps(job.train, state, feed, made.images, params.optimiser, params.compute)


def steps(
    train: Any, state: Run[Any, Any], feed: Callable[[int], Iterator[Any]], images: Images, optimiser: Optimiser,
    compute: Compute,
) -> Pace:  # fmt: skip
    """Some steps of a run of any kind; `feed(stop)` gives its batches 0 to stop - 1, twice where `images` keep them."""
    engine, warm_up = accelerator(compute), WARM_UP + AHEAD * compute.workers
    begun: list[float] = []
    passes: list[list[Took]] = []
    memory = 0
    for _ in range(1 + images.cached):
        with closing(_closable(feed(1 + warm_up + TRIED))) as made:
            waits = Timed(made)
            taken = fit(
                train.method,
                state,
                waits,
                optimiser,
                steps=train.steps,
                accelerator=engine,
                accumulate=compute.accumulate,
            )
            each = timed(taken, waits)
            next(each)
            begun.append(_age())
            passes.append(sample(each, warm_up))
            memory = peak() + _loaders()
    seconds = [[took.seconds for took in tried] for tried in passes]
    waited = sum(took.waited for took in passes[-1]) / max(sum(seconds[-1]), 1e-9)
    kept = images.kept if not compute.workers else 0  # else a loader's process decodes them, in memory of both
    return Pace(
        begin=begun[0], first=float(np.mean(seconds[0])), again=float(np.mean(seconds[-1])), waited=waited,
        tried=len(seconds[-1]), memory=memory - kept, gpu=_gpu(),
    )  # fmt: skip


def answers(
    network: NetworkSpec, rows: np.ndarray, split: Path, params: Params, *, batch: int, views: int = 1,
    cached: bool = True,
) -> Pace:  # fmt: skip
    """Some batches of `rows` [n], which a network is asked about in several `views`."""
    table = read_split(split)
    images = Images.open(table, network.image_size, CACHE if cached else 0)
    torch.manual_seed(params.seed)
    said = logits(
        create(network, len(classes_of(table))), images, chunks(rows, batch, params.compute), compute=params.compute,
        views=looks(views, flip=params.views.flip),
    )  # fmt: skip
    return asked(said, images, params.compute)


def asked(said: Iterable[Sized], images: Images, compute: Compute) -> Pace:
    """The pace at which answers come, a batch at a time, of a network of any kind."""
    warm_up = WARM_UP + (0 if images.cached else AHEAD * compute.workers)
    with closing(_closable(said)) as parts:
        next(parts)
        numbers: list[int] = []
        begun, tried = _age(), sample(_per_answer(parts, numbers), warm_up)
        memory = peak() + _loaders()
    mean = sum(took.seconds for took in tried) / sum(numbers[-len(tried) :])
    return Pace(begin=begun, first=mean, again=mean, tried=len(tried), memory=memory - images.kept, gpu=_gpu())


def chunks(rows: np.ndarray, batch: int, compute: Compute) -> list[np.ndarray]:
    """As many batches of `rows` [n] as are tried at most. Where they are few, they come round again."""
    parts = [rows[i : i + batch] for i in range(0, len(rows), batch)]
    return list(itertools.islice(itertools.cycle(parts), 1 + WARM_UP + AHEAD * compute.workers + TRIED))


def sample(units: Iterable[Took], warm_up: int) -> list[Took]:
    """What is tried: TRIED after `warm_up`, of either fewer where they take SECONDS."""
    units = iter(units)
    _some(units, warm_up)
    return _some(units, TRIED)


def _some(units: Iterator[Took], number: int) -> list[Took]:
    found, spent = [], 0.0
    for took in units:
        found.append(took)
        spent += took.seconds
        if len(found) >= number or spent >= SECONDS:
            break
    return found


def _per_answer(parts: Iterable[Sized], numbers: list[int]) -> Iterator[Took]:
    """A batch each; how many answers it has is added to `numbers`."""
    began = time.perf_counter()
    for part in parts:
        numbers.append(len(part))
        yield Took(time.perf_counter() - began)
        began = time.perf_counter()


def _closable(parts: Iterable[Any]) -> Generator[Any, None, None]:
    """What is closed ends the processes of its loader at once."""
    yield from parts


def _age() -> float:
    """Seconds that this process has lived."""
    return time.time() - psutil.Process().create_time()


def _loaders() -> int:
    """Bytes that the processes below this one have for themselves."""
    return sum(child.memory_full_info().uss for child in psutil.Process().children(recursive=True))


def _gpu() -> int:
    return torch.cuda.max_memory_reserved() if torch.cuda.is_available() else 0
