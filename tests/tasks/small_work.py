"""A small world for tests: coloured squares of three classes, a split of them, networks, planted files."""

import csv
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import torch
from project import known

from tasks.answers import Answers, write_answers
from tasks.evaluate import measure
from tasks.guard import guard
from tasks.io import write_json
from tasks.judge import judge
from tasks.params import Params, Round
from tutelage.data.manifest import SPLIT, TRUTH, describe, read_split, write_split
from tutelage.data.pseudo_labels import FOREIGN, write_manifest, write_shards
from tutelage.models.backbone import Backbone, NetworkSpec, create
from tutelage.models.files import load_model, save_model
from tutelage.train.settings import Compute

CLASSES = ["blue <sky>", "green|grass", "red $5$"]  # what HTML, Markdown and matplotlib might trip over
SPEC = NetworkSpec(name="small_resnet", width=4, image_size=12)
ROLES = {"labelled": 12, "holdout": 30, "pool": 60, "test": 90}


def small_params(rounds: int = 2) -> Params:
    chain = {n: Round(teacher="work/teacher" if n == 1 else f"work/rounds/{n - 1}/guard") for n in range(1, rounds + 1)}
    return replace(
        known(),
        compute=Compute(threads=1, workers=0, precision="fp32", device="cpu"),
        network=SPEC,
        rounds=chain,
        last=rounds,
    )


def make_split(folder: Path, roles: dict[str, int] = ROLES) -> Path:
    """Images in folder/images, tables in folder/work/split. Labels go round the classes."""
    rng, rows = np.random.default_rng(0), []
    (folder / "images").mkdir(parents=True)
    for role, number in roles.items():
        for place in range(number):
            label = place % len(CLASSES)
            pixels = rng.integers(0, 90, (12, 12, 3), np.uint8)
            pixels[..., label] += 120  # OpenCV's order: blue, green, red
            data = cv2.imencode(".png", pixels)[1].tobytes()
            name = f"{role}-{place:03d}.png"
            (folder / "images" / name).write_bytes(data)
            rows.append(
                {
                    "id": f"labelled/{name}", "source": "labelled", "path": name, "offset": 0, "length": len(data),
                    "sha256": hashlib.sha256(data).hexdigest(), "width": 12, "height": 12, "domain": "", "role": role,
                    "label": None if role == "pool" else label, "truth": label,
                }
            )  # fmt: skip
    rows.sort(key=lambda row: row["id"])
    truth = pa.table({k: [r[n] for r in rows if r["role"] == "pool"] for k, n in (("id", "id"), ("label", "truth"))})
    split = folder / "work" / "split"
    split.mkdir(parents=True)
    for row in rows:
        del row["truth"]
    table = describe(pa.Table.from_pylist(rows, SPLIT), roots={"labelled": str(folder / "images")}, classes=CLASSES)
    write_split(split, table, truth.cast(TRUTH))
    return split


def darken(folder: Path, rows: slice = slice(None)) -> None:
    """Images of make_split as at night."""
    repaint(folder, rows, lambda pixels: pixels * np.array([0.5, 0.4, 0.3]))


