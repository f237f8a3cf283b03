"""How long a target of dvc.yaml will take on this machine, before it is run."""

import argparse
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context, get_start_method, set_start_method
from pathlib import Path
from typing import Any

import torch

from tasks import box_workload, compress_workload, workload
from tasks.graph import Stage, needed, stages
from tasks.pace import TRIED, Pace
from tasks.params import Params, load
from tasks.text import aligned, duration, listed, percent
from tasks.workload import Stages, Work
from tutelage.data.batches import end_with
from tutelage.train.device import accelerator
from tutelage.train.settings import Compute
from tutelage.types import BadInput

LARGE_SHARE, LONG_WAIT = 0.2, 0.3  # of the time: what is worth a word


@dataclass(frozen=True)
class Family:
    """Stages that begin with one split."""

    prepared: str  # the stage that must have run before, with all that it needs
    world: Callable[[Params], Any]
    stages: Stages


FAMILIES = (
    Family("doctor", workload.world, {**workload.STAGES, **compress_workload.STAGES}),
    Family("scenes_split", box_workload.world, box_workload.STAGES),
)


@dataclass(frozen=True)
class Line:
    """A stage with what it does and how fast that goes; both are empty where nothing of it is measured."""

    stage: str
    works: list[Work]
    paces: list[Pace]
    begin: float  # seconds before it does anything

    @property
    def seconds(self) -> float:
        return self.begin + sum(spent(work, pace) for work, pace in zip(self.works, self.paces, strict=True))

    @property
    def memory(self) -> int:
        """Bytes of its process at most."""
        return max((pace.memory + work.kept for work, pace in zip(self.works, self.paces, strict=True)), default=0)

    @property
    def gpu(self) -> int:
        return max((pace.gpu for pace in self.paces), default=0)


def spent(work: Work, pace: Pace) -> float:
    """Seconds of all steps or images."""
    return work.first * pace.first + (work.amount - work.first) * pace.again


def main(arguments: list[str]) -> list[str]:
    """What `python -m tasks estimate ARGUMENTS` prints, a line each."""
    parser = argparse.ArgumentParser(prog="python -m tasks estimate", description=__doc__)
    parser.add_argument("target", nargs="?", default="report", help="a stage of dvc.yaml, as of `dvc repro`")
    parser.add_argument("--price", type=float, metavar="PER_HOUR", help="of this machine: prints the cost, too")
    asked = parser.parse_args(arguments)
    return estimate(asked.target, params=load(), price=asked.price)


def estimate(
    target: str, *, params: Params, price: float | None = None, try_out: Callable[[Work], Pace] | None = None
) -> list[str]:
    """Measure a few steps of each kind that `target` and what it needs consist of; what to tell a person, a line each.

    Whether an output is there already is not looked at. Nothing is written. `try_out` measures in place of a process
    of its own. Raises BadInput for a target that is not covered, for a price that is none, where there is no split yet.
    """
    if price is not None and not 0 < price < math.inf:
        raise BadInput(f"--price is {price:g}: it is what an hour of this machine costs, above 0")
    every = stages(Path())
    family, wanted = _covered(every, target)
    world = family.world(params)
    done = needed(every, family.prepared)
    open_ = [stage for stage in every if stage in wanted and stage not in done]
    works = {stage: family.stages[_definition(stage)](world, _key(stage)) for stage in open_}
    paces = _paces(works, try_out or apart)
    loading = min((pace.begin for pace in paces.values()), default=0.0)
    lines = {}
    for stage, each in works.items():
        found = [paces[work.kind] for work in each]
        lines[stage] = Line(stage.name, each, found, found[0].begin if found else loading)
    return list(_told(target, lines, wanted, family.prepared, params.compute, price))


def apart(work: Work) -> Pace:
    """In a process of its own, whose memory is that of such a stage. Raises BadInput where there is not enough."""
    less = "Lower the batch of that stage or the image_size, or take a smaller network"
    try:
        with ProcessPoolExecutor(1, get_context("spawn"), _begin, (os.getpid(), get_start_method())) as pool:
            return pool.submit(work.measure).result()
    except BrokenProcessPool as error:
        raise BadInput(f"{work.kind}: the process was killed, as for want of memory. {less}") from error
    except torch.OutOfMemoryError as error:
        raise BadInput(f"{work.kind}: the GPU has not enough memory. {less}") from error


def _begin(parent: int, way: str) -> None:
    """Processes that make batches start as a stage's do; those of a spawned process would each load torch anew."""
    set_start_method(way, force=True)
    end_with(parent)


def _covered(every: Sequence[Stage], target: str) -> tuple[Family, dict[Stage, list[Stage]]]:
    """The family that knows what `target` and all that it needs do."""
    prepared = {family.prepared: _definitions(needed(every, family.prepared)) for family in FAMILIES}

    def family_of(name: str) -> Family | None:
        names = _definitions(needed(every, name))
        for family in FAMILIES:
            before = prepared[family.prepared]
            if names - before and names <= before | family.stages.keys():
                return family
        return None

    known = {name for stage in every for name in (stage.name, _definition(stage))}
    found = family_of(target) if target in known else None
    if found is None:
        names = [name for family in FAMILIES for name in family.stages if family_of(name)]
        raise BadInput(f"{target!r} is not a target that can be estimated; there are: {', '.join(names)}")
    return found, needed(every, target)


