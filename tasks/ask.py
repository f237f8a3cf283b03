"""The pool's images that people are asked to label."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.asked import SHEET, check_unanswered
from tasks.asking import as_csv, by_chance, chosen, copies, tell, unlabelled, write_sheet
from tasks.io import whole
from tasks.page import rendered
from tasks.params import Params
from tasks.pictures import thumbnail
from tasks.progress import Progress
from tasks.rules import Rules, rules_of
from tasks.training import teacher_of
from tutelage.data.images import Images
from tutelage.data.manifest import classes_of, read_split
from tutelage.metrics.queries import top_two
from tutelage.models.files import Card
from tutelage.train.predict import checked, describe, logits
from tutelage.types import BadInput, Network

SIDE = 160  # pixels of a thumbnail at most


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
    group (`split.groups`) once. `ask` in params.yaml says how many, and whether by margin or by chance. People write a
    class into the column `label`; `python -m tasks answer OUT` takes the labels in. A page that people have worked on
    is not written over.
    """
    check_unanswered(out)
    table = read_split(split)
    classes = classes_of(table)
    network, card = teacher_of(model / "model.safetensors", classes)
    if len(classes) < 2:
        raise BadInput(f"the split has one class, {classes[0]}: nothing is between two. Label images of another one")
    rules = Rules() if calibration is None else rules_of(model, card, calibration)
    pool, notes = unlabelled(table, hides="split.labels_per_class", names="ingest.pool")
    guesses = _chosen(table, pool, network, card, rules, params)
    with whole(out) as folder:
        _write(folder, table, guesses, classes, params)
    what = f"Fill in `label` in {out / SHEET}, with {out / 'ask.html'} beside it"
    tell("ask", notes, len(guesses.rows), len(pool), what, out)
    return out


def _chosen(
    table: pa.Table, pool: np.ndarray, network: Network, card: Card, rules: Rules, params: Params
) -> Guesses:  # fmt: skip
    """The images to ask about, the most important first."""
    wanted = params.ask
    images = Images.open(table, card.image_size, cache_bytes=0)  # each is read once or twice
    if wanted.by == "random":
        return _guesses(network, images, by_chance(pool, wanted, params.seed), rules, params)
    all_of_them = _guesses(network, images, pool, rules, params)

    def embed(places: np.ndarray) -> np.ndarray:
        return describe(network, images, pool[places], compute=params.compute, batch=params.evaluate.batch)[1]

    places = chosen(table, pool, all_of_them.margins, embed, wanted=wanted, groups=params.split.groups)
    return all_of_them.take(places)


def _guesses(
    network: Network, images: Images, rows: np.ndarray, rules: Rules, params: Params
) -> Guesses:  # fmt: skip
    """The two likeliest classes of each image. Memory does not grow with pixels, nor with all classes of all images."""
    batch = params.evaluate.batch
    chunks = [rows[first : first + batch] for first in range(0, len(rows), batch)]
    parts = []
    with Progress("ask", len(rows)) as bar:
        for said in logits(network, images, chunks, compute=params.compute, views=rules.looks):
            parts.append(top_two(rules.soft(checked(said))))
            bar.update(len(said))
    classes, scores = zip(*parts, strict=True)
    return Guesses(rows, np.concatenate(classes), np.concatenate(scores))


def _write(folder: Path, table: pa.Table, guesses: Guesses, classes: list[str], params: Params) -> None:
    some = table.take(pa.array(guesses.rows))
    side = min(SIDE, int(np.median(some["width"].to_numpy())))
    small, ids = Images.open(some, side, 0, letterbox=True), some["id"].to_pylist()
    rows: list[dict[str, str]] = []
    shots = []
    for name, place in zip(copies(folder / "images", small), range(len(ids)), strict=True):
        guess, other = (classes[number] for number in guesses.classes[place])
        told = {"guess": guess, "confidence": f"{guesses.scores[place, 0]:.3f}", "runner_up": other, "id": ids[place]}
        rows.append({"image": f"images/{name}", "label": "", **told})
        shots.append({"name": name, "picture": thumbnail(small[place]), **told})
    page = rendered("ask.html", shots=shots, classes=classes, by=params.ask.by)
    (folder / "ask.html").write_text(page, "utf-8")
    write_sheet(folder, SHEET, as_csv(rows), [row["image"] for row in rows], some, classes)
