"""What is not normal in the test images, pixel by pixel: students that know normal images alone."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from tasks.adapting import about, network_of
from tasks.carry import carry_on, results
from tasks.io import write_json
from tasks.loops import OddRanks, UninformedStudents
from tasks.pictures import contact_sheet
from tasks.teaching import Teaching
from tasks.text import table as markdown
from tasks.training import labels_of, rows_of
from tutelage.data.batches import draw, on_device
from tutelage.data.images import Images
from tutelage.data.manifest import classes_of
from tutelage.metrics.classification import auroc
from tutelage.models.backbone import Backbone, create
from tutelage.train import uninformed_students
from tutelage.train.device import accelerator
from tutelage.train.uninformed_students import Detector, save_anomalies
from tutelage.types import BadInput

PICTURES = 12  # images in the report
ONE_KIND = "The test has images of one kind only, normal or not, so no area under the ROC curve can be measured."
MAPS = pa.schema(
    {"id": pa.string(), "height": pa.int32(), "width": pa.int32(), "map": pa.list_(pa.float32())}
)  # in standard deviations from normal


def find_anomalies(teaching: Teaching, learn: UninformedStudents, out: Path) -> Path:
    """Students of the teacher on images of the normal classes; they are calibrated on held-out ones. Test images get
    maps.parquet, and a score each: the largest value of its map, and the mean.
    """
    teacher, normal = network_of(teaching.weights, teaching.table), normal_places(teaching, learn)
    held, test = _normal_rows(teaching, "holdout", normal), rows_of(teaching.table, "test")
    if not len(test):
        raise BadInput("the split has no test image to map. Set ingest.test or split.test_fraction")
    scratch = teaching.scratch()
    detector = _trained(teaching, learn, teacher, normal, scratch)
    uninformed_students.calibrate(detector, _seen(teaching, _pieces(teaching, held)))
    names = classes_of(teaching.table)
    with results(out, scratch) as folder:
        save_anomalies(folder / "model.safetensors", detector, classes=names, method=about(learn))
        scores = _write_maps(teaching, detector, test, folder / "maps.parquet")
        labels = labels_of(teaching.table, test)
        content = {"images": len(labels), "normal": [names[n] for n in normal], "auroc": areas(scores, labels, normal)}
        content["classes"] = by_class(scores, labels, names)
        write_json(folder / "anomalies.json", content)
        picture = _picture(teaching, detector, test[np.argsort(-scores["largest"], kind="stable")[:PICTURES]])
        (folder / "report.md").write_text(_markdown(content, picture))
    print(f"{teaching.name}: area under the ROC curve {content['auroc']} on {len(labels)} test images", flush=True)
    return out


def normal_places(teaching: Teaching, learn: UninformedStudents | OddRanks) -> list[int]:
    """Places of the classes that are normal. Raises BadInput for a name that is no class."""
    known = classes_of(teaching.table)
    for name in learn.normal or ():
        if name not in known:
            raise BadInput(f"normal names {name!r}, which is no class of the split; there are: {', '.join(known)}")
    return [place for place, name in enumerate(known) if learn.normal is None or name in learn.normal]


def _normal_rows(teaching: Teaching, role: str, normal: list[int]) -> np.ndarray:
    rows = rows_of(teaching.table, role)
    found = rows[np.isin(labels_of(teaching.table, rows), normal)]
    if not len(found):
        raise BadInput(
            f"no {role} image is of a normal class. Name others in `normal`, or label some, or raise holdout"
        )
    return found


def _trained(
    teaching: Teaching, learn: UninformedStudents, teacher: Backbone, normal: list[int], scratch: Path
) -> Detector:
    params, wanted = teaching.params, teaching.wanted
    rows, device = _normal_rows(teaching, "labelled", normal), accelerator(params.compute).device
    torch.manual_seed(params.seed)
    students = [create(teaching.network, len(classes_of(teaching.table))) for _ in range(learn.students)]
    detector = Detector(teacher, students, learn.layer).to(device)
    uninformed_students.measure(detector, _seen(teaching, _pieces(teaching, rows)))
    state = uninformed_students.begin(detector, lr=learn.lr, weight_decay=learn.weight_decay)

    def drawn() -> Iterator[np.ndarray]:
        for step in range(state.step, wanted.steps):
            yield rows[draw((params.seed,), len(rows), wanted.labelled_batch, step)]

    carry_on(
        teaching.name, state, lambda: uninformed_students.fit(state, _seen(teaching, drawn())), steps=wanted.steps,
        compute=params.compute, scratch=scratch,
    )  # fmt: skip
    return detector


def _seen(teaching: Teaching, batches: Iterable[np.ndarray]) -> Iterator[torch.Tensor]:
    """Plain images in 0..1, on the device, of each batch of rows."""
    images = Images.open(teaching.table, teaching.network.image_size)
    device = accelerator(teaching.params.compute).device
    for rows in batches:
        yield on_device(torch.from_numpy(images.many(rows)).permute(0, 3, 1, 2), device)


def _pieces(teaching: Teaching, rows: np.ndarray) -> Iterator[np.ndarray]:
    batch = teaching.params.evaluate.batch
    return (rows[start : start + batch] for start in range(0, len(rows), batch))


def _write_maps(teaching: Teaching, detector: Detector, rows: np.ndarray, path: Path) -> dict[str, np.ndarray]:
    """One row a test image: id, height, width and map, row by row. Returns the scores of all."""
    scores: dict[str, list[np.ndarray]] = {"largest": [], "mean": []}
    ids, done = teaching.table["id"].take(pa.array(rows)).to_pylist(), 0
    with pq.ParquetWriter(path, MAPS, compression="zstd") as writer:
        for images in _seen(teaching, _pieces(teaching, rows)):
            maps = detector(images).cpu().numpy()
            flat = maps.reshape(len(maps), -1)
            scores["largest"].append(flat.max(axis=1))
            scores["mean"].append(flat.mean(axis=1))
            high, wide = ([size] * len(maps) for size in maps.shape[1:])
            columns = [ids[done : done + len(maps)], high, wide, list(flat)]
            writer.write_table(pa.table(columns, schema=MAPS))
            done += len(maps)
    return {name: np.concatenate(found) for name, found in scores.items()}


def areas(scores: dict[str, np.ndarray], labels: np.ndarray, normal: list[int]) -> dict[str, float] | None:
    """How well each score tells images of other classes from normal ones; None where the test has only one kind."""
    odd = ~np.isin(labels, normal)
    return {name: auroc(found, odd) for name, found in scores.items()} if odd.any() and not odd.all() else None


def by_class(scores: dict[str, np.ndarray], labels: np.ndarray, names: list[str]) -> dict[str, Any]:
    """Mean scores of the test images of each class that has some."""
    return {
        name: {"images": int((labels == place).sum())}
        | {kind: float(found[labels == place].mean()) for kind, found in scores.items()}
        for place, name in enumerate(names)
        if (labels == place).any()
    }


def _picture(teaching: Teaching, detector: Detector, rows: np.ndarray) -> str:
    """The images of `rows`, and below each its map: black where all is as usual, white from six deviations on."""
    images = Images.open(teaching.table, teaching.network.image_size).many(rows)
    maps = torch.cat([detector(seen).cpu() for seen in _seen(teaching, _pieces(teaching, rows))]).numpy()
    shades = (255 * (maps / 6).clip(0, 1)).astype(np.uint8)[..., None].repeat(3, axis=-1)
    return contact_sheet([*images, *shades], columns=len(rows))


def _markdown(content: dict[str, Any], picture: str) -> str:
    areas = content["auroc"]
    said = (
        ONE_KIND
        if areas is None
        else "Area under the ROC curve, other classes against normal ones: "
        f"{areas['largest']:.3f} by the largest value of a map, {areas['mean']:.3f} by its mean."
    )
    rows = [
        [
            name,
            "yes" if name in content["normal"] else "no",
            one["images"],
            f"{one['largest']:.2f}",
            f"{one['mean']:.2f}",
        ]
        for name, one in content["classes"].items()
    ]
    parts = [
        "# Anomalies in the test images",
        said,
        markdown(["class", "normal", "images", "mean largest value", "mean value"], rows),
        f"The oddest images and their maps:\n\n![images above, maps below]({picture})",
    ]
    return "\n\n".join(parts) + "\n"
