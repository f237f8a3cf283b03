"""Methods on one teacher, student, data and budget. The flow `compare` runs it method by method:

python -m tasks.compare names
python -m tasks.compare one NAME SPLIT TEACHER [LABELS] OUT
python -m tasks.compare table SPLIT TEACHER [LABELS] OUT
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasks.charts import Gained, gains_chart
from tasks.io import as_json, write_whole
from tasks.params import Params, load
from tasks.pictures import png, png_bytes
from tasks.text import as_typed, percent
from tasks.text import table as markdown
from tasks.trial import PLAIN, Arena, Trial, arena, entrants, finished, one
from tutelage.data.groups import units_of
from tutelage.metrics.comparison import Interval, Units, paired_bootstrap
from tutelage.types import BadInput, Diverged


@dataclass(frozen=True)
class Row:
    """A method over its seeds. What is None could not be had: `note` says why."""

    name: str
    method: str
    accuracy: list[float]  # a seed
    gain: Interval | None = None  # of accuracy on plain training, 95 % paired bootstrap over images
    seconds_per_step: float | None = None  # median
    cost: float | None = None  # times plain training's
    memory: int | None = None  # bytes that a step needs
    note: str = ""


def compare(split: Path, teacher: Path, labels: Path | None = None, *, params: Params, out: Path) -> Path:
    """Train a student by every method and seed of `compare` in params.yaml -> results/METHOD-SEED.json, compare.json,
    compare.md, compare.png.

    LABELS are the teacher's pseudo-labels of the pool, for methods that read them. Run again, it goes on where it
    stopped: what is finished under the same settings is kept. Changed code is not noticed; delete OUT/results then.
    """
    place = arena(split, teacher, labels, params)
    for name in entrants(params):
        run_one(place, name, out)
    return tabulate(place, out)


def run_one(place: Arena, name: str, out: Path) -> list[Trial]:
    """All seeds of a method."""
    known = entrants(place.params)
    if name not in known:
        raise BadInput(f"{name!r} is not in this comparison; there are: {', '.join(known)}")
    found = []
    for seed in place.params.compare.seeds:
        trial = one(place, name, known[name], seed, out)
        right = trial.failed or f"{percent(float(trial.answers.mean()), 2)} right"
        print(f"{name}, seed {seed}: {right}", flush=True)
        found.append(trial)
    return found


def tabulate(place: Arena, out: Path) -> Path:
    """The table and the plot of what is finished. BadInput before plain training is."""
    seeds = place.params.compare.seeds
    trials = {
        name: [finished(place, name, method, seed, out) for seed in seeds]
        for name, method in entrants(place.params).items()
    }
    plain = [trial for trial in trials[PLAIN] if trial is not None]
    if len(plain) < len(seeds):
        raise BadInput(f"{out} has no result of {PLAIN!r} for every seed, which all others are compared with. Run it")
    units = units_of(place.measured, place.params.split.groups)
    rows = [row(name, found, plain, place.params, units=units) for name, found in trials.items()]
    rows = [rows[0], *sorted(rows[1:], key=lambda row: -row.gain.estimate if row.gain else np.inf)]
    figure = gains_chart([Gained(r.name, *r.gain, r.cost or 0.0) for r in rows[1:] if r.gain])
    about = _about(place, plain)
    text = _markdown(rows, about, png(figure))
    write_whole(out / "compare.json", as_json({"about": about, "rows": [_plain_row(row) for row in rows]}).encode())
    write_whole(out / "compare.png", png_bytes(figure))
    write_whole(out / "compare.md", text.encode())
    print(as_typed(_table(rows)), flush=True)
    return out


def row(
    name: str, trials: list[Trial | None], plain: list[Trial], params: Params, *, units: Units | None = None
) -> Row:
    """A method's line of the table, its seeds paired with those of plain training; images are drawn by `units`."""
    found = [trial for trial in trials if trial is not None]
    method = found[0].method if found else ""
    failed = [f"seed {trial.seed}: {trial.failed}" for trial in found if trial.failed]
    accuracy = [float(trial.answers.mean()) for trial in found if not trial.failed]
    if failed or len(found) < len(plain):
        missing = [f"{len(found)} of {len(plain)} seeds are finished"] if len(found) < len(plain) else []
        return Row(name, method, accuracy, note="; ".join([*missing, *failed]))
    seconds, reference = (np.median([trial.seconds_per_step or 0.0 for trial in group]) for group in (found, plain))
    gain = paired_bootstrap(
        np.stack([trial.answers for trial in found]), np.stack([trial.answers for trial in plain]),
        resamples=params.judge.resamples, seed=params.seed, units=units,
    ).difference  # fmt: skip
    return Row(
        name, method, accuracy,
        gain=None if name == PLAIN else gain,
        seconds_per_step=float(seconds),
        cost=float(seconds / reference) if reference else None,
        memory=int(np.median([trial.memory or 0 for trial in found])),
    )  # fmt: skip