def repaint(folder: Path, rows: slice, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Other pixels in images of make_split; of its rows, which are in the order of their names."""
    table = read_split(folder / "work/split")
    names = table["path"].to_pylist()
    digests, lengths = table["sha256"].to_pylist(), table["length"].to_pylist()
    for row in range(len(names))[rows]:
        path = folder / "images" / names[row]
        pixels = cv2.imread(str(path))
        data = cv2.imencode(".png", change(pixels).astype(np.uint8))[1].tobytes()
        path.write_bytes(data)
        digests[row], lengths[row] = hashlib.sha256(data).hexdigest(), len(data)
    for name, values in (("sha256", pa.array(digests)), ("length", pa.array(lengths, pa.int64()))):
        table = table.set_column(table.schema.get_field_index(name), name, values)
    write_split(folder / "work/split", table)


def train(network: Backbone, split: Path, steps: int) -> Backbone:
    """A few steps on all test images: enough for these colours."""
    from tutelage.data.images import Images

    table = read_split(split)
    rows = np.flatnonzero(np.array(table["role"].to_pylist()) == "test")
    images = Images.open(table, SPEC.image_size)
    pixels = torch.from_numpy(np.stack([images[int(r)] for r in rows])).permute(0, 3, 1, 2).float() / 255
    labels = torch.tensor(table["label"].take(pa.array(rows)).to_pylist())
    optimiser = torch.optim.Adam(network.parameters(), lr=0.02)
    network.train()
    for _ in range(steps):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(network(pixels).logits, labels).backward()
        optimiser.step()
    return network.eval()


def save(folder: Path, network: Backbone, classes: list[str] = CLASSES) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_model(folder / "model.safetensors", network, classes=classes, method="Supervised()")
    return folder


def new_network(seed: int, spec: NetworkSpec = SPEC) -> Backbone:
    torch.manual_seed(seed)
    return create(spec, len(CLASSES))


def plant_answers(folder: Path, split: Path, model: Path, wrong: np.ndarray, confidence: float = 0.9) -> Path:
    """An evaluation of `model` whose answers are right but for the places in `wrong`."""
    table = read_split(split)
    rows = np.flatnonzero(np.array(table["role"].to_pylist()) == "test")
    labels = table["label"].to_numpy(zero_copy_only=False)[rows].astype(np.int64)
    said = np.where(np.isin(np.arange(len(labels)), wrong), (labels + 1) % len(CLASSES), labels)
    rest = (1 - confidence) / (len(CLASSES) - 1)
    probabilities = np.full((len(labels), len(CLASSES)), rest, np.float32)
    probabilities[np.arange(len(labels)), said] = confidence
    answers = Answers(table["id"].take(pa.array(rows)).to_pylist(), labels, probabilities)
    folder.mkdir(parents=True, exist_ok=True)
    write_answers(folder, answers)
    metrics = measure(answers, load_model(model / "model.safetensors")[1], 15)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def plant_labels(
    folder: Path, split: Path, *, wrong: int = 0, kept: float = 0.5, number: int = 1, shift: int = 1,
    teacher: str = "t", foreign: int = 0,
) -> Path:  # fmt: skip
    """Pseudo-labels of the pool: right but for the first `wrong`, the surest share `kept` of them kept, the first
    `foreign` out of distribution."""
    table = read_split(split)
    rows = np.flatnonzero(np.array(table["role"].to_pylist()) == "pool")
    ids = [table["id"][int(row)].as_py() for row in rows]
    labels = np.arange(len(ids)) % len(CLASSES)
    labels[:wrong] = (labels[:wrong] + shift) % len(CLASSES)
    score = np.linspace(0.99, 0.4, len(ids)).astype(np.float32)
    strange = np.arange(len(ids)) < foreign
    keep = (np.arange(len(ids)) < kept * len(ids)) & ~strange
    shard = pa.table(
        {
            "id": ids, "task": ["classification"] * len(ids), "label": labels, "classes": [[int(c)] for c in labels],
            "probabilities": [[float(s)] for s in score], "score": score, "calibrated": score,
            "distance": np.where(strange, 9.0, 1.0).astype(np.float32),
            "weight": keep.astype(np.float32), "kept": keep,
            "reason": np.where(keep, "", np.where(strange, FOREIGN, "below_threshold")),
            "teacher": ["t"] * len(ids), "round": [number] * len(ids), "view": ["plain"] * len(ids),
        }
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    list(write_shards(folder, [(0, shard)] if ids else []))
    write_manifest(folder, CLASSES, teacher=teacher, number=number)
    return folder


def plant_curve(folder: Path, steps: int) -> None:
    with (folder / "curve.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["step", "loss", "task"])
        writer.writerows([step, f"{2 / step:.6g}", f"{2 / step:.6g}"] for step in range(1, steps + 1))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def failed(verdict: dict[str, Any]) -> list[str]:
    """Names of the checks that a verdict did not pass."""
    return [check["name"] for check in verdict["checks"] if not check["passed"]]


def plant_calibration(folder: Path, *, target: float = 0.9, keeps: tuple[int, ...] = (0, 1, 2)) -> Path:
    """Thresholds that plant_labels' scores are above and below; classes not in `keeps` keep nothing."""
    classes = [
        {
            "name": name, "threshold": 0.7 if place in keeps else None, "evidence": "pooled", "samples": 10, "kept": 8,
            "correct": 8, "lower_bound": 0.91, "expected_yield": 0.15,
        }
        for place, name in enumerate(CLASSES)
    ]  # fmt: skip
    bins = [{"confidence": c, "accuracy": c - 0.1, "count": 10} for c in (0.5, 0.7, 0.95)]
    content = {
        "teacher": "t", "views": 1, "flip": False, "target_precision": target, "confidence": 0.9, "temperature": 1.7,
        "classes": classes, "out_of_distribution": None,
        "ece_before": 0.1, "ece_after": 0.02, "reliability_before": bins,
        "reliability_after": [b | {"accuracy": b["confidence"]} for b in bins],
    }  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "calibration.json").write_text(json.dumps(content))
    return folder


