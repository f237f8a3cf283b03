"""The guard of a round of detection: may its student teach the next one?"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tasks.box_answers import kept_boxes, read_found, read_store, write_found
from tasks.box_pictures import pool_of, strips
from tasks.box_signals import BoxSight, look, measure
from tasks.gallery import Strip
from tasks.guard import SHOWN, decide, passed_on, told
from tasks.io import read_json, whole, write_json
from tasks.params import Params
from tasks.signals import Signal
from tasks.training import copy_model, guarded
from tutelage.data.boxes import Found
from tutelage.data.manifest import read_split

ANSWERS, OPINIONS = "answers.parquet", "opinions.parquet"
PIXELS = 128  # side of a picture in report.md


def box_guard(split: Path, teacher: Path, labels: Path, student: Path, *, params: Params, out: Path) -> Path:
    """Teacher, its boxes of the pool and the student -> model.safetensors (the better founded of the two), guard.json.

    It reads the hold-out and the pool, never the test split. answers.parquet keeps the teacher's boxes for the next
    guard, opinions.parquet what the student finds in a sample of the pool. A round that was passed on is passed on.
    """
    before = guarded(teacher)
    table, store = read_split(split), read_store(labels)
    limits, ids, kept = params.detection.guard, store["id"].to_pylist(), kept_boxes(store)
    signals: dict[str, Signal] = {}
    sight: BoxSight | None = None
    pictures: list[Strip] = []
    if (student / "passed.json").exists() or not store.num_rows:
        decision = passed_on(before, student)
    else:
        sight = look(split, table, (teacher, student), kept, params)
        previous = _previous(teacher, ids)
        signals = measure(split, table, (kept, previous), sight, params)
        decision = decide(signals, before["unsupervised_weight"], limits)
        pool = pool_of(split, table, side=PIXELS, hidden=False)
        pictures = strips(pool, store, sight.opinions(kept), SHOWN)
    content = {
        "round": read_json(labels / "manifest.json")["round"],
        **asdict(decision),
        "signals": {name: asdict(signal) for name, signal in signals.items()},
    }
    with whole(out) as folder:
        copy_model(student if decision.accepted else teacher, folder)
        write_found(folder, ids, kept, ANSWERS)
        said = sight.opinions(kept) if sight else {}
        write_found(folder, [ids[row] for row in said], list(said.values()), OPINIONS)
        write_json(folder / "guard.json", content)
        (folder / "report.md").write_text(told(content, pictures, what="Pseudo-boxes"))
    return out


def _previous(teacher: Path, ids: list[str]) -> Sequence[Found] | None:
    """Boxes of the same pool images by the teacher before, None in the first round."""
    if not (teacher / ANSWERS).exists():
        return None
    named, found = read_found(teacher, ANSWERS)
    # The split is the same in all rounds, so another order of ids is our mistake and no person's.
    assert named == ids, f"{teacher / ANSWERS} is of another pool"
    return found