def _definitions(some: Iterable[Stage]) -> set[str]:
    return {_definition(stage) for stage in some}


def _definition(stage: Stage) -> str:
    return stage.name.partition("@")[0]


def _key(stage: Stage) -> str:
    return stage.name.partition("@")[2]


def _paces(works: Mapping[Stage, Sequence[Work]], try_out: Callable[[Work], Pace]) -> dict[str, Pace]:
    """One of each kind is tried, that with most images that are new to it."""
    every = [(work, stage.name) for stage, each in works.items() for work in each]
    tried = {work.kind: work for work, _ in sorted(every, key=lambda one: one[0].first)}
    found = {}
    for number, (kind, work) in enumerate(tried.items(), 1):
        names = dict.fromkeys(name for other, name in every if other.kind == kind)
        print(f"{number} of {len(tried)}: tries {work.unit}s of {', '.join(names)}", file=sys.stderr, flush=True)
        found[kind] = try_out(work)
    return found


def longest(wanted: Mapping[Stage, Sequence[Stage]], seconds: Mapping[Stage, float]) -> list[Stage]:
    """The chain of stages, each needing the one before it, that takes longest; those without seconds take none."""

    @cache
    def ending(stage: Stage) -> tuple[float, list[Stage]]:
        before = max((ending(one) for one in wanted[stage]), key=lambda found: found[0], default=(0.0, []))
        return before[0] + seconds.get(stage, 0.0), [*before[1], stage]

    return max((ending(stage) for stage in wanted), key=lambda found: found[0])[1]


def _told(
    target: str, lines: Mapping[Stage, Line], wanted: Mapping[Stage, Sequence[Stage]], prepared: str,
    compute: Compute, price: float | None,
) -> Iterator[str]:  # fmt: skip
    seconds = {stage: line.seconds for stage, line in lines.items()}
    total, path = sum(seconds.values()), [stage for stage in longest(wanted, seconds) if stage in seconds]
    least = sum(seconds[stage] for stage in path)
    gpu = any(line.gpu for line in lines.values())
    header = ["stage", "what it does", "each takes", "in all", "memory", *(["of the GPU"] if gpu else [])]
    yield aligned(header, [_cells(line)[: len(header)] for line in lines.values()])
    yield ""
    yield f"{duration(total)} one after another, as `dvc repro {target}` runs them."
    yield (
        f"{duration(least)} along the longest path ({', '.join(stage.name for stage in path)}): what a flow needs at "
        "best, with cores enough for all that it runs side by side. Stages side by side share cores and memory."
    )
    if price is not None:
        yield f"At {price:g} an hour: {price * total / 3600:.2f} one after another, {price * least / 3600:.2f} at best."
    largest = max(lines.values(), key=lambda line: line.memory)
    yield f"Most memory: {_size(largest.memory)} ({largest.stage})."
    yield from _advice(list(lines.values()), total, compute)
    engine = accelerator(compute)
    units = min((pace.tried for line in lines.values() for pace in line.paces), default=0)
    few = f"{units} to {TRIED}" if units < TRIED else f"{TRIED}"
    yield (
        f"This is an estimate from {few} steps or batches of each kind, on {engine.device} with {compute.threads} "
        f"thread(s) and {compute.workers} worker(s), beside what else this machine did just now. Not in it: what DVC "
        f"takes itself, charts, tables and intervals, and all up to `{prepared}`. A stage whose output is there and "
        "not stale takes no time; which ones that are, `dvc status` says."
    )


def _cells(line: Line) -> list[str]:
    does = [f"{work.amount:,} {work.unit}{'s' if work.amount != 1 else ''}" for work in line.works]
    each = [_each(work, pace) for work, pace in zip(line.works, line.paces, strict=True)]
    return [
        line.stage, " and ".join(does) or "begins", ", ".join(each) or "-", duration(line.seconds),
        _size(line.memory), _size(line.gpu),
    ]  # fmt: skip


def _each(work: Work, pace: Pace) -> str:
    mean = 1000 * spent(work, pace) / work.amount
    return f"{mean:.0f} ms" if mean >= 10 else f"{mean:.2g} ms"


def _size(number: int) -> str:
    return f"{number / 1e9:.2f} GB" if number else "-"


def _advice(lines: Sequence[Line], total: float, compute: Compute) -> Iterator[str]:
    """What makes the longest stages shorter."""
    for line in sorted(lines, key=lambda line: -line.seconds):
        knobs = list(dict.fromkeys(knob for work in line.works for knob in work.knobs))
        if line.seconds < LARGE_SHARE * total or not knobs:
            continue
        yield (
            f"{line.stage} is {percent(line.seconds / total, 0)} of the time. Less takes: less of "
            f"{listed(knobs)}, a smaller network or image_size."
        )
        waited = max(pace.waited for pace in line.paces)
        if waited > LONG_WAIT:
            yield (
                f"{line.stage} waits for its images for {percent(waited, 0)} of that: more compute.workers "
                f"({compute.workers}) make them ahead, where there are cores for them."
            )