def make_work(
    folder: Path, *, rounds: int = 2, oracle: bool = True, truth: bool = True, pool: bool = True,
    errors: tuple[int, ...] = (30, 14, 8), good: tuple[bool, ...] = (True, True), baseline_errors: int = 26,
) -> tuple[Path, Params]:  # fmt: skip
    """A work folder as a whole run leaves it. Guard and judge are the real ones, all else is planted.

    `errors`: of the teacher and each student on the test split; `good`: which students the guard may accept."""
    split = make_split(folder, ROLES if pool else ROLES | {"pool": 0})
    work, params = folder / "work", small_params(rounds)
    if not truth:
        write_split(split, read_split(split), TRUTH.empty_table())
    sound = train(new_network(0), split, 20)
    teacher = save(work / "teacher", sound)
    baseline = save(work / "baseline", new_network(1))
    plant_curve(teacher, 5)
    plant_curve(baseline, 10)
    plant_answers(work / "evaluation" / "teacher", split, teacher, np.arange(errors[0]))
    plant_answers(work / "evaluation" / "baseline", split, baseline, np.arange(baseline_errors))
    _plant_oracle(work, split, oracle)
    current, wrong = teacher, errors[0]
    for number in range(1, rounds + 1):
        current, wrong = _plant_round(work, split, current, wrong, number, params, errors[number], good[number - 1])
    plant_answers(work / "evaluation" / "candidate", split, current, np.arange(wrong))
    champion = folder / "champion"
    champion.mkdir()
    evaluations = work / "evaluation" / "candidate", work / "evaluation" / "baseline"
    judge(split, current, evaluations[0], baseline, evaluations[1], champion, params=params, out=work / "judge")
    _plant_reports(work, split)
    return work, params


def _plant_round(work, split, teacher, wrong, number, params, errors, good):
    """Folder and test errors of the model that the next round starts from."""
    root = work / "rounds" / str(number)
    plant_calibration(root / "calibration", keeps=(0, 1))
    plant_labels(root / "labels", split, wrong=4 * number, number=number, kept=0.6)
    pool = "pool" in read_split(split)["role"].to_pylist()
    before = json.loads((teacher / "guard.json").read_text()) if (teacher / "guard.json").exists() else {}
    stopped = before.get("verdict") == "stop"
    if stopped or not pool:
        student = root / "student"
        student.mkdir()
        (student / "model.safetensors").write_bytes((teacher / "model.safetensors").read_bytes())
        write_json(
            student / "passed.json", {"reason": "the guard stopped the rounds" if stopped else "the pool is empty"}
        )
        errors = wrong
    else:
        network = new_network(number + 10)
        student = save(root / "student", train(network, split, 20) if good else network)
        plant_curve(student, 7)
    plant_answers(root / "evaluation", split, student, np.arange(errors))
    guard(split, teacher, root / "labels", student, params=params, out=root / "guard")
    accepted = json.loads((root / "guard" / "guard.json").read_text())["accepted"]
    return root / "guard", errors if accepted else wrong


def _plant_oracle(work, split, oracle):
    (work / "oracle").mkdir()
    if oracle:
        save(work / "oracle", new_network(5))
        plant_answers(work / "evaluation" / "oracle", split, work / "oracle", np.arange(3))
        return
    reason = "the pool has no hidden labels"
    write_json(work / "oracle" / "unavailable.json", {"reason": reason})
    (work / "evaluation" / "oracle").mkdir(parents=True)
    write_json(work / "evaluation" / "oracle" / "metrics.json", {"available": False, "reason": reason})


def _plant_reports(work, split):
    roles = read_split(split)["role"].to_pylist()
    refused = [{"id": "labelled/broken <b>.png", "reason": "truncated", "detail": "ends after 12 bytes"}]
    for name in ("ingest", "doctor"):
        (work / name).mkdir()
    write_json(
        work / "ingest" / "report.json",
        {"images": {"labelled": len(roles)}, "labelled": {}, "refused": refused, "dropped": [], "leaks": []},
    )
    images = {role: roles.count(role) for role in set(roles)}
    write_json(
        work / "doctor" / "report.json", {"problems": [], "notes": ["few labels"], "images": images, "classes": {}}
    )
