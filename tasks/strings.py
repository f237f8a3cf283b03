"""Readers of images of things in a row: teachers, a student that they teach, and the same student alone."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tasks import text
from tasks.adapting import scratch_of
from tasks.carry import carry_on
from tasks.io import whole, write_json
from tasks.params import Params
from tasks.strings_params import StringsParams
from tasks.training import labels_of, rows_of
from tutelage.data.images import Images
from tutelage.data.manifest import classes_of, read_split
from tutelage.data.rows import Rows, Strings, symbols_of
from tutelage.metrics.strings import complexity, edits, exact_match, faithfulness, symbol_error_rate
from tutelage.models.readers import Reader, ReaderSpec, create_reader, save_reader
from tutelage.train import checkpoint
from tutelage.train.device import accelerator
from tutelage.train.strings import SequenceKD, begin, fit
from tutelage.types import BadInput

ROLES = ("labelled", "holdout")


@dataclass(frozen=True, kw_only=True)
class School:
    """All that the readers of one run share."""

    params: Params
    train: Rows
    test: Rows
    scratch: Path

    @property
    def wanted(self) -> StringsParams:
        return self.params.strings

    def taught(self, name: str, spec: ReaderSpec, teachers: Sequence[Reader] = (), domain: int | None = None) -> Reader:
        """A reader trained to its end, continued where it was cut off; `domain`: on rows of that style alone."""
        wanted, rows, folder = self.wanted, self.train, self.scratch / name
        torch.manual_seed(self.params.seed)
        reader = create_reader(spec, classes=rows.classes, longest=rows.spec.symbols[1], size=rows.spec.size)
        run = begin(reader.to(accelerator(self.params.compute).device), wanted.optimiser)
        carry_on(
            f"strings {name}", run,
            lambda: fit(
                wanted.learn, run, rows.batches(wanted.batch, start=run.step, stop=wanted.steps, domain=domain),
                wanted.optimiser, steps=wanted.steps, teachers=teachers,
            ),
            steps=wanted.steps, compute=self.params.compute, scratch=folder,
        )  # fmt: skip
        checkpoint.write(run.state_dict(), folder / "run.pt")  # a reader that follows may be cut too
        return reader.eval()


def strings(split: Path, *, params: Params, out: Path) -> Path:
    """A split -> readers of rows of its images: NAME.safetensors, NAME.csv (curve), scores.json, report.md.

    Rows are composed while training and never written. NAME is teacher, or of multi_accent_ctc teacher-STYLE; student,
    by `strings.learn`; alone, the same student from real strings. `tutelage.models.readers.load_reader` reads them.
    """
    table, wanted = read_split(split), params.strings
    scratch = scratch_of("strings", wanted, table, params, None, roles=ROLES)
    if not len(rows_of(table, "test")):
        raise BadInput(
            f"{split} has no test image to compose rows of. Name some in ingest.test, or raise split.test_fraction"
        )
    images, classes = Images.open(table, wanted.rows.size), classes_of(table)
    train, test = (
        Rows(wanted.rows, images, pictures, labels_of(table, pictures), len(classes), number, seed)
        for pictures, number, seed in (
            (np.sort(np.concatenate([rows_of(table, role) for role in ROLES])), wanted.labelled, params.seed),
            (rows_of(table, "test"), wanted.test, params.seed + 1),
        )
    )
    school = School(params=params, train=train, test=test, scratch=scratch)
    readers = _readers(school)
    scores: dict[str, Any] = {"test": {name: _scores(school, reader) for name, reader in readers.items()}}
    if isinstance(wanted.learn, SequenceKD):
        scores["strings"] = _distilled(school, readers["teacher"], wanted.learn)
    with whole(out) as folder:
        for name, reader in readers.items():
            save_reader(folder / f"{name}.safetensors", reader, classes=classes)
            shutil.copy(scratch / name / "curve.csv", folder / f"{name}.csv")
        write_json(folder / "scores.json", scores)
        (folder / "report.md").write_text(_report(scores))
    shutil.rmtree(scratch)
    return out


def _readers(school: School) -> dict[str, Reader]:
    wanted = school.wanted
    if isinstance(wanted.learn, SequenceKD):
        teachers = {"teacher": school.taught("teacher", wanted.teacher)}
    else:
        teachers = {
            f"teacher-{style}": school.taught(f"teacher-{style}", wanted.teacher, domain=domain)
            for domain, style in enumerate(wanted.rows.styles)
        }
    alone = school.taught("alone", wanted.student)
    return {**teachers, "alone": alone, "student": school.taught("student", wanted.student, list(teachers.values()))}


def _scores(school: School, reader: Reader) -> dict[str, Any]:
    """Of the greedy answers to test rows, all and by style. A row may be read from either side if people do so."""
    said, _, things, domains = _read(school, reader, school.test)
    if school.wanted.rows.backwards:
        things = [min((one, one[::-1]), key=partial(edits, said=each)) for each, one in zip(said, things, strict=True)]
    kept = {"all": np.arange(len(said))}
    styles = school.wanted.rows.styles
    for domain, style in enumerate(styles if len(styles) > 1 else ()):
        kept[style] = np.flatnonzero(domains == domain)
    return {
        name: _rates([things[k] for k in rows], [said[k] for k in rows]) for name, rows in kept.items() if len(rows)
    }


def _rates(wanted: list[list[int]], said: list[list[int]]) -> dict[str, float]:
    return {
        "exact_match": exact_match(wanted, said), "symbol_error_rate": symbol_error_rate(wanted, said),
        "rows": len(said),
    }  # fmt: skip


def _distilled(school: School, teacher: Reader, learn: SequenceKD) -> dict[str, float]:
    """Complexity and faithfulness of the labelled rows' strings, real ones and the teacher's (Zhou et al. 2020)."""
    said, real, things, _ = _read(school, teacher, school.train, beam=learn.beam)
    return {
        "complexity_real": complexity(things, real), "complexity_teacher": complexity(things, said),
        "faithfulness_teacher": faithfulness(things, real, said),
    }  # fmt: skip


def _read(
    school: School, reader: Reader, rows: Rows, beam: int = 1
) -> tuple[list[list[int]], list[list[int]], list[list[int]], np.ndarray]:
    """Of each row the best string, the one that was written, what hangs there, and its style."""
    device = next(reader.parameters()).device
    said: list[list[int]] = []
    words: list[list[int]] = []
    things: list[list[int]] = []
    domains = []
    for seen in _every(school, rows):
        said += symbols_of(reader.read(seen.images.to(device), beam)[:, 0], end=rows.classes)
        words += symbols_of(seen.words, end=rows.classes)
        things += symbols_of(seen.things, end=rows.classes)
        domains.append(seen.domains.numpy())
    return said, words, things, np.concatenate(domains)


def _every(school: School, rows: Rows) -> Iterator[Strings]:
    """All rows in order."""
    batch = school.params.evaluate.batch
    for first in range(0, rows.number, batch):
        yield rows.at(np.arange(first, min(first + batch, rows.number)))


def _report(scores: dict[str, Any]) -> str:
    lines = [
        (name, style, text.percent(one["exact_match"]), text.percent(one["symbol_error_rate"]), one["rows"])
        for name, styles in scores["test"].items()
        for style, one in styles.items()
    ]
    told = text.table(("reader", "style", "strings right", "symbol error rate", "rows"), lines)
    if "strings" in scores:
        told += "\n\n" + text.table(("of the labelled rows' strings", "nats"), [
            (name.replace("_", " of "), f"{value:.3f}") for name, value in scores["strings"].items()
        ])  # fmt: skip
    return f"# Strings\n\n{told}\n"
