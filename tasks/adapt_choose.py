"""Which adapted model to take, without a label of the target."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.answers import rows_and_labels
from tasks.io import read_json, whole, write_json
from tasks.params import Params
from tasks.text import listed, percent
from tasks.text import table as markdown
from tasks.training import copy_model, learned_from_holdout, rows_of
from tutelage.data.images import Images
from tutelage.data.manifest import read_split
from tutelage.metrics.classification import accuracy
from tutelage.metrics.validators import Scores, choose, validate
from tutelage.models.files import load_model
from tutelage.train.predict import describe
from tutelage.types import BadInput

SOURCE = "source"  # the candidate that did not adapt
CYCADA = "cycada"  # one that a stage of its own makes of the candidate `translated`


def adapt_choose(
    split: Path, source: Path, candidates: Path, rounds: Path | None = None, *, params: Params, out: Path
) -> Path:
    """Model of the source and folders of adapted ones -> choice.json (scores, ranking), model.safetensors, report.md.

    Of `rounds` those count whose student the guard let go on. Reads the target's images without labels and held-out
    source images with theirs; the test is not looked at.
    """
    names = {*params.adapt.candidates, *({CYCADA} if (candidates / CYCADA).is_dir() else ())}
    folders = {SOURCE: source} | {name: candidates / name for name in sorted(names)}  # others are of older params
    folders |= {} if rounds is None else students(rounds, params)
    return choose_among(split, folders, params=params, out=out)


def choose_among(split: Path, folders: dict[str, Path], *, params: Params, out: Path) -> Path:
    """The same among these models by name, one of which is SOURCE."""
    table, wanted = read_split(split), params.adapt.choose
    found = {name: _look(folder, table, params) for name, folder in folders.items()}
    scores, right = {name: each[0] for name, each in found.items()}, {name: each[1] for name, each in found.items()}
    learned = [name for name, folder in folders.items() if learned_from_holdout(folder)]
    # What the source knows by heart is no bar. A candidate that has learned there and fails all the same has forgotten.
    choice = choose(scores, right, reference=SOURCE, margin=1.0 if SOURCE in learned else wanted.margin)
    rows = {name: asdict(scores[name]) | {"source_accuracy": right[name]} for name in folders}
    content = {"chosen": choice.ranking[0], "candidates": rows, **asdict(choice), "learned_holdout": learned}
    with whole(out) as folder:
        write_json(folder / "choice.json", content)
        copy_model(folders[choice.ranking[0]], folder)
        (folder / "report.md").write_text(_report(content))
    print(f"adapt_choose: {choice.ranking[0]} of {len(folders)}")
    return out


def students(rounds: Path, params: Params) -> dict[str, Path]:
    """The rounds' models by name, without those of rounds that passed another model on."""
    guards = {f"round {n}": rounds / f"{n}/guard" for n in params.adapt.rounds}
    return {name: folder for name, folder in guards.items() if read_json(folder / "guard.json")["accepted"]}


def _look(folder: Path, table: pa.Table, params: Params) -> tuple[Scores, float]:
    network, card = load_model(folder / "model.safetensors")
    images = Images.open(table, card.image_size)
    rows, labels = rows_and_labels(table, card, "holdout")
    pool, wanted = rows_of(table, "pool"), params.adapt.choose.images
    if not len(pool):
        raise BadInput("the split has no image of the target, so nothing can be chosen by it. Name adapt.ingest.target")
    some = pool[np.linspace(0, len(pool) - 1, min(wanted, len(pool))).astype(np.int64)]
    compute, batch = params.compute, params.evaluate.batch
    known, _ = describe(network, images, rows, compute=compute, batch=batch)
    logits, embedding = describe(network, images, some, compute=compute, batch=batch)
    return validate(logits, embedding), accuracy(labels, known.argmax(axis=1))


def _report(content: dict[str, Any]) -> str:
    rows = []
    for name in [*content["ranking"], *content["refused"]]:
        each, rank = content["candidates"][name], content["mean_rank"].get(name)
        numbers = [f"{each[key]:.3f}" for key in ("information", "clusters", "agreement", "neighbourhood")]
        rows.append([name, "refused" if rank is None else f"{rank:.2f}", *numbers, percent(each["source_accuracy"])])
    head = [
        "candidate",
        "mean rank",
        "information",
        "clusters",
        "agreement",
        "neighbourhood density (no vote)",
        "held-out source",
    ]
    learned = content["learned_holdout"]
    guard = "the guard refuses who forgot the source"
    if SOURCE in learned:
        guard = (
            "the guard refuses nobody, as the source has learned from the hold-out. With rounds.N.holdout false it does"
        )
    said = f"Taken: **{content['chosen']}**. No label of the target was read; {guard}."
    proven = "Accuracy on the held-out source proves nothing of who has learned from it: "
    warned = [f"{proven}{listed(learned)}."] if learned else []
    return "\n\n".join(["# Choice", said, *warned, markdown(head, rows)]) + "\n"
