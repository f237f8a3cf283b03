"""What the teacher's scores are worth."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.distribution import FILE, Familiar, packed
from tasks.io import whole, write_json
from tasks.params import Params
from tasks.text import percent, table
from tasks.training import check_unlearned, labels_of, rows_of
from tutelage.data.groups import one_of_each
from tutelage.data.images import Images
from tutelage.data.manifest import read_split
from tutelage.metrics.calibration import (
    Threshold,
    aligned,
    alignment,
    calibrated,
    cautious_temperature,
    fit_temperature,
    thresholds,
)
from tutelage.metrics.classification import expected_calibration_error, reliability
from tutelage.metrics.out_of_distribution import limit
from tutelage.models.files import load_model
from tutelage.train.predict import checked, looks, predict


def calibrate(split: Path, teacher: Path, *, params: Params, out: Path) -> Path:
    """Hold-out and teacher -> calibration.json: temperature, one threshold a class, reliability before and after; with
    `calibrate.in_distribution` known.safetensors, what an image of the classes looks like to the teacher.

    A probe of the pool gives the expected yield, at most the quota of each class, before the whole of it is labelled.
    Where `split.groups` says that images belong together, one of each group is evidence.
    """
    table, wanted, labelling, bins = read_split(split), params.calibrate, params.pseudo_label, params.evaluate.bins
    check_unlearned(teacher)
    network, card = load_model(teacher / "model.safetensors")
    images = Images.open(table, card.image_size)

    def read(rows: np.ndarray) -> np.ndarray:
        found = predict(
            network, images, rows, compute=params.compute, batch=labelling.batch,
            views=looks(labelling.views, flip=params.views.flip),
        )  # fmt: skip
        return checked(found) if len(rows) else np.zeros((0, len(card.classes)), np.float32)

    rows = rows_of(table, "holdout")
    logits, labels = read(rows), labels_of(table, rows)
    alone = one_of_each(table["id"].take(pa.array(rows)).to_pylist(), params.split.groups, seed=params.seed)
    temperature = fit_temperature(logits, labels)
    cautious = cautious_temperature(logits[alone], labels[alone], temperature, wanted.confidence)
    probe = np.sort(np.random.default_rng(params.seed).permutation(rows_of(table, "pool"))[: wanted.probe])
    border: dict[str, Any] | None = None
    beside: dict[str, bytes] = {}
    if wanted.in_distribution is not None:
        border, inside, beside = _border(Familiar.of(table, network, images, params), rows[alone], probe)
        probe = probe[inside]
    said, shares = read(probe), _class_shares(table, len(card.classes)) if labelling.align else None
    (unseen, factors), (least, _) = (_balanced(said, t, shares) for t in (temperature, cautious))
    before, after = calibrated(logits, 1.0), calibrated(logits, temperature)
    after = after if factors is None else aligned(after, factors)
    rules = thresholds(
        after[alone], labels[alone], unseen, least, target=wanted.target_precision, confidence=wanted.confidence,
        floor=wanted.floor, cap=wanted.cap,
    )  # fmt: skip
    share, most = 1.0 if border is None else 1 - border["expected_share"], _most(table, labelling.quota)
    classes = [
        {"name": name, **asdict(rule), "expected_yield": min(share * _expected_yield(unseen, place, rule), most)}
        for place, (name, rule) in enumerate(zip(card.classes, rules, strict=True))
    ]
    content = {
        "teacher": card.sha256,
        "views": labelling.views,
        "flip": params.views.flip,
        "target_precision": wanted.target_precision,
        "confidence": wanted.confidence,
        "temperature": temperature,
        "cautious_temperature": cautious,
        "alignment": None if factors is None else factors.tolist(),
        "classes": classes,
        "out_of_distribution": border,
        "ece_before": expected_calibration_error(before, labels, bins=bins),
        "ece_after": expected_calibration_error(after, labels, bins=bins),
        "reliability_before": reliability(before, labels, bins=bins),
        "reliability_after": reliability(after, labels, bins=bins),
    }
    with whole(out) as folder:
        write_json(folder / "calibration.json", content)
        for name, packed_up in beside.items():
            (folder / name).write_bytes(packed_up)
        (folder / "report.md").write_text(_markdown(content, len(alone)))
    return out


def _border(
    familiar: Familiar, held_out: np.ndarray, probe: np.ndarray
) -> tuple[dict[str, Any], np.ndarray, dict[str, bytes]]:
    """What calibration.json says of images that are of none of the classes, which of the probe are of them [p], and
    what lies beside it."""
    keep = familiar.params.calibrate.in_distribution
    assert keep is not None
    farthest = limit(familiar.distance(held_out), keep)
    inside = familiar.distance(probe) <= farthest
    content, digest = packed(familiar.known)
    about = {"keep": keep, "limit": farthest, "holdout": len(held_out), "known": digest}
    share = 1 - float(inside.mean()) if len(probe) else 0.0
    return {**about, "expected_share": share}, inside, {FILE: content}


def _balanced(said: np.ndarray, temperature: float, shares: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Logits as probabilities with classes as frequent as `shares` says, and the factors that do that.

    None: as they are.
    """
    found = calibrated(said, temperature)
    if shares is None:
        return found, None
    factors = alignment(found, shares)
    return aligned(found, factors), factors


