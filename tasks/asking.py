"""Which images people are asked about, whatever the model says of them, and the folder that they get."""

import csv
import hashlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.ask_params import AskParams
from tasks.asked import ASKED
from tasks.io import write_json
from tasks.training import rows_of
from tutelage.data.decoding import suffix_of
from tutelage.data.groups import units_of
from tutelage.data.images import Images
from tutelage.metrics.queries import cluster_margin, in_turns
from tutelage.types import BadInput

MOST = 5000  # candidates that are clustered: the distances between them take 100 MB


def unlabelled(table: pa.Table, *, hides: str, names: str) -> tuple[np.ndarray, list[str]]:
    """Rows of the pool that nobody has labelled; where all were labelled and are hidden, these, and a note.

    `hides` and `names`: the parameters that hide labels, and that name a pool. Raises BadInput where there is no pool.
    """
    pool = rows_of(table, "pool")
    given = np.array(table["source"].take(pa.array(pool)).to_pylist(), object) == "pool"
    if not len(pool):
        raise BadInput(f"the split has no pool, so there is nothing to ask about. Name unlabelled images as {names}")
    if given.any():
        return pool[given], []
    return pool, [f"the pool's images are labelled ones, and {hides} hides their labels. Ask nobody: raise that number"]


def by_chance(pool: np.ndarray, wanted: AskParams, seed: int) -> np.ndarray:
    """As many rows of `pool` as are asked for."""
    return np.random.default_rng(seed).permutation(pool)[: wanted.images]


def chosen(
    table: pa.Table, rows: np.ndarray, margins: np.ndarray, embed: Callable[[np.ndarray], np.ndarray], *,
    wanted: AskParams, groups: str | None,
) -> np.ndarray:  # fmt: skip
    """Places in `rows` of the images to ask about, the smallest margin first, near-copies and images of a group once.

    `embed` gives what places are compared by. Memory does not grow with it, nor with pixels.
    """
    number = min(max(wanted.images, min(wanted.among * wanted.images, MOST)), len(rows))
    found = units_of(table["id"].take(pa.array(rows)).to_pylist(), groups)
    units = np.arange(len(rows)) if found is None else found
    if (several := len(np.unique(units))) >= wanted.images:
        number = min(number, several)  # one of each group, and none twice
    near = in_turns(margins, units)[:number]
    places: np.ndarray = near[cluster_margin(embed(near), margins[near], wanted.images)]
    return places


def copies(folder: Path, images: Images) -> Iterator[str]:
    """Write each image's own bytes under a name that sorts by its rank; the names."""
    folder.mkdir()
    wide = max(4, len(str(len(images))))
    for place in range(len(images)):
        data = images.encoded(place)
        name = f"{place + 1:0{wide}}{suffix_of(data)}"
        (folder / name).write_bytes(data)
        yield name


def write_sheet(folder: Path, name: str, sheet: bytes, images: list[str], some: pa.Table, classes: list[str]) -> None:
    """What people fill in, and asked.json, which says what it was. `some`: the rows of the split in the order of
    `images`."""
    (folder / name).write_bytes(sheet)
    columns = zip(images, *(some[name].to_pylist() for name in ("id", "sha256", "domain")), strict=True)
    about = {image: {"id": own, "sha256": digest, "domain": domain} for image, own, digest, domain in columns}
    digest = hashlib.sha256(sheet).hexdigest()
    write_json(folder / ASKED, {"classes": classes, "images": about, "sheet": name, "sha256": digest})


def tell(verb: str, notes: list[str], asked: int, pool: int, what: str, out: Path) -> None:
    """Print what a person should know, and do next: `what`, then `answer`."""
    for note in notes:
        print(f"{verb}: {note}")
    print(f"{verb}: {asked} of {pool} images. {what}, then: python -m tasks answer {out}", flush=True)


def as_csv(rows: list[dict[str, str]]) -> bytes:
    """A CSV that spreadsheets take for UTF-8, too."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8-sig")
