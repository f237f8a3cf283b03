"""Loops of their own that adapt the pixels of a target: critics, translation, or both."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from tasks.adapt_scenes_params import SceneCandidate
from tasks.adapting import about
from tasks.carry import CHECKPOINTS, Carried, carry_on, results
from tasks.multi_training import MODEL, MultiJob, fingerprint, fresh, source_of
from tasks.multi_truth import Unlabelled
from tasks.params import Params
from tutelage.data.manifest import classes_of
from tutelage.data.multi_batches import Known, MultiSource, multi_batches
from tutelage.models.multi import MultiNet
from tutelage.models.multi_files import save_multi
from tutelage.models.multi_levels import MapLevels
from tutelage.train import adaptsegnet, bdl, cycada_whole
from tutelage.train.adaptsegnet import AdaptSegNet
from tutelage.train.adversarial import Pair, dense_pairs
from tutelage.train.bdl import BDL
from tutelage.train.cycada_whole import CyCADAStages
from tutelage.train.device import accelerator
from tutelage.train.loop import Step
from tutelage.types import IGNORE

Begun = tuple[Carried, Callable[[], Iterable[Step]], Callable[[], Any]]  # a run, the steps it has left, what it made


@dataclass(frozen=True)
class Looped:
    """What a loop is given."""

    wanted: SceneCandidate
    source: MultiSource
    unlabelled: Unlabelled
    params: Params  # as as_scenes makes them
    device: torch.device

    @property
    def size(self) -> int:
        """Pixels of an image's side."""
        return self.source.images.size

    def pairs(self, start: int, stop: int, said: Callable[[int], Known] | None = None) -> Iterator[Pair]:
        """Those of steps start..stop-1; `said` is known of an image by its place in the pool."""
        made = self.source if said is None else replace(self.source, said=said)
        feed = multi_batches(made, start=start, stop=stop, workers=self.params.compute.workers)
        return dense_pairs(feed, device=self.device)

    def target(self) -> Iterator[torch.Tensor]:
        """All images of the target as they are, in order."""
        rows, batch = self.source.pool, self.params.multitask.evaluate.batch
        for first in range(0, len(rows), batch):
            pixels = torch.from_numpy(self.source.images.many(rows[first : first + batch]))
            yield pixels.permute(0, 3, 1, 2).to(self.device).float().div(255)

    def blank(self) -> torch.Tensor:
        """Labels [m, s, s] of the target before anything is named: 0, and IGNORE around an image. int16."""
        blank = np.zeros((len(self.source.pool), self.size, self.size), np.int16)
        for place, labels in enumerate(blank):
            nobody = self.unlabelled(place).segmentation
            assert nobody is not None
            labels[nobody.weight == 0] = IGNORE
        return torch.from_numpy(blank)


@dataclass(frozen=True)
class Said:
    """Classes of the pixels of pool images, by their place, as a network named them."""

    unlabelled: Unlabelled
    labels: np.ndarray  # [m, s, s], IGNORE where it was not sure

    def __call__(self, place: int) -> Known:
        nobody = self.unlabelled(place).segmentation
        assert nobody is not None
        named = np.where(nobody.weight > 0, self.labels[place], IGNORE)
        return Known(segmentation=nobody._replace(target=named.astype(np.int64)))


def train_in_loop(
    wanted: SceneCandidate, job: MultiJob, table: pa.Table, params: Params, out: Path, *,
    finish: Callable[[MultiNet], None],
) -> Path:  # fmt: skip
    """Carry out the loop that `wanted` names: model.safetensors, curve.csv. Continues where it was cut off.

    `finish` gets the network before it is saved.
    """
    device = accelerator(params.compute).device
    student = MapLevels(fresh(job, table, params), second=wanted.levels == 2).to(device)
    assert isinstance(job.told, Unlabelled)
    looped = Looped(wanted, source_of(job, table, params), job.told, params, device)
    state, begin, made = LOOPS[type(wanted.learn)](wanted.learn, looped, student)
    key = f"{fingerprint(job, table, params)} {wanted.learn} {wanted.levels}"
    scratch = CHECKPOINTS / hashlib.sha256(key.encode()).hexdigest()[:16]
    carry_on(job.name, state, begin, steps=wanted.steps, compute=params.compute, scratch=scratch)
    with results(out, scratch) as folder:
        levels = made()
        assert isinstance(levels, MapLevels)
        finish(levels.network)
        save_multi(folder / MODEL, levels.network, classes=classes_of(table), method=about(wanted.learn))
    return out


def _critics(learner: AdaptSegNet, looped: Looped, student: MapLevels) -> Begun:
    settings, steps = looped.params.multitask.optimiser, looped.wanted.steps
    state = adaptsegnet.begin(
        learner, student, torch.zeros(2, 3, looped.size, looped.size, device=looped.device), settings
    )
    return (
        state,
        lambda: adaptsegnet.fit(learner, state, looped.pairs(state.step, steps), settings, steps=steps),
        lambda: state.average,
    )


def _both_ways(learner: BDL, looped: Looped, student: MapLevels) -> Begun:
    """The candidate's steps are those of all phases of all rounds."""
    each, settings = learner.sharing(looped.wanted.steps), looped.params.multitask.optimiser
    state = bdl.begin(each, student, looped.blank().to(looped.device), settings, size=looped.size)

    def feed(start: int, stop: int, pseudo: torch.Tensor) -> Iterator[Pair]:
        return looped.pairs(start, stop, Said(looped.unlabelled, pseudo.cpu().numpy().copy()))

    return state, lambda: bdl.fit(each, state, feed, looped.target, settings), lambda: state.aligner.average


def _stages(learner: CyCADAStages, looped: Looped, student: MapLevels) -> Begun:
    settings, steps = looped.params.multitask.optimiser, looped.wanted.steps
    state = cycada_whole.begin(learner, student, settings, size=looped.size)
    return (
        state,
        lambda: cycada_whole.fit(learner, state, looped.pairs, settings, steps=steps),
        lambda: cycada_whole.trained(learner, state),
    )


LOOPS: dict[type[Any], Callable[[Any, Looped, MapLevels], Begun]] = {
    AdaptSegNet: _critics,
    BDL: _both_ways,
    CyCADAStages: _stages,
}
