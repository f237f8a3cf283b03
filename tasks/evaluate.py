"""The test of a model."""

from pathlib import Path
from typing import Any

import numpy as np

from tasks.answers import Answers, ask, write_answers
from tasks.charts import confusion_chart, reliability_chart
from tasks.io import read_json, whole, write_json
from tasks.params import Params
from tasks.pictures import png
from tasks.text import percent, table
from tasks.training import untested
from tutelage.data.manifest import read_split
from tutelage.metrics.classification import (
    accuracy,
    confusion,
    expected_calibration_error,
    negative_log_likelihood,
    per_class,
    reliability,
)
from tutelage.models.files import Card, load_model


def evaluate(split: Path, model: Path, *, params: Params, out: Path) -> Path:
    """Test images and a model's folder -> predictions.parquet, metrics.json (overall, per class), report.md.

    A folder with unavailable.json in the model's place gives {"available": false, "reason"} and no predictions.
    """
    missing = model / "unavailable.json"
    if missing.exists():
        return untested(str(model), read_json(missing)["reason"], out)
    network, card = load_model(model / "model.safetensors")
    answers = ask(read_split(split), network, card, compute=params.compute, batch=params.evaluate.batch)
    metrics = measure(answers, card, params.evaluate.bins)
    with whole(out) as folder:
        write_answers(folder, answers)
        write_json(folder / "metrics.json", metrics)
        (folder / "report.md").write_text(_markdown(str(model), metrics))
    return out


def measure(answers: Answers, card: Card, bins: int) -> dict[str, Any]:
    """The content of metrics.json."""
    labels, probabilities = answers.labels, answers.probabilities
    matrix = confusion(labels, answers.predicted, len(card.classes))
    found, share = per_class(matrix), accuracy(labels, answers.predicted)
    return {
        "accuracy": share,
        "error": 1 - share,
        "ece": expected_calibration_error(probabilities, labels, bins=bins),
        "nll": negative_log_likelihood(probabilities, labels),
        "images": len(labels),
        "parameters": card.parameters,
        "model": card.sha256,
        "per_class": {
            name: {
                "recall": _known(found.recall[place]),
                "precision": _known(found.precision[place]),
                "support": int(found.support[place]),
            }
            for place, name in enumerate(card.classes)
        },
        "confusion": matrix.tolist(),
        "reliability": reliability(probabilities, labels, bins=bins),
    }


def _known(share: np.float64) -> float | None:
    """JSON has no NaN: what is a share of nothing is null."""
    return None if np.isnan(share) else float(share)


def _markdown(name: str, metrics: dict[str, Any]) -> str:
    overall = [
        *(f"{metrics['images']:,}", percent(metrics["accuracy"], 2), percent(metrics["error"], 2)),
        *(f"{metrics['ece']:.3f}", f"{metrics['nll']:.3f}", f"{metrics['parameters']:,}"),
    ]
    classes = [
        [label, percent(row["recall"]), percent(row["precision"]), row["support"]]
        for label, row in metrics["per_class"].items()
    ]
    diagram = png(reliability_chart({"test": metrics["reliability"]}))
    matrix = png(confusion_chart(np.array(metrics["confusion"]), list(metrics["per_class"])))
    parts = [
        f"# Test of {name}",
        table(["images", "accuracy", "error", "calibration error", "mean -log p", "parameters"], [overall]),
        table(["class", "recall", "precision", "images"], classes),
        f"![reliability diagram]({diagram}) ![confusion matrix]({matrix})",
    ]
    return "\n\n".join(parts) + "\n"
