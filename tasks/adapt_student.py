"""One way to adapt the model of the source."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from tasks.adapt_params import Candidate
from tasks.adapting import BEGINS, about, job_of, network_of, scratch_of, two_domains
from tasks.carry import carry_on, results
from tasks.domain_turns import train_in_turns
from tasks.params import Params
from tasks.training import NOTE, learned_from, rows_of, run
from tutelage.data.images import Images
from tutelage.data.manifest import classes_of, read_split
from tutelage.methods import Method
from tutelage.models.backbone import Backbone, create
from tutelage.models.files import save_model
from tutelage.train import adaptsegnet, bdl
from tutelage.train.adaptsegnet import AdaptSegNet, Levels
from tutelage.train.adversarial import Pair
from tutelage.train.bdl import BDL
from tutelage.train.device import accelerator
from tutelage.train.loop import Step
from tutelage.types import BadInput

Begin = Callable[[], Iterable[Step]]  # the steps that a loop has left
Pairs = Callable[[int, int], Iterator[Pair]]  # those of steps from one to another


def adapt_student(split: Path, source: Path, translation: Path, *, params: Params, out: Path) -> Path:
    """Train the candidate that OUT names, work/adapt/candidates/NAME, on source labels and the target's images:
    model.safetensors, curve.csv, and of a candidate with turns turns.json. Labels of the target are in none of its
    inputs.
    """
    table, known = read_split(split), params.adapt.candidates
    if out.name not in known:
        raise BadInput(f"{out} does not say its candidate: write work/adapt/candidates/NAME, of {', '.join(known)}")
    translator = translation / "translator.safetensors"
    return adapted(known[out.name], table, source / "model.safetensors", translator, params=params, out=out)


def adapted(
    wanted: Candidate, table: pa.Table, model: Path, translator: Path | None, *, params: Params, out: Path
) -> Path:
    """A candidate, trained from `model` on the labelled images and the pool of `table`."""
    learner, before = wanted.learn, learned_from(model.parent) if wanted.start == "source" else []
    guides = [] if wanted.turns is None else ["holdout"]  # its loss there plans the turns, so it proves nothing there
    notes = {NOTE: sorted({"labelled", *before, *guides})}
    if isinstance(learner, Method):
        job = job_of(out.name, wanted, table, params, model, translator)
        if wanted.turns is not None:
            return train_in_turns(job, wanted.turns, table, params, out=out, notes=notes)
        return run(job, table, params, out, notes)
    torch.manual_seed(params.seed)
    classes, device = classes_of(table), accelerator(params.compute).device
    network = network_of(model, table) if wanted.start == "source" else create(params.network, len(classes))
    state, begin = LOOPS[type(learner)](
        learner, Levels(network).to(device), _pairs(out.name, table, wanted, params), table, wanted, params
    )  # fmt: skip
    scratch = scratch_of(out.name, wanted, table, params, model)
    carry_on(f"adapt@{out.name}", state, begin, steps=wanted.steps, compute=params.compute, scratch=scratch)
    with results(out, scratch, notes) as folder:
        average = (state.aligner if isinstance(state, bdl.Run) else state).average
        assert isinstance(average, Levels)
        assert isinstance(average.network, Backbone)
        save_model(folder / "model.safetensors", average.network, classes=classes, method=about(learner))
    return out


def _adaptsegnet(
    learner: AdaptSegNet, student: Levels, pairs: Pairs, _: pa.Table, wanted: Candidate, params: Params
) -> tuple[adaptsegnet.Run, Begin]:
    side, device = params.network.image_size, accelerator(params.compute).device
    state = adaptsegnet.begin(learner, student, torch.zeros(2, 3, side, side, device=device), params.optimiser)
    return state, lambda: adaptsegnet.fit(
        learner, state, pairs(state.step, wanted.steps), params.optimiser, steps=wanted.steps
    )


def _bdl(
    learner: BDL, student: Levels, pairs: Pairs, table: pa.Table, wanted: Candidate, params: Params
) -> tuple[bdl.Run, Begin]:  # fmt: skip
    """The candidate's steps are those of all phases of all rounds."""
    each = learner.sharing(wanted.steps)
    side, device, rows = params.network.image_size, accelerator(params.compute).device, rows_of(table, "pool")
    state = bdl.begin(
        each, student, torch.zeros(len(rows), dtype=torch.long, device=device), params.optimiser, size=side
    )
    images = Images.open(table, side)

    def target() -> Iterator[torch.Tensor]:
        for start in range(0, len(rows), params.evaluate.batch):
            pixels = torch.from_numpy(images.many(rows[start : start + params.evaluate.batch]))
            yield pixels.permute(0, 3, 1, 2).to(device).float().div(255)

    def feed(start: int, stop: int, pseudo: torch.Tensor) -> Iterator[Pair]:
        return (pair._replace(pseudo=pseudo[pair.ids]) for pair in pairs(start, stop))

    return state, lambda: bdl.fit(each, state, feed, target, params.optimiser)


def _pairs(name: str, table: pa.Table, wanted: Candidate, params: Params) -> Pairs:
    sizes, begins = (wanted.labelled_batch, wanted.pool_batch), BEGINS[wanted.start]
    return lambda start, stop: two_domains(
        f"adapt@{name}", table, params, begins=begins, start=start, stop=stop, batch=sizes
    )


LOOPS: dict[type[Any], Callable[..., tuple[adaptsegnet.Run | bdl.Run, Begin]]] = {AdaptSegNet: _adaptsegnet, BDL: _bdl}
