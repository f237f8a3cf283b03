"""A training run that goes on where it was cut off, whatever it trains: checkpoints, curve, whole outputs."""

import csv
import io
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch

from tasks.finished import UNFINISHED, begin, by_dvc, finish
from tasks.io import whole, write_json, write_whole
from tasks.progress import Progress, memory_told
from tasks.text import percent
from tutelage.train import checkpoint
from tutelage.train.cost import Timed
from tutelage.train.device import accelerator
from tutelage.train.loop import Run, Step, fit
from tutelage.train.settings import Compute, Optimiser
from tutelage.types import BadInput

CHECKPOINTS = UNFINISHED / "checkpoints"


class Carried(Protocol):
    """A loop's run that can be cut off and continued."""

    step: int

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Fed(Timed[Any]):
    """Batches of any task, whose parts begin with their images; how long they were waited for, and their images."""

    images = 0

    def __next__(self) -> Any:
        batch = super().__next__()
        self.images += sum(len(part[0]) for part in batch)
        return batch


def carry_out(
    name: str, method: Any, state: Run[Any, Any], feed: Callable[[int], Iterable[Any]], *, steps: int,
    optimiser: Optimiser, compute: Compute, scratch: Path,
) -> None:  # fmt: skip
    """Train `state` to step `steps` on the batches that `feed` gives from a step on, saving now and then in `scratch`.

    What `scratch` holds of an earlier attempt is continued: name it after all that the run depends on.
    """
    if checkpoint.restore(state, scratch / "run.pt"):
        print(f"{name} continues at step {state.step}", flush=True)
    fed = Fed(feed(state.step))
    taken = fit(
        method, state, fed, optimiser, steps=steps, accelerator=accelerator(compute), diary=scratch / "diary",
        accumulate=compute.accumulate,
    )  # fmt: skip
    try:
        _follow(
            name, taken, lambda: checkpoint.save(state, scratch / "run.pt"), start=state.step, steps=steps,
            compute=compute, scratch=scratch, fed=fed,
        )  # fmt: skip
    except torch.OutOfMemoryError as error:
        raise BadInput(
            f"{name} needs more memory for a step than the device has ({str(error).partition('. ')[0]}). Write "
            f"compute.accumulate: {2 * compute.accumulate}, by which a batch is seen in as many shares, one after "
            "another, or lower labelled_batch and pool_batch"
        ) from error


def carry_on(
    name: str, run: Carried, begin: Callable[[], Iterable[Step]], *, steps: int, compute: Compute, scratch: Path
) -> None:
    """The same for a loop of its own: `begin` gives its steps from `run.step` on, which may be that of a checkpoint.

    Raises BadInput where batches are to be cut into shares.
    """
    if compute.accumulate > 1:
        raise BadInput(
            f"compute.accumulate is {compute.accumulate}, and {name} is trained by a loop of its own, which takes a "
            "batch whole. Write accumulate: 1, and a smaller batch where memory is short"
        )
    if (scratch / "run.pt").exists():
        run.load_state_dict(torch.load(scratch / "run.pt", map_location="cpu", weights_only=True))
        print(f"{name} continues at step {run.step}", flush=True)
    _follow(
        name, begin(), lambda: checkpoint.write(run.state_dict(), scratch / "run.pt"), start=run.step, steps=steps,
        compute=compute, scratch=scratch,
    )  # fmt: skip


def _follow(
    name: str, taken: Iterable[Step], save: Callable[[], None], *, start: int, steps: int, compute: Compute,
    scratch: Path, fed: Fed | None = None,
) -> None:  # fmt: skip
    begin(name, scratch)
    every = max(1, steps // 100)
    began = saved = time.monotonic()
    with Progress(name, steps, start) as bar:
        for step in taken:
            text = ""
            if step.number % every == 0 or step.number == steps:
                text = _log(scratch / "curve.csv", step)
            bar.update(1, text)
            ends = step.number == steps and by_dvc()  # which `finish` keeps
            if ends or time.monotonic() - saved >= compute.checkpoint_seconds:
                save()
                saved = time.monotonic()
    if steps > start:
        print(f"{name}: {_pace(steps - start, time.monotonic() - began, fed)}, {memory_told()}", flush=True)


def _pace(steps: int, seconds: float, fed: Fed | None) -> str:
    """For the log alone: no output holds what a clock says."""
    told = f"{steps / seconds:.2f} steps/s"
    if fed is None:  # a loop of its own asks for its batches itself
        return told
    waited = percent(fed.waited / seconds, 0)
    return f"{told}, {fed.images / seconds:.1f} images/s, {waited} of the time waiting for images"


@contextmanager
def results(out: Path, scratch: Path, notes: dict[str, Any] | None = None) -> Iterator[Path]:
    """The folder that becomes `out`, with the curve and `notes` (JSON files by name) in it, and the end of the run."""
    with whole(out) as folder:
        yield folder
        if (scratch / "curve.csv").exists():
            shutil.copy(scratch / "curve.csv", folder / "curve.csv")
        for name, content in (notes or {}).items():
            write_json(folder / name, content)
    finish(out, scratch)


def _log(path: Path, step: Step) -> str:
    """One line of the curve; a line past a checkpoint that is trained again is written again, not twice."""
    terms = {name: float(term) for name, term in step.terms.items()}
    row = {"step": step.number, "loss": sum(terms.values()), **terms}
    kept = []
    if path.exists():
        with path.open(newline="") as file:
            kept = [line for line in csv.DictReader(file) if int(line["step"]) < step.number]
    names = list(dict.fromkeys([*(name for line in kept for name in line), *row]))  # phases of a loop may differ
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(kept)
    writer.writerow({key: value if key == "step" else f"{value:.6g}" for key, value in row.items()})
    write_whole(path, text.getvalue().encode())
    return f"loss {row['loss']:.3f}"
