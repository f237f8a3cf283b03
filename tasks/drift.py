"""Whether new images still come from where the labelled ones came from."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from tasks.answers import rows_and_labels
from tasks.io import whole, write_json
from tasks.params import Params
from tasks.text import percent
from tasks.text import table as markdown
from tasks.training import check_unlearned, rows_of
from tutelage.data.appearance import appearance
from tutelage.data.fourier import in_style
from tutelage.data.groups import one_of_each
from tutelage.data.images import Images
from tutelage.data.manifest import read_split
from tutelage.metrics.classification import softmax
from tutelage.metrics.drift import Alarm, Drift, Finding, Window
from tutelage.metrics.drift import drift as compare
from tutelage.models.files import Card, load_model
from tutelage.train.predict import Look, as_it_is, describe
from tutelage.types import BadInput, Network


def drift(split: Path, model: Path, new: Path | None = None, *, params: Params, out: Path) -> Path:
    """Hold-out and pool, and the pool of another split if given -> drift.json (kind of shift, tests), report.md.

    Only labels of the hold-out are read. Images are drawn from the seed, one of each group where `split.groups` has
    some. BadInput for a model that has learned from the hold-out: it is surer of it than of any other image, which
    would look like a drift.
    """
    table, wanted = read_split(split), params.adapt.drift
    check_unlearned(model)
    network, card = load_model(model / "model.safetensors")
    seen = Seen(table, network, card, params)
    rows, labels = rows_and_labels(table, card, "holdout")
    chosen = some(table, rows, wanted.window, params)
    others = {"pool": seen} | ({} if new is None else {"new": Seen(read_split(new), network, card, params)})
    found = {
        name: compared(seen, rows[chosen], labels[chosen], other, other.pool(wanted.window))
        for name, other in others.items()
    }
    with whole(out) as folder:
        write_json(folder / "drift.json", {name: content_of(each, card) for name, each in found.items()})
        (folder / "report.md").write_text(report_of(found, card))
    print("; ".join(f"drift of the {name}: {each.kind}" for name, each in found.items()))
    return out


def compared(seen: "Seen", rows: np.ndarray, labels: np.ndarray, other: "Seen", there: np.ndarray) -> Drift:
    """Images `there` of `other` against `rows` of `seen`, whose classes are `labels`."""
    wanted, style = seen.params.adapt.drift, seen.pixels(rows)
    alarm = Alarm(level=wanted.level, draws=wanted.draws, seed=seen.params.seed)
    known = seen.window(rows)
    restyled = other.said(there, look=partial(_dressed, style=style, beta=wanted.beta))
    return compare(known, labels, other.window(there), alarm=alarm, restyled=restyled)


class Seen:
    """A split through the eyes of a model."""

    def __init__(self, table: pa.Table, network: Network, card: Card, params: Params):
        self.table, self.network, self.params = table, network, params
        self.images = Images.open(table, card.image_size, cache_bytes=0)

    def pool(self, number: int) -> np.ndarray:
        """Rows [n] of unlabelled images."""
        rows = rows_of(self.table, "pool")
        if len(rows) < 2:
            raise BadInput(f"the pool has {len(rows)} image(s): drift compares sets. Name one in ingest.pool")
        return np.asarray(rows[some(self.table, rows, number, self.params)])

    def window(self, rows: np.ndarray) -> Window:
        logits, embedding = describe(
            self.network, self.images, rows, compute=self.params.compute, batch=self.params.evaluate.batch
        )
        return Window({"pixels": appearance(self.images.many(rows)), "embedding": embedding}, softmax(logits))

    def said(self, rows: np.ndarray, look: Look = as_it_is) -> Float[np.ndarray, "n c"]:
        """Probabilities of images that are looked at through `look`."""
        batch = self.params.evaluate.batch
        logits, _ = describe(self.network, self.images, rows, compute=self.params.compute, batch=batch, look=look)
        return softmax(logits)

    def pixels(self, rows: np.ndarray) -> Float[Tensor, "n 3 h w"]:
        return torch.from_numpy(self.images.many(rows)).permute(0, 3, 1, 2).float().div_(255)


def _dressed(images: Tensor, *, style: Tensor, beta: float) -> Tensor:
    return in_style(images, style.to(images.device), beta=beta)


def some(table: pa.Table, rows: np.ndarray, number: int, params: Params) -> np.ndarray:
    """Places in `rows` of at most `number` images, drawn; none of them of one group by `split.groups`."""
    alone = one_of_each(table["id"].take(pa.array(rows)).to_pylist(), params.split.groups, seed=params.seed)
    return np.sort(alone[np.random.default_rng(params.seed).permutation(len(alone))[:number]])


def content_of(found: Drift, card: Card) -> dict[str, Any]:
    return {
        "kind": found.kind,
        "advice": found.advice,
        "tests": [asdict(test) for test in found.tests],
        "again": [asdict(test) for test in found.again],
        "mix": dict(zip(card.classes, found.mix.tolist(), strict=True)),
    }


def report_of(found: dict[str, Drift], card: Card) -> str:
    parts = ["# Drift"]
    for name, each in found.items():
        parts += [f"## The {name}: {each.kind}", each.advice, _tests(each.tests)]
        if each.again:
            parts += ["Once more, looks with the classes matched, the mix in the source's style:", _tests(each.again)]
        shares = [[label, percent(share)] for label, share in zip(card.classes, each.mix, strict=True)]
        parts += ["Estimated share of each class, where looks have not moved:", markdown(["class", "share"], shares)]
    return "\n\n".join(parts) + "\n"


def _tests(tests: list[Finding]) -> str:
    rows = [[t.name, f"{t.statistic:.4g}", f"{t.p:.3g}", "fires" if t.fires else "silent"] for t in tests]
    return markdown(["compared", "statistic", "p", ""], rows)