def _about(place: Arena, plain: list[Trial]) -> dict[str, Any]:
    settings = place.params.compare
    return {
        "steps": settings.steps,
        "labelled_batch": settings.labelled_batch,
        "pool_batch": settings.pool_batch,
        "pool": len(place.pool),
        "pseudo_labels": bool(place.pseudo.weight.any()),
        "start": settings.start,
        "measured_on": settings.measured_on,
        "images": plain[0].images,
        "seeds": settings.seeds,
        "device": plain[0].device,
    }


def _plain_row(row: Row) -> dict[str, Any]:
    gain = row.gain._asdict() if row.gain else None
    return {**vars(row), "gain": gain}


def _table(rows: list[Row]) -> str:
    header = ["method", "accuracy", "gain on plain training, points", "95 % interval", "ms a step", "times", "MB", ""]
    return markdown(header, [_cells(row) for row in rows])


def _cells(row: Row) -> list[str]:
    accuracy = percent(float(np.mean(row.accuracy)), 2) if row.accuracy else "-"
    gain = (
        (f"{100 * row.gain.estimate:+.2f}", f"{100 * row.gain.low:+.2f} to {100 * row.gain.high:+.2f}")
        if row.gain
        else ("-", "-")
    )
    cost = "-" if row.seconds_per_step is None else f"{1000 * row.seconds_per_step:.1f}"
    times = "-" if row.cost is None else f"{row.cost:.2f}"
    memory = "-" if row.memory is None else f"{row.memory / 1e6:.1f}"
    return [row.name, accuracy, *gain, cost, times, memory, row.note]


def _markdown(rows: list[Row], about: dict[str, Any], picture: str) -> str:
    budget = f"{about['steps']:,} steps of {about['labelled_batch']} labelled and {about['pool_batch']} pool images"
    spent = (
        " A method chosen by this table is chosen with the test split in view: `measured_on: holdout` leaves it unseen."
        if about["measured_on"] == "test"
        else ""
    )
    told = "with" if about["pseudo_labels"] else "without"
    parts = [
        "# Methods compared",
        f"One teacher, one student and one budget: {budget}, {told} the teacher's pseudo-labels of the pool. Means "
        f"over {len(about['seeds'])} seed(s) on {about['images']:,} images ({about['measured_on']}). Plain training is "
        f"`{PLAIN}` with as many steps; an interval says what other images might have shown of these networks, not "
        f"what other seeds might.{spent}",
        _table(rows),
        "A step's time is the median without waiting for data; its memory is counted: networks, gradients, momentum "
        "and what the forward leaves for the backward pass.",
        f"![gain on plain training by method]({picture})",
    ]
    return "\n\n".join(parts) + "\n"


def main(verb: str, *arguments: str) -> int:
    try:
        params = load()
        if verb == "names":
            print(json.dumps(list(entrants(params))))
            return 0
        name, paths = (arguments[0], arguments[1:]) if verb == "one" else ("", arguments)
        *inputs, out = map(Path, paths)
        place = arena(*_three(inputs), params)
        run_one(place, name, out) if verb == "one" else tabulate(place, out)
    except (BadInput, Diverged) as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2 if isinstance(error, BadInput) else 1
    return 0


def _three(paths: list[Path]) -> tuple[Path, Path, Path | None]:
    split, teacher, *labels = paths
    return split, teacher, labels[0] if labels else None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
