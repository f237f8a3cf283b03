"""Images that must not be torn apart: frames of a video, slides of a patient, shots of a place."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from jaxtyping import Int

FEW = 10  # units of a test below which an interval drawn from them is told to be too narrow


def group_of(name: str, pattern: str | None) -> str | None:
    """What `pattern`, a regular expression, finds in an image's path inside its source: its first group in brackets, or
    all of it. None where it finds nothing: such an image is drawn by itself.
    """
    found = re.search(pattern, name.partition("/")[2]) if pattern else None
    return None if found is None else found[1 if found.re.groups else 0]


def unit_of(name: str, pattern: str | None) -> str:
    """What an image goes to one side with: its group, or itself alone."""
    group = group_of(name, pattern)
    return f"image {name}" if group is None else f"group {group}"


def units_of(names: Sequence[str], pattern: str | None) -> Int[np.ndarray, " n"] | None:
    """The number of each image's unit, counted from 0. None without a pattern."""
    return None if pattern is None else np.unique([unit_of(name, pattern) for name in names], return_inverse=True)[1]


def torn(table: pa.Table, pattern: str | None, param: str = "split.groups") -> Iterator[str]:
    """What is wrong with the groups of a split; `param` is where the pattern was written."""
    if pattern is None:
        return
    members = _members(table, pattern)
    taught = {**members["holdout"], **members["labelled"]}
    if not taught:
        first = next((name for name in table["id"].to_pylist() if name.startswith("labelled/")), "none")
        yield f"{param} ({pattern}) finds nothing in the path of any labelled image, such as {first}. Mend or remove it"
    both = sorted(taught.keys() & members["test"].keys())
    if both:
        yield (
            f"{len(both)} group(s) have images to train on and to test on, such as {taught[both[0]][0]} and "
            f"{members['test'][both[0]][0]} (both {both[0]!r}). Move each group to one side, or give no test of your "
            "own: it is then drawn by groups"
        )
    names = _tested(table)
    if len(names) > 1 and len({unit_of(name, pattern) for name in names}) == 1:
        yield (
            f"all {len(names)} test images are of one group, such as {names[0]}, by {param} ({pattern}): drawn "
            "anew it is always the same, so any gain would look proven. Raise "
            f"{param.rpartition('.')[0]}.test_fraction, or give a test of several groups"
        )


def told(table: pa.Table, pattern: str | None) -> Iterator[str]:
    """What a person should know of the groups of a split."""
    if pattern is None:
        return
    members = _members(table, pattern)
    numbers = ", ".join(f"{len(members[role])} {role}" for role in ("labelled", "holdout", "pool", "test"))
    yield f"Groups of images: {numbers}"
    alone = [name for name in table["id"].to_pylist() if group_of(name, pattern) is None]
    if alone:
        yield f"{len(alone)} image(s) are of no group and were drawn one by one, such as {alone[0]}"
    names = _tested(table)
    units = len({unit_of(name, pattern) for name in names})
    if units < min(FEW, len(names)):
        yield (
            f"The {len(names)} test images are {units} by groups: what so few differ by says little of others, and "
            f"intervals come out too narrow. Test on {FEW} groups or more"
        )
    near = [
        name for group in sorted(members["pool"].keys() & members["test"].keys()) for name in members["pool"][group]
    ]
    if near:
        yield (
            f"{len(near)} image(s) of the pool are of groups that are tested on, such as {near[0]}: a student learns "
            "from them, though without labels. Take them out if they show nearly the same"
        )


def _tested(table: pa.Table) -> list[str]:
    pairs = zip(table["id"].to_pylist(), table["role"].to_pylist(), strict=True)
    return [name for name, role in pairs if role == "test"]


def _members(table: pa.Table, pattern: str) -> dict[str, dict[str, list[str]]]:
    """Role -> group -> its images."""
    members: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, role in zip(table["id"].to_pylist(), table["role"].to_pylist(), strict=True):
        group = group_of(name, pattern)
        if group is not None:
            members[role][group].append(name)
    return members
