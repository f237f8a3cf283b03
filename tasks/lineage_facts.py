"""What the records in stages' folders say, in a line each. docs/files.md has what is in them."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tasks.promote import LEARNED
from tasks.text import listed, percent

SHORT = 12  # digits of a sha256 that are shown, as elsewhere


def short(digest: str | None) -> str:
    """The first digits of a hash; "-" where there is none."""
    return digest[:SHORT] if digest else "-"


def _verdict(record: Any) -> str:
    return f"the {record['winner']} wins. {' '.join(record['reasons'])}"


def _guard(record: Any) -> str:
    passed = "accepts the student" if record["accepted"] else "refuses the student, the model before it goes on"
    return f"{record['verdict']}: {' '.join([passed, *record['reasons']])}"


def _calibration(record: Any) -> str:
    wanted = record.get("target_precision")
    return f"of teacher {short(record['teacher'])}" + (f", for a precision of {percent(wanted, 0)}" if wanted else "")


def _labels(record: Any) -> str:
    what = "boxes kept on" if "boxes" in record else "kept of"
    return f"{record['kept']:,} {what} {record['images']:,} images by teacher {short(record['teacher'])}"


def _ingested(record: Any) -> str:
    """Of ingest. Other stages' reports of this name have other things in them."""
    if "refused" not in record:
        return ""
    return f"{_images(record['images'])}, {len(record['refused']):,} refused"


def _choice(record: Any) -> str:
    return f"{record['chosen']} was chosen" + (f": {record['reason']}" if "reason" in record else "")


def _metrics(record: Any) -> str:
    """Of a classifier, of a detector, of a network with several tasks; or why there are none."""
    if "reason" in record:
        return str(record["reason"])
    if "accuracy" in record:
        return f"{percent(record['accuracy'], 2)} right on {record['images']:,} test images"
    return f"AP {percent(record['ap'])} on the test images" if "ap" in record else ""


def _images(counts: Mapping[str, int]) -> str:
    return listed([f"{number:,} {name}" for name, number in counts.items()]) + " images"


def _roles(path: Path) -> str:
    import pyarrow.parquet as pq

    roles = pq.read_table(path, columns=["role"])["role"].to_pylist()
    return _images(dict(sorted(Counter(roles).items())))


def _of_json(tell: Callable[[Any], str]) -> Callable[[Path], str]:
    return lambda path: tell(json.loads(path.read_bytes()))


FACTS: dict[str, Callable[[Path], str]] = {
    "split.parquet": _roles,
    **{
        name: _of_json(tell)
        for name, tell in {
            "verdict.json": _verdict,
            "guard.json": _guard,
            "choice.json": _choice,
            "report.json": _ingested,
            "calibration.json": _calibration,
            "manifest.json": _labels,
            "metrics.json": _metrics,
            "passed.json": lambda record: f"passes the model on: {record['reason']}",
            "unavailable.json": lambda record: f"no model: {record['reason']}",
            LEARNED: lambda roles: f"learned from {listed(roles)} images",
        }.items()
    },
}


def facts(found: Mapping[str, Path]) -> list[str]:
    """What the records among `found`, name -> a file, say, a line each."""
    told = []
    for name in [name for name in FACTS if name in found]:
        try:
            told.append(FACTS[name](found[name]))
        except KeyError as error:
            told.append(f"{name} has no {error}: another version of this project wrote it")
    return [line for line in told if line]


def about(model: Path) -> dict[str, Any]:
    """What a model's file says of itself, read without its weights; {} of one that was not written here."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(model, framework="numpy") as file:
            said = (file.metadata() or {}).get("tutelage", "{}")
        return dict(json.loads(said))
    except (SafetensorError, ValueError):
        return {}


def described(model: Mapping[str, Any]) -> str:
    """`about` in a line."""
    specs = model.get("members") or [model[name] for name in ("spec",) if name in model]
    kinds = [f"{spec['kind']} on " if "kind" in spec else "" for spec in specs]
    nets = [f"{kind}{spec.get('name') or spec.get('backbone')}" for kind, spec in zip(kinds, specs, strict=True)]
    known = [listed(nets)] if nets else []
    known += [f"{len(model['classes'])} classes"] if "classes" in model else []
    known += [f"method {str(model['method']).partition('(')[0]}"] if "method" in model else []
    return ", ".join(known)
