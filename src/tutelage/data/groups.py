"""Images that must not be torn apart: frames of a video, slides of a patient, shots of a place."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from jaxtyping import Int


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
    near = [
        name for group in sorted(members["pool"].keys() & members["test"].keys()) for name in members["pool"][group]
    ]
    if near:
        yield (
            f"{len(near)} image(s) of the pool are of groups that are tested on, such as {near[0]}: a student learns "
            "from them, though without labels. Take them out if they show nearly the same"
        )


def _members(table: pa.Table, pattern: str) -> dict[str, dict[str, list[str]]]:
    """Role -> group -> its images."""
    members: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, role in zip(table["id"].to_pylist(), table["role"].to_pylist(), strict=True):
        group = group_of(name, pattern)
        if group is not None:
            members[role][group].append(name)
    return members
