"""What the scores of a detector are worth, and which boxes it may give to a student."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from tasks.box_answers import Marked, People, beside, find, marked, people_of, searched
from tasks.box_params import CalibrateBoxes
from tasks.box_training import pool_rows
from tasks.io import whole, write_json
from tasks.params import Params
from tasks.text import percent
from tasks.text import table as markdown
from tasks.training import check_unlearned, rows_of
from tutelage.data.boxes import Found, Given, objects_an_image
from tutelage.data.groups import one_of_each
from tutelage.data.manifest import read_split
from tutelage.metrics.box_thresholds import (
    Platt,
    count_matched,
    fit_scores,
    judged,
    mixture_thresholds,
    stac_filter,
    thresholds,
)
from tutelage.models.files import load_detector


def box_calibrate(split: Path, teacher: Path, *, params: Params, out: Path) -> Path:
    """Hold-out and teacher -> calibration.json: what a score is worth at IoU 0.5, one threshold a class.

    A probe of the pool gives the expected number of boxes before the whole of it is labelled. What is counted in
    labelled images (`rule: count`) is counted in all of them, for that asks no detector. Only a precision needs a
    hold-out: where few images have boxes, a teacher may have them all by another rule, and its scores stay as they are.
    Where `detection.split.groups` says that images belong together, one of each group is evidence of a precision.
    BadInput for a precision without one, and for a teacher that has learned from it.
    """
    table, wanted = read_split(split), params.detection.calibrate
    network, card = load_detector(teacher / "model.safetensors")
    held, pool = _held(split, table, wanted), pool_rows(split, table)
    if len(held.rows):
        check_unlearned(teacher)
    probe = np.sort(np.random.default_rng(params.seed).permutation(pool)[: wanted.probe])
    ask = partial(find, compute=params.compute, batch=params.detection.label.batch, ways=params.detection.ways)
    people = people_of(split, table, probe)
    seen, unseen = ask(table, held.rows, network, card), beside(ask(table, probe, network, card), probe, people)
    guesses, right = judged(held.given, seen)
    scale = fit_scores(guesses.scores, right)
    seen, unseen = [[one._replace(scores=scale(one.scores)) for one in found] for found in (seen, unseen)]
    names = table["id"].take(pa.array(held.rows)).to_pylist()
    alone = one_of_each(names, params.detection.split.groups, seed=params.seed)
    evidence, said = ([part[place] for place in alone] for part in (held.given, seen))
    counted = _objects(split, table, held, people, len(probe)) if wanted.rule == "count" else np.zeros(0)
    limits = _limits(wanted, (evidence, said), counted, unseen, card.classes)
    classes = [
        {"name": name, **limit, "expected_boxes": _expected(unseen, place, limit["threshold"], wanted.rule)}
        for place, (name, limit) in enumerate(zip(card.classes, limits, strict=True))
    ]
    content = {
        "teacher": card.sha256, "looks": len(params.detection.ways), "rule": wanted.rule,
        "target_precision": wanted.target_precision, "scale": scale.scale, "shift": scale.shift, "classes": classes,
    }  # fmt: skip
    with whole(out) as folder:
        write_json(folder / "calibration.json", content)
        (folder / "report.md").write_text(_markdown(content, len(alone)))
    return out


def _held(split: Path, table: pa.Table, wanted: CalibrateBoxes) -> Marked:
    """The hold-out, which may be empty where the rule reads none of it."""
    if wanted.rule == "precision" or len(rows_of(table, "holdout")):
        return marked(split, table, "holdout")
    return Marked(np.zeros(0, np.int64), [], [])


def _objects(split: Path, table: pa.Table, held: Marked, people: People, probe: int) -> Float[np.ndarray, " c"]:
    """Of each class, in all images that people marked; less the share of the probe's images where they looked for it,
    for there a teacher finds none."""
    labelled = marked(split, table, "labelled")
    known = np.concatenate([searched(part, table) for part in (labelled, held)])
    looked = np.sum([looked_for for _, looked_for in people.values()], axis=0) / max(probe, 1)
    found: np.ndarray = objects_an_image([*labelled.given, *held.given], known) * (1 - looked)
    return found


def scale_of(rules: dict[str, Any]) -> Platt:
    """From a score to the chance that a box is right, as calibration.json says."""
    return Platt(rules["scale"], rules["shift"])


def _limits(
    wanted: CalibrateBoxes, evidence: tuple[list[Given], list[Found]], counted: Float[np.ndarray, " c"],
    unseen: list[Found], classes: list[str],
) -> list[dict[str, Any]]:  # fmt: skip
    """A threshold a class by the rule that was asked for, and what it rests on."""
    match wanted.rule:
        case "precision":
            found = thresholds(
                *evidence, unseen, classes, target=wanted.target_precision, confidence=wanted.confidence,
                floor=wanted.floor, cap=wanted.cap,
            )  # fmt: skip
            return [asdict(one) for one in found]
        case "count":
            matched = count_matched(counted, unseen)
            return [{"threshold": float(limit), "evidence": "boxes an image"} for limit in matched]
        case "stac":
            return [{"threshold": wanted.tau, "evidence": "or the surest of its image"} for _ in classes]
        case "mixture":
            mixed = mixture_thresholds(unseen, classes, fallback=wanted.cap)
            return [
                {"threshold": max(one.threshold, wanted.floor), "evidence": one.note or "two components"}
                for one in mixed
            ]


def _expected(unseen: list[Found], place: int, limit: float | None, rule: str) -> float:
    """Boxes of a class that an image of the pool would keep."""
    if limit is None or not unseen:
        return 0.0
    kept = [stac_filter(one.scores, tau=limit) if rule == "stac" else one.scores >= limit for one in unseen]
    return float(np.mean([((one.labels == place) & some).sum() for one, some in zip(unseen, kept, strict=True)]))


def _markdown(content: dict[str, Any], images: int) -> str:
    rows = [
        [
            row["name"], "keeps none" if row["threshold"] is None else f"{row['threshold']:.3f}", row["evidence"],
            f"{row['expected_boxes']:.2f}",
        ]
        for row in content["classes"]
    ]  # fmt: skip
    heads = ["class", "threshold", "evidence", "boxes an image"]
    expected = sum(row["expected_boxes"] for row in content["classes"])
    chance = (
        f"The chance that a box is right is sigmoid({content['scale']:.2f} logit(score) {content['shift']:+.2f}), from "
        f"{images} hold-out images"
        if images
        else "There is no hold-out, so scores are taken as they are, in images of the pool"
    )
    looks = f", each seen in {content['looks']} ways" if content["looks"] > 1 else ""
    told = f"at a precision of {percent(content['target_precision'], 0)}" if content["rule"] == "precision" else ""
    return (
        f"# Calibration of boxes\n\n{chance}{looks}. Expected{f' {told}' if told else ''}: "
        f"**{expected:.2f} boxes an image**.\n\n{markdown(heads, rows)}\n"
    )
