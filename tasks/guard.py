"""The guard of a round: may its student teach the next one?"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.box_params import GuardBoxes
from tasks.gallery import Pool, Strip, sheet, strips
from tasks.io import read_json, whole, write_json
from tasks.params import Guard, Params
from tasks.signals import STUDENTS_FAULT, Sight, Signal, look, measure
from tasks.text import bullets
from tasks.text import table as markdown
from tasks.training import copy_model, guarded
from tutelage.data.manifest import classes_of, read_split
from tutelage.data.pseudo_labels import foreign, read_table

SHOWN = 12  # images a strip of report.md


@dataclass(frozen=True)
class Decision:
    """What guard.json says beside its signals."""

    verdict: str  # continue, weaken or stop
    accepted: bool  # whether the student goes on, or the model that the round started from
    unsupervised_weight: float  # of the next round
    reasons: list[str]


def guard(split: Path, teacher: Path, labels: Path, student: Path, *, params: Params, out: Path) -> Path:
    """Teacher, its labels of the pool and the student -> model.safetensors (the better founded of the two), guard.json.

    It reads the hold-out and the pool, never the test split. answers.parquet keeps the teacher's labels for the next
    guard, opinions.parquet what the student says of a sample of the pool. A round that was passed on is passed on.
    """
    before = guarded(teacher)
    table, answers = (
        read_split(split),
        read_table(labels, ["id", "label", "calibrated", "kept", "weight", "distance", "reason"]),
    )
    signals: dict[str, Signal] = {}
    sight: Sight | None = None
    pictures: list[Strip] = []
    if (student / "passed.json").exists() or not answers.num_rows:
        decision = passed_on(before, student)
    else:
        sight = look(table, teacher, student, params.compute, groups=params.split.groups)
        previous = _previous(teacher, answers)
        inside = ~foreign(answers)  # what no student sees is no student's fault
        old = None if previous is None else previous[inside]
        signals = measure(table, answers.filter(pa.array(inside)), old, sight, params.guard)
        decision = decide(signals, before["unsupervised_weight"], params.guard)
        pool = Pool.of(table, {}, classes_of(table))
        pictures = strips(pool, answers, sight.opinions, previous, SHOWN)
    number = read_json(labels / "manifest.json")["round"]
    content = {"round": number, **asdict(decision), "signals": {name: asdict(s) for name, s in signals.items()}}
    with whole(out) as folder:
        copy_model(student if decision.accepted else teacher, folder)
        pq.write_table(answers.select(["id", "label"]), folder / "answers.parquet", compression="zstd")
        pq.write_table(_opinions(sight.opinions if sight else {}), folder / "opinions.parquet", compression="zstd")
        write_json(folder / "guard.json", content)
        (folder / "report.md").write_text(told(content, pictures))
    return out


def decide(signals: dict[str, Signal], weight: float, limits: Guard | GuardBoxes) -> Decision:
    """No breach: go on. A first one: trust the pool less. One after that: stop, keep the last good model."""
    breaches = {name: signal for name, signal in signals.items() if signal.breached}
    reasons = [signal.detail for signal in breaches.values()]
    if not breaches:
        return Decision("continue", True, weight, reasons)
    if weight < 1:
        return Decision("stop", False, weight, reasons)
    return Decision("weaken", STUDENTS_FAULT.isdisjoint(breaches), weight * limits.weaken, reasons)


def passed_on(before: dict[str, Any], student: Path) -> Decision:
    """A round in which no student was trained. The reasons are those of the guard that stopped first."""
    note = student / "passed.json"
    why = [read_json(note)["reason"] if note.exists() else "the pool is empty"]
    reasons = before["reasons"] if before["verdict"] == "stop" else why
    return Decision("stop", False, before["unsupervised_weight"], reasons)


def _previous(teacher: Path, answers: pa.Table) -> np.ndarray | None:
    """Labels of the same pool images by the teacher before, None in the first round."""
    path = teacher / "answers.parquet"
    if not path.exists():
        return None
    old = pq.read_table(path)
    # The split is the same in all rounds, so another order of ids is our mistake and no person's.
    assert old["id"].equals(answers["id"]), f"{path} is of another pool"
    return np.asarray(old["label"].to_numpy())


def _opinions(said: dict[str, int]) -> pa.Table:
    return pa.table({"id": pa.array(list(said), pa.string()), "label": pa.array(list(said.values()), pa.int32())})


def told(content: dict[str, Any], pictures: list[Strip], *, what: str = "Pseudo-labels") -> str:
    """report.md of a guard, of labels or of boxes."""
    words = {
        "continue": "goes on",
        "weaken": "goes on with less trust in the pool",
        "stop": "stops: later rounds pass the last good model on",
    }
    model = "the student" if content["accepted"] else "the model that the round started from"
    rows = [
        [name, _number(s["value"]), _number(s["limit"]), "breached" if s["breached"] else "ok", s["detail"]]
        for name, s in content["signals"].items()
    ]
    parts = [
        f"# Guard of round {content['round']}: {words[content['verdict']]}",
        "\n".join(bullets(content["reasons"])) or "Every signal is within its limit.",
        f"The next round starts from {model}; its unsupervised weight is {content['unsupervised_weight']:g}.",
    ]
    if rows:
        parts.append(markdown(["signal", "value", "limit", "", "in words"], rows))
    parts += [f"## {what}"] * bool(pictures) + [sheet(strip) for strip in pictures]
    return "\n\n".join(parts) + "\n"


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4g}"
