"""How odd each image of the pool and of the test is: a network that was taught by a ranking nobody labelled."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from tasks.adapting import about, network_of
from tasks.anomalies import ONE_KIND, PICTURES, areas, by_class, normal_places
from tasks.carry import carry_on, results
from tasks.io import write_json
from tasks.loops import OddRanks
from tasks.pictures import contact_sheet
from tasks.teaching import Teaching
from tasks.text import table as markdown
from tasks.training import labels_of, rows_of
from tutelage.data.batches import on_device
from tutelage.data.images import Images
from tutelage.data.manifest import classes_of
from tutelage.train import vad_ordinal
from tutelage.train.device import accelerator
from tutelage.train.predict import describe
from tutelage.train.vad_ordinal import Ranker, Run, save_ranker
from tutelage.types import BadInput

SCORES = pa.schema({"id": pa.string(), "role": pa.string(), "score": pa.float32()})  # higher is odder


def rank_odd(teaching: Teaching, learn: OddRanks, out: Path) -> Path:
    """A scorer that learns from the pool, without any label. Images of pool and test get a score each; where the test
    has images of classes that are not `normal`, it is measured how well scores tell them.
    """
    normal = normal_places(teaching, learn)
    rows = {role: rows_of(teaching.table, role) for role in ("pool", "test")}
    if not len(rows["pool"]):
        raise BadInput("the split has no pool, which vad_ordinal ranks. Name one as ingest.pool")
    scratch = teaching.scratch()
    run, names = _trained(teaching, learn, rows["pool"], scratch), classes_of(teaching.table)
    with results(out, scratch) as folder:
        save_ranker(folder / "model.safetensors", run.ranker, classes=names, method=about(learn))
        each = {role: _each(teaching, run.ranker, found) for role, found in rows.items()}
        _write_scores(teaching, rows, each, folder / "scores.parquet")
        labels = labels_of(teaching.table, rows["test"])
        told = {f"round {number}": scores for number, scores in enumerate(each["test"], start=1)}
        told["mean of the rounds"] = each["test"].mean(0)
        content = {"images": len(labels), "normal": [names[n] for n in normal], "auroc": areas(told, labels, normal)}
        content["classes"] = by_class({"score": each["test"].mean(0)}, labels, names)
        write_json(folder / "anomalies.json", content)
        (folder / "report.md").write_text(_markdown(content, _picture(teaching, rows["pool"], each["pool"].mean(0))))
    print(f"{teaching.name}: area under the ROC curve {content['auroc']} on {len(labels)} test images", flush=True)
    return out


def _trained(teaching: Teaching, learn: OddRanks, pool: np.ndarray, scratch: Path) -> Run:
    params, wanted = teaching.params, teaching.wanted
    body, teacher = teaching.pair()[0], network_of(teaching.weights, teaching.table)
    images, compute = Images.open(teaching.table, teaching.network.image_size), params.compute
    seen = Images.open(teaching.table, teacher.spec.image_size)
    features = describe(teacher, seen, pool, compute=compute, batch=params.evaluate.batch)[1]
    device = accelerator(compute).device
    first = vad_ordinal.first_scores(features, learn.learn, seed=params.seed)
    run = vad_ordinal.begin(learn.learn, body.to(device), first)

    def look(places: np.ndarray) -> torch.Tensor:
        return on_device(torch.from_numpy(images.many(pool[places])).permute(0, 3, 1, 2), device)

    carry_on(
        teaching.name, run,
        lambda: vad_ordinal.fit(
            learn.learn, run, look, steps=wanted.steps, batch=wanted.labelled_batch, seed=params.seed
        ),
        steps=wanted.steps, compute=compute, scratch=scratch,
    )  # fmt: skip
    return run


def _each(teaching: Teaching, ranker: Ranker, rows: np.ndarray) -> np.ndarray:
    """The score of each row by the scorer of each round [r, n]."""
    images, batch = Images.open(teaching.table, teaching.network.image_size), teaching.params.evaluate.batch
    device, found = accelerator(teaching.params.compute).device, [np.zeros((len(ranker.scorers), 0), np.float32)]
    for first in range(0, len(rows), batch):
        pixels = torch.from_numpy(images.many(rows[first : first + batch])).permute(0, 3, 1, 2)
        found.append(ranker.each(on_device(pixels, device)).cpu().numpy())
    return np.concatenate(found, axis=1)


def _write_scores(teaching: Teaching, rows: dict[str, np.ndarray], each: dict[str, np.ndarray], path: Path) -> None:
    ids = [name for found in rows.values() for name in teaching.table["id"].take(pa.array(found)).to_pylist()]
    roles = [role for role, found in rows.items() for _ in found]
    scores = np.concatenate([each[role].mean(0) for role in rows])
    pq.write_table(pa.table([ids, roles, scores], schema=SCORES), path, compression="zstd")


def _picture(teaching: Teaching, pool: np.ndarray, scores: np.ndarray) -> str:
    """The oddest images of the pool, and below them the least odd."""
    order = np.argsort(-scores, kind="stable")
    shown = min(PICTURES, len(order))
    chosen = pool[np.concatenate([order[:shown], order[::-1][:shown]])]
    return contact_sheet([*Images.open(teaching.table, teaching.network.image_size).many(chosen)], columns=shown)


def _markdown(content: dict[str, Any], picture: str) -> str:
    found = content["auroc"]
    said = ONE_KIND
    if found is not None:
        said = "Area under the ROC curve, other classes against normal ones:\n\n" + markdown(
            ["by", "area"], [[name, f"{area:.3f}"] for name, area in found.items()]
        )
    rows = [[name, one["images"], f"{one['score']:.2f}"] for name, one in content["classes"].items()]
    parts = [
        "# Odd images",
        said,
        markdown(["class", "test images", "mean score"], rows),
        f"The oddest images of the pool, and below them the least odd:\n\n![odd above, usual below]({picture})",
    ]
    return "\n\n".join(parts) + "\n"
