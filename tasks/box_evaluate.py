"""The test of a detector."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tasks.box_answers import Marked, find, marked, write_found
from tasks.box_charts import precision_recall_chart
from tasks.io import read_json, whole, write_json
from tasks.latency import told
from tasks.params import Params
from tasks.pictures import png
from tasks.text import points
from tasks.text import table as markdown
from tasks.training import untested
from tutelage.data.boxes import Found
from tutelage.data.groups import units_of
from tutelage.data.manifest import read_split
from tutelage.metrics.coco import bootstrap_ap, matched, score, widest
from tutelage.metrics.detection_errors import costs, errors
from tutelage.models.files import load_detector


def box_evaluate(split: Path, model: Path, *, params: Params, out: Path) -> Path:
    """Test images and a detector's folder -> found.parquet, metrics.json (COCO's numbers, the AP's interval, errors by
    kind and what each kind costs), curves.json (of each class: precision at overlap 0.5 over recall), report.md.

    A folder with unavailable.json in the model's place gives {"available": false, "reason"} and no boxes.
    """
    missing = model / "unavailable.json"
    if missing.exists():
        return untested(str(model), read_json(missing)["reason"], out, what="detector")
    table, wanted = read_split(split), params.detection.evaluate
    network, card = load_detector(model / "model.safetensors")
    test = marked(split, table, "test")
    began = time.perf_counter()
    found = find(table, test.rows, network, card, compute=params.compute, batch=wanted.batch)
    took = time.perf_counter() - began
    write_test(
        str(model), (test, found), card.classes, params=params,
        about={"parameters": card.parameters, "model": card.sha256}, out=out,
    )  # fmt: skip
    say, speed = read_json(out / "metrics.json"), told(len(test.rows), {"reading and finding take": took})
    numbers = f"AP {points(say['ap'])}, AP50 {points(say['ap50'])}, AR {points(widest(say['ar']))}"
    print(f"{model} on {len(test.rows)} images: {numbers}; {speed}", flush=True)
    return out


def write_test(
    name: str, seen: tuple[Marked, list[Found]], classes: list[str], *, params: Params, about: dict[str, Any], out: Path
) -> Path:
    """found.parquet, metrics.json with `about` in it, curves.json, report.md of what was found in the test images."""
    test, found = seen
    most = params.detection.evaluate.max_detections
    scores = score(test.given, found, classes, max_detections=most)
    ap = bootstrap_ap(
        matched(test.given, found, classes, max_detections=most), None,
        resamples=params.detection.judge.resamples, seed=params.seed,
        units=units_of(test.ids, params.detection.split.groups),
    )  # fmt: skip
    metrics = {
        **{key: value for key, value in asdict(scores).items() if key not in ("curves", "per_class")},
        "per_class": {name: one._asdict() for name, one in scores.per_class.items()},
        "ap_low": ap.low,
        "ap_high": ap.high,
        "errors": errors(test.given, found, floor=_working_point(found)),
        "costs": costs(test.given, found, classes),
        "images": len(test.rows),
        "objects": sum(one.objects for one in scores.per_class.values()),
        **about,
    }
    with whole(out) as folder:
        write_found(folder, test.ids, found)
        write_json(folder / "metrics.json", metrics)
        write_json(folder / "curves.json", {label: curve.tolist() for label, curve in scores.curves.items()})
        chart = png(precision_recall_chart(scores.curves))
        (folder / "report.md").write_text(_markdown(name, metrics, chart))
    return out


def _working_point(found: list[Found]) -> float:
    """The score at which errors are counted: half of the surest box's, so that no detector is judged by its scale."""
    return 0.5 * max((float(one.scores.max(initial=0.0)) for one in found), default=0.0)


def _markdown(name: str, metrics: dict[str, Any], chart: str) -> str:
    sizes = metrics["by_size"]
    overall = [
        f"{metrics['images']:,}",
        f"{metrics['objects']:,}",
        *(points(metrics[k]) for k in ("ap", "ap50", "ap75")),
        points(widest(metrics["ar"])),
    ]
    overall += [points(sizes[k]) for k in ("small", "medium", "large")] + [f"{metrics['parameters']:,}"]
    classes = [
        [label, points(row["ap"]), points(row["ap50"]), row["objects"]] for label, row in metrics["per_class"].items()
    ]
    heads = ["images", "objects", "AP", "AP50", "AP75", "AR", "AP small", "AP medium", "AP large", "parameters"]
    parts = [
        f"# Test of {name}",
        markdown(heads, [overall]),
        markdown(["class", "AP", "AP50", "objects"], classes),
        markdown(list(metrics["errors"]), [list(metrics["errors"].values())]),
        f"![precision over recall at IoU 0.5]({chart})",
    ]
    return "\n\n".join(parts) + "\n"
