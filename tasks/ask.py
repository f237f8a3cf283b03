"""The pool's images that people are asked to label."""

import csv
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.asked import ASKED, SHEET, check_unanswered
from tasks.io import whole, write_json
from tasks.page import rendered
from tasks.params import Params
from tasks.pictures import thumbnail
from tasks.progress import Progress
from tasks.pseudo_label import rules_of, soft
from tasks.training import rows_of, teacher_of
from tutelage.data.decoding import suffix_of
from tutelage.data.groups import units_of
from tutelage.data.images import Images
from tutelage.data.manifest import classes_of, read_split
from tutelage.metrics.queries import cluster_margin, in_turns, top_two
from tutelage.models.files import Card
from tutelage.train.predict import checked, describe, logits
from tutelage.types import BadInput, Network

SIDE = 160  # pixels of a thumbnail at most
MOST = 5000  # candidates that are clustered: the distances between them take 100 MB
PLAIN: dict[str, Any] = {"temperature": 1.0, "alignment": None}  # of a model without a calibration


@dataclass(frozen=True)
class Guesses:
    """What a model thinks of rows of a split."""

    rows: np.ndarray  # [n]
    classes: np.ndarray  # the two likeliest [n, 2]
    scores: np.ndarray  # their probabilities [n, 2]

    @property
    def margins(self) -> np.ndarray:
        gaps: np.ndarray = self.scores[:, 0] - self.scores[:, 1]
        return gaps

    def take(self, places: np.ndarray) -> "Guesses":
        return Guesses(self.rows[places], self.classes[places], self.scores[places])


def ask(split: Path, model: Path, calibration: Path | None = None, *, params: Params, out: Path) -> Path:
    """Split, a model's folder and, where there is one, its calibration -> the images of the pool whose labels would
    teach most: images/ (copies), ask.csv (to be filled in by people), ask.html (to look at), asked.json.

    Those are asked about between whose two likeliest classes the model is least decided, near-copies and images of one
    group (`split.groups`) once. `python -m tasks answer OUT` takes the labels in. A page that people have worked on is
    not written over.
    """
    check_unanswered(out)
    table = read_split(split)
    classes = classes_of(table)
    network, card = teacher_of(model / "model.safetensors", classes)
    if len(classes) < 2:
        raise BadInput(f"the split has one class, {classes[0]}: nothing is between two. Label images of another one")
    rules = PLAIN if calibration is None else rules_of(calibration / "calibration.json")
    if rules.get("teacher", card.sha256) != card.sha256:
        raise BadInput(f"{calibration} was made for another model than {model}. Name the one of this model, or none")
    pool, notes = _unlabelled(table)
    chosen = _chosen(table, pool, network, card, rules, params)
    with whole(out) as folder:
        _write(folder, table, chosen, classes, params)
    for note in notes:
        print(f"ask: {note}")
    print(f"ask: {len(chosen.rows)} of {len(pool)} images. Fill in `label` in {out / SHEET}, with {out / 'ask.html'} "
          f"beside it, then: python -m tasks answer {out}", flush=True)  # fmt: skip
    return out


def _unlabelled(table: pa.Table) -> tuple[np.ndarray, list[str]]:
    """Rows of the pool that nobody has labelled; where all were labelled and are hidden, these, and a note."""
    pool = rows_of(table, "pool")
    given = np.array(table["source"].take(pa.array(pool)).to_pylist(), object) == "pool"
    if not len(pool):
        raise BadInput("the split has no pool, so there is nothing to ask about. Name unlabelled images as ingest.pool")
    if given.any():
        return pool[given], []
    return pool, [
        "the pool's images are labelled ones whose labels split.labels_per_class hides. Ask nobody: raise that number"
    ]


def _chosen(
    table: pa.Table, pool: np.ndarray, network: Network, card: Card, rules: dict[str, Any], params: Params
) -> Guesses:  # fmt: skip
    """The images to ask about, the most important first."""
    wanted, rng = params.ask, np.random.default_rng(params.seed)
    images = Images.open(table, card.image_size, cache_bytes=0)  # each is read once or twice
    if wanted.by == "random":
        return _guesses(network, images, rng.permutation(pool)[: wanted.images], rules, params)
    all_of_them = _guesses(network, images, pool, rules, params)
    number = min(max(wanted.images, min(wanted.among * wanted.images, MOST)), len(pool))
    units: np.ndarray | None = np.arange(len(pool))
    if params.split.groups is not None:
        units = units_of(table["id"].take(pa.array(pool)).to_pylist(), params.split.groups)
    assert units is not None
    if (several := len(np.unique(units))) >= wanted.images:
        number = min(number, several)  # one of each group, and none twice
    near = all_of_them.take(in_turns(all_of_them.margins, units)[:number])
    _, embeddings = describe(network, images, near.rows, compute=params.compute, batch=params.evaluate.batch)
    return near.take(cluster_margin(embeddings, near.margins, wanted.images))


def _guesses(
    network: Network, images: Images, rows: np.ndarray, rules: dict[str, Any], params: Params
) -> Guesses:  # fmt: skip
    """The two likeliest classes of each image. Memory does not grow with pixels, nor with all classes of all images."""
    batch = params.evaluate.batch
    chunks = [rows[first : first + batch] for first in range(0, len(rows), batch)]
    parts = []
    with Progress("ask", len(rows)) as bar:
        for said in logits(network, images, chunks, compute=params.compute):
            parts.append(top_two(soft(checked(said), rules)))
            bar.update(len(said))
    classes, scores = zip(*parts, strict=True)
    return Guesses(rows, np.concatenate(classes), np.concatenate(scores))


def _write(folder: Path, table: pa.Table, chosen: Guesses, classes: list[str], params: Params) -> None:
    some = table.take(pa.array(chosen.rows))
    side = min(SIDE, int(np.median(some["width"].to_numpy())))
    small, ids, digests = Images.open(some, side, 0, letterbox=True), some["id"].to_pylist(), some["sha256"].to_pylist()
    rows: list[dict[str, str]] = []
    shots = []
    for name, place in zip(_copies(folder / "images", small), range(len(ids)), strict=True):
        guess, other = (classes[number] for number in chosen.classes[place])
        told = {"guess": guess, "confidence": f"{chosen.scores[place, 0]:.3f}", "runner_up": other, "id": ids[place]}
        rows.append({"image": f"images/{name}", "label": "", **told})
        shots.append({"name": name, "picture": thumbnail(small[place]), **told})
    sheet = _sheet(rows)
    (folder / SHEET).write_bytes(sheet)
    (folder / "ask.html").write_text(rendered("ask.html", shots=shots, classes=classes, by=params.ask.by), "utf-8")
    about = {row["image"]: {"id": row["id"], "sha256": digest} for row, digest in zip(rows, digests, strict=True)}
    digest = hashlib.sha256(sheet).hexdigest()
    write_json(folder / ASKED, {"classes": classes, "images": about, "sheet": SHEET, "sha256": digest})


def _copies(folder: Path, images: Images) -> Iterator[str]:
    """Write each image's own bytes under a name that sorts by its rank; the names."""
    folder.mkdir()
    wide = max(4, len(str(len(images))))
    for place in range(len(images)):
        data = images.encoded(place)
        name = f"{place + 1:0{wide}}{suffix_of(data)}"
        (folder / name).write_bytes(data)
        yield name


def _sheet(rows: list[dict[str, str]]) -> bytes:
    """A CSV that spreadsheets take for UTF-8, too."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8-sig")
