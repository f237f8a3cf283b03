"""What is wrong with the data, and how to mend it, before anything is trained."""

import difflib
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.io import read_json, whole, write_json
from tasks.params import Params
from tasks.text import bullets, first_few, table
from tasks.wording import NONE, Words, reworded
from tutelage.data import groups
from tutelage.data.decoding import SUFFIXES
from tutelage.data.manifest import classes_of, read_manifest, read_split
from tutelage.data.near import leaking, unlooked
from tutelage.data.split import ROLES, draw
from tutelage.metrics.calibration import samples_needed
from tutelage.metrics.out_of_distribution import too_few
from tutelage.types import BadInput

SHOWN = 10  # classes named in a problem or note
REMEDIES = {
    "unreadable": "Replace or remove them",
    "truncated": "Copy them again from where they came, or remove them",
    "not_an_image": "Replace or remove them",
    "too_large": "Shrink them, or raise ingest.max_pixels",
    "outside_root": "Copy them into the root",
    "unknown_label": "Give each a label, or move them to the pool",
}
Roles = dict[str, dict[str, int]]  # class -> role -> images
Check = Callable[[pa.Table], Iterable[str]]  # a split's problems


def doctor(ingested: Path, split: Path, *, params: Params, out: Path) -> Path:
    """Manifest, report of ingest, split -> report.json (problems, notes, images per role and class), report.md.

    With a problem it fails, prints every problem with its fix, and writes nothing.
    """
    return examine(
        ingested, split, params=params, out=out, more=lambda table: [*_promise(table, params), *_slices(table, params)],
        noted=lambda table: unlooked(table, params.ingest.near_duplicates, "ingest.near_duplicates"),
    )  # fmt: skip


def examine(
    ingested: Path, split: Path, *, params: Params, out: Path, more: Check | None = None, noted: Check | None = None,
    words: Words = NONE,
) -> Path:  # fmt: skip
    """What `doctor` does, with `more` problems of a split, and notes; `words` are said instead of names of params and
    stages."""
    manifest, told, table = read_manifest(ingested), read_json(ingested / "report.json"), read_split(split)
    counts = _count(table)
    torn, grouped = groups.examined(table, params.split.groups)
    problems = [
        *_stale(manifest, table, params),
        *_classes(counts),
        *leaking(told["leaks"], "ingest.leaks"),
        *_overlaps(manifest, table, told["leaks"]),
        *_refused(told["refused"], _blocks),
        *torn,
        *(more(table) if more else ()),
    ]
    if problems:
        told_too = (f"note: {note}" for note in _copies(told))  # classes may lack what they were refused
        shown = "\n".join(f"  {reworded(line, words)}" for line in [*problems, *told_too])
        raise BadInput(f"{len(problems)} problem(s) with the data ({ingested}/report.json lists all files):\n{shown}")
    lines = [
        *_thin(counts, _count(_evidence(table, params)), params),
        *_alike(counts),
        *_idle(manifest, counts, table, told["refused"]),
        *_copies(told),
        *_refused(told["refused"], _passes),
        *(noted(table) if noted else ()),
        *grouped,
    ]
    notes = [reworded(line, words) for line in lines]
    roles = Counter(table["role"].to_pylist())
    content = {"problems": [], "notes": notes, "images": {role: roles[role] for role in ROLES}, "classes": counts}
    with whole(out) as folder:
        write_json(folder / "report.json", content)
        (folder / "report.md").write_text(_markdown(content))
    print("\n".join(["doctor: no problem with the data", *(f"  note: {note}" for note in notes)]))
    return out


def _promise(table: pa.Table, params: Params) -> Iterator[str]:
    """A share that the hold-out is too small for, which `calibrate` would say after the training."""
    keep = params.calibrate.in_distribution
    if keep is not None and (problem := too_few(len(_evidence(table, params)), keep)):
        yield problem + _counted(params)


def _slices(table: pa.Table, params: Params) -> list[str]:
    """What the judge would say after the training."""
    tested = table.filter(pc.field("role") == "test")["id"].to_pylist()
    return groups.unsliced(tested, params.judge.slices, "judge.slices")