def _class_shares(table: pa.Table, classes: int) -> np.ndarray:
    """How often each class is among all given labels [c]."""
    given = np.concatenate([labels_of(table, rows_of(table, role)) for role in ("labelled", "holdout")])
    return np.bincount(given, minlength=classes) / len(given)


def _expected_yield(probabilities: np.ndarray, place: int, rule: Threshold) -> float:
    """Share of the probe that would be kept with this class."""
    if not len(probabilities) or rule.threshold is None:
        return 0.0
    kept = (probabilities.argmax(1) == place) & (probabilities.max(1) >= rule.threshold)
    return float(kept.mean())


def _most(table: pa.Table, quota: int | None) -> float:
    """Share of the pool that a class may have."""
    return 1.0 if quota is None else quota / max(len(rows_of(table, "pool")), 1)


def _foreign(border: dict[str, Any] | None) -> list[str]:
    if border is None:
        return []
    return [
        f"**{border['expected_share']:.1%} of the pool** is expected to be out of distribution: farther from all "
        f"labelled images than {border['keep']:.1%} of images like the {border['holdout']} of the hold-out are. "
        f"No student sees it; up to {1 - border['keep']:.1%} of the images of the classes are among it.",
        "",
    ]


def _markdown(content: dict[str, Any], samples: int) -> str:
    expected = sum(row["expected_yield"] for row in content["classes"])
    fitted = (
        f"Temperature {content['temperature']:.3f} from {samples} hold-out images, which do not rule out "
        f"{content['cautious_temperature']:.3f}: by that a class without evidence of its own must promise. Expected "
        f"calibration error {content['ece_before']:.3f} before, {content['ece_after']:.3f} after."
        if samples
        else "There is no hold-out, so the temperature is 1 and the calibration error is not known."
    )
    rows = [
        [
            row["name"], "keeps none" if row["threshold"] is None else f"{row['threshold']:.3f}", row["evidence"],
            row["samples"], row["kept"], row["correct"], percent(row["expected_yield"]),
        ]
        for row in content["classes"]
    ]  # fmt: skip
    lines = [
        "# Calibration",
        "",
        f"{fitted} Expected yield at a precision of {content['target_precision']:.0%}: **{expected:.1%} of the pool**.",
        "",
        *_foreign(content["out_of_distribution"]),
        table(["class", "threshold", "evidence", "hold-out images", "kept", "correct", "expected yield"], rows),
    ]
    return "\n".join(lines) + "\n"
