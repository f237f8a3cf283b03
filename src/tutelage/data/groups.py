"""Images that must not be torn apart: frames of a video, slides of a patient, shots of a place."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from jaxtyping import Int

from tutelage.types import BadInput

Members = dict[str, dict[str | None, list[str]]]  # role -> group -> its images; of None those that are of no group
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


def sliced(names: Sequence[str], pattern: str | None, param: str) -> dict[str, Int[np.ndarray, " m"]]:
    """Places of the images of each slice: what `pattern` finds in their paths, as in `group_of`. Nothing without one.

    BadInput where it finds nothing in any of them; `param` is where it was written.
    """
    found: dict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(names):
        if (mine := group_of(name, pattern)) is not None:
            found[mine].append(place)
    for problem in unsliced(names, pattern, param):
        raise BadInput(problem)
    return {name: np.array(found[name]) for name in sorted(found)}


def unsliced(names: Sequence[str], pattern: str | None, param: str) -> list[str]:
    """What is wrong with `pattern` where it finds nothing in the path of any test image; there may be none."""
    if pattern is None or not names or any(group_of(name, pattern) is not None for name in names):
        return []
    return [f"{param} ({pattern}) finds nothing in the path of any test image, such as {names[0]}. Mend or remove it"]


def one_of_each(names: Sequence[str], pattern: str | None, *, seed: int) -> Int[np.ndarray, " m"]:
    """Places of one image of each unit, drawn, in their order; of all images without a pattern.

    For what counts images as evidence: those of a unit are no more independent of each other than copies are.
    """
    order = np.random.default_rng(seed).permutation(len(names))
    units = units_of([names[place] for place in order], pattern)
    return np.sort(order if units is None else order[np.unique(units, return_index=True)[1]])


def examined(table: pa.Table, pattern: str | None, param: str = "split.groups") -> tuple[list[str], list[str]]:
    """What is wrong with the groups of a split, and what a person should know of them; `param` is where the pattern was
    written. Nothing without a pattern."""
    if pattern is None:
        return [], []
    members = _members(table, pattern)
    return list(_torn(members, pattern, param)), list(_told(members))


def _torn(members: Members, pattern: str, param: str) -> Iterator[str]:
    alone, taught, tests = _alone(members), _groups(members, "holdout", "labelled"), _groups(members, "test")
    if not taught:
        first = next((name for name in alone if name.startswith("labelled/")), "none")
        yield f"{param} ({pattern}) finds nothing in the path of any labelled image, such as {first}. Mend or remove it"
    both = sorted(taught.keys() & tests.keys())
    if both:
        yield (
            f"{len(both)} group(s) have images to train on and to test on, such as {taught[both[0]][0]} and "
            f"{tests[both[0]][0]} (both {both[0]!r}). Move each group to one side, or give no test of your "
            "own: it is then drawn by groups"
        )
    images, units = _tested(members)
    if images > 1 and units == 1:
        name = next(iter(tests.values()))[0]
        yield (
            f"all {images} test images are of one group, such as {name}, by {param} ({pattern}): drawn "
            "anew it is always the same, so any gain would look proven. Raise "
            f"{param.rpartition('.')[0]}.test_fraction, or give a test of several groups"
        )


def _told(members: Members) -> Iterator[str]:
    numbers = ", ".join(f"{len(_groups(members, role))} {role}" for role in ("labelled", "holdout", "pool", "test"))
    yield f"Groups of images: {numbers}"
    if alone := _alone(members):
        yield f"{len(alone)} image(s) are of no group and were drawn one by one, such as {alone[0]}"
    images, units = _tested(members)
    if units < min(FEW, images):
        yield (
            f"The {images} test images are {units} by groups: what so few differ by says little of others, and "
            f"intervals come out too narrow. Test on {FEW} groups or more"
        )
    pool, tests = _groups(members, "pool"), _groups(members, "test")
    near = [name for group in sorted(pool.keys() & tests.keys()) for name in pool[group]]
    if near:
        yield (
            f"{len(near)} image(s) of the pool are of groups that are tested on, such as {near[0]}: a student learns "
            "from them, though without labels. Take them out if they show nearly the same"
        )


def _members(table: pa.Table, pattern: str) -> Members:
    members: Members = defaultdict(lambda: defaultdict(list))
    for name, role in zip(table["id"].to_pylist(), table["role"].to_pylist(), strict=True):
        members[role][group_of(name, pattern)].append(name)
    return members


def _groups(members: Members, *roles: str) -> dict[str, list[str]]:
    """Group -> its images; of several roles the last one that has it."""
    return {group: names for role in roles for group, names in members[role].items() if group is not None}


def _alone(members: Members) -> list[str]:
    return sorted(name for groups in members.values() for name in groups.get(None, ()))


def _tested(members: Members) -> tuple[int, int]:
    """How many images are tested on, and how many are drawn as one: groups, and those of none."""
    tests = members["test"]
    return sum(map(len, tests.values())), len(tests.keys() - {None}) + len(tests.get(None, ()))