def _evidence(table: pa.Table, params: Params) -> pa.Table:
    """The hold-out as `calibrate` counts it: one image of each group."""
    held = table.filter(pc.field("role") == "holdout")
    return held.take(groups.one_of_each(held["id"].to_pylist(), params.split.groups, seed=params.seed))


def _counted(params: Params) -> str:
    return ". By split.groups one image of each group counts" if params.split.groups else ""


def _stale(manifest: pa.Table, table: pa.Table, params: Params) -> Iterator[str]:
    wanted = params.split
    expected, _ = draw(
        manifest, seed=params.seed, labels_per_class=wanted.labels_per_class, holdout=wanted.holdout,
        test_fraction=wanted.test_fraction, groups=wanted.groups,
    )  # fmt: skip
    if not table.equals(expected, check_metadata=True):
        yield "The split is not what the manifest and params.yaml give: one of them is older. Run `dvc repro split`"


def _classes(counts: Roles) -> Iterator[str]:
    taught = [name for name, roles in counts.items() if roles["labelled"]]
    missing = [name for name in counts if name not in taught]
    for name in missing[:SHOWN]:
        tested = counts[name]["test"]
        if tested:
            yield (
                f"Class {name!r} has {tested} test image(s) and no labelled one{_hint(name, taught)}. Give it the same "
                "name in both, label some images of it, or take it out of the test"
            )
        else:
            yield (
                f"Class {name!r} has no labelled image that can be used{_hint(name, taught)}. Label some, or remove "
                "the class (its folder, or its line in classes.txt)"
            )
    if len(missing) > SHOWN:
        yield f"{len(missing) - SHOWN} more classes have no labelled image: {', '.join(missing[SHOWN:][:SHOWN])}, ..."
    if len(taught) < 2:
        yield f"{len(taught)} class(es) with labelled images; a classifier needs two. Check ingest.labelled"
    if not any(roles["test"] for roles in counts.values()):
        yield (
            "There is no test image, so no model could be judged. Set ingest.test, or add labelled images: of a class "
            "with one image, or one group, none is set aside"
        )


def _overlaps(manifest: pa.Table, table: pa.Table, leaks: list[dict[str, str]]) -> Iterator[str]:
    """Copies of an image in two roles that ingest did not tell of: the manifest was changed by hand or by a bug."""
    listed = {leak["id"] for leak in leaks}
    pixels = dict(zip(manifest["id"].to_pylist(), manifest["pixels"].to_pylist(), strict=True))
    seen: dict[str, tuple[str, str]] = {}
    for name, role in zip(table["id"].to_pylist(), table["role"].to_pylist(), strict=True):
        if name in listed or name not in pixels:
            continue
        other, before = seen.setdefault(pixels[name], (name, role))
        if role != before:
            yield f"{name} ({role}) and {other} ({before}) are the same image. Run `dvc repro --force ingest`"
            return


def _blocks(refusal: dict[str, str]) -> bool:
    """Whether training must wait: an image that somebody labelled cannot be used. The pool can spare some."""
    labelled = not refusal["id"].startswith("pool/")
    stray = refusal["reason"] == "not_an_image" and os.path.splitext(refusal["id"])[1].lower() not in SUFFIXES
    return labelled and not stray and refusal["reason"] in REMEDIES


def _passes(refusal: dict[str, str]) -> bool:
    return not _blocks(refusal) and refusal["reason"] in REMEDIES


def _refused(refused: list[dict[str, str]], counts: Callable[[dict[str, str]], bool]) -> Iterator[str]:
    by_reason = defaultdict(list)
    for refusal in filter(counts, refused):
        by_reason[refusal["reason"]].append(refusal)
    for reason, refusals in sorted(by_reason.items()):
        first = refusals[0]
        yield (
            f"{len(refusals)} file(s) refused as {reason}, such as {first['id']}: {first['detail']}. {REMEDIES[reason]}"
        )


def _thin(counts: Roles, evidence: Roles, params: Params) -> Iterator[str]:
    budget, wanted = params.split.labels_per_class, params.calibrate
    given = {name: roles["labelled"] + roles["holdout"] for name, roles in counts.items()}
    short = [f"{name} ({number})" for name, number in given.items() if budget and number < budget]
    if short:
        yield f"Fewer labelled images than split.labels_per_class ({budget}): {first_few(short, SHOWN)}"
    enough = samples_needed(wanted.target_precision, wanted.confidence)
    small = [f"{name} ({roles['holdout']})" for name, roles in evidence.items() if roles["holdout"] < enough]
    if not any(roles["holdout"] for roles in counts.values()):
        yield (
            "No labelled image is held out: no threshold can be proven, and the guard cannot compare a student with "
            "its teacher. Raise split.holdout or split.labels_per_class"
        )
    elif small:
        yield (
            f"The hold-out is too small for thresholds per class; it takes {enough} images of a class to show a "
            f"precision of {wanted.target_precision:g}, so these pool their evidence: {first_few(small, SHOWN)}"
            f"{_counted(params)}"
        )
    untested = [name for name, roles in counts.items() if not roles["test"]]
    if untested:
        yield f"No test image, so the judge cannot see what becomes of them: {first_few(untested, SHOWN)}"


def _alike(names: Iterable[str]) -> Iterator[str]:
    """Names that a person reads as one: they differ in case, in blanks, in what is not seen or in how it is encoded."""
    read = defaultdict(list)
    for name in names:
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
        read["".join(letter for letter in folded if letter.isprintable()).strip()].append(name)
    for same in read.values():
        if len(same) > 1:
            yield f"Classes whose names look the same: {', '.join(map(ascii, same))}. Give one class one name"


def _idle(manifest: pa.Table, counts: Roles, table: pa.Table, refused: list[dict[str, str]]) -> Iterator[str]:
    lost = sum(refusal["id"].startswith("pool/") for refusal in refused)
    if "pool" not in table["role"].to_pylist() and lost:
        yield f"The pool is empty, since all {lost} file(s) of it were refused: training goes on with labels alone"
    elif "pool" not in table["role"].to_pylist():
        yield "The pool is empty: training goes on with labels alone. Set ingest.pool, or lower split.labels_per_class"
    strange = Counter(label for label in manifest["label"].to_pylist() if label is not None and label not in counts)
    if strange:
        names = [f"{name} ({number})" for name, number in sorted(strange.items())]
        yield f"Labels in the pool that are no class, taken for none: {first_few(names, SHOWN)}"


def _copies(told: dict[str, Any]) -> Iterator[str]:
    reasons = Counter(refusal["reason"] for refusal in told["dropped"])
    contradicted = sum(refusal["reason"] == "duplicate" for refusal in told["refused"])
    if reasons["duplicate"]:
        yield f"{reasons['duplicate']} spare copies of images were dropped"
    if reasons["leak"]:
        yield f"{reasons['leak']} training images were dropped because they are test images"
    if contradicted:
        yield f"{contradicted} labelled images were refused because copies of them have another label"


def _count(table: pa.Table) -> Roles:
    classes = classes_of(table)
    counts: Roles = {name: {"labelled": 0, "holdout": 0, "test": 0} for name in classes}
    for role, label in zip(table["role"].to_pylist(), table["label"].to_pylist(), strict=True):
        if label is not None:
            counts[classes[label]][role] += 1
    return counts


def _hint(name: str, taught: list[str]) -> str:
    """Names that differ in case or by a letter: 'Cat' and 'cat' look the same to a person."""
    folded = {other.casefold().strip(): other for other in taught}
    close = difflib.get_close_matches(name.casefold().strip(), folded, n=1)
    return f" (is it {folded[close[0]]!r}?)" if close else ""


def _markdown(content: dict[str, Any]) -> str:
    images = ", ".join(f"{number} {role}" for role, number in content["images"].items())
    lines = ["# Data", "", f"No problem. Images: {images}.", ""]
    lines += bullets(content["notes"])
    rows = [
        [name, *(roles[role] for role in ("labelled", "holdout", "test"))] for name, roles in content["classes"].items()
    ]
    lines += ["", table(["class", "labelled", "hold-out", "test"], rows)]
    return "\n".join(lines) + "\n"
