"""Which task of each labelled scene is annotated: every task has its own share, and none sees another's labels."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.io import whole
from tasks.knobs import joined, json_files
from tasks.params import Params
from tasks.text import table as markdown
from tutelage.data.decoding import stored_grey
from tutelage.data.folders import locate
from tutelage.data.manifest import classes_of, read_split
from tutelage.data.scenes import read_boxes
from tutelage.types import BadInput, Task

SHARES = pa.schema(
    [
        ("id", pa.string()),
        ("task", pa.string()),  # the only one whose labels may be learned from; "" of test images, which are for all
        ("depth", pa.string()),  # path of the 16-bit PNG, "" where it is nobody's to see
        ("sha256", pa.string()),  # of that file
    ]
)


def multi_split(root: Path, split: Path, *, params: Params, out: Path) -> Path:
    """Scenes and their split -> shares.parquet: one task a labelled image, and where its depth is; report.md.

    The hold-out is shared out too: nothing is calibrated on it here. A task takes images that have its labels: masks
    of all objects for segmentation, `depth` in the JSON's entry of the image (a 16-bit PNG beside it) for depth.
    """
    wanted, table, boxes = params.multitask, read_split(split), read_boxes(split)
    roles = np.array(table["role"].to_pylist())
    sizes = {name: size for name, *size in zip(*(table[k].to_pylist() for k in ("id", "width", "height")), strict=True)}
    named = {name: path for name, path in _depths(root, params) if name in sizes}
    depths = {name: path for name, path in named.items() if _measured(path, *sizes[name])}
    unmasked = set(boxes.filter(pc.equal(pc.field("mask"), ""))["id"].to_pylist())
    there = set(boxes.filter(pc.invert(pc.field("crowd")))["id"].to_pylist())
    test = table["id"].filter(pa.array(roles == "test")).to_pylist()
    if not classes_of(table) and set(wanted.tasks) != {"depth"}:
        raise BadInput(
            f"multitask.tasks is {wanted.tasks}, and the labelled JSON has no category: without classes there is depth "
            "alone. Name the classes in `categories`, or write tasks: [depth]"
        )
    _check_test(test, unmasked, there, depths, wanted.tasks)
    part = table.filter(pa.array(np.isin(roles, ("labelled", "holdout"))))
    ids = _ranked(part["id"].to_pylist(), part["sha256"].to_pylist(), params.seed)
    limits: dict[Task, set[str]] = {"segmentation": set(ids) - unmasked, "depth": set(ids) & depths.keys()}
    owned = shared_out(ids, {task: limits.get(task, set(ids)) for task in wanted.tasks})
    seen = {name: depths.get(name, "") for name in test} | {
        name: depths[name] if task == "depth" else "" for name, task in owned.items()
    }
    rows = [
        {"id": name, "task": owned.get(name, ""), "depth": path,
         "sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest() if path else ""}
        for name, path in seen.items()
    ]  # fmt: skip
    with whole(out) as folder:
        pq.write_table(pa.Table.from_pylist(rows, schema=SHARES), folder / "shares.parquet", compression="zstd")
        counts = Counter(owned.values())
        report = markdown(["task", "labelled images"], [[task, counts[task]] for task in wanted.tasks])
        report = f"# Shares\n\n{report}\n\n{len(test)} test images are for all tasks.\n"
        blind = len(named) - len(depths)
        report += f"\n{blind} images have a depth that is 0 everywhere, which tells nothing.\n" if blind else ""
        (folder / "report.md").write_text(report)
    return out


def shared_out(ids: Sequence[str], able: Mapping[Task, set[str]]) -> dict[str, Task]:
    """The task of each image, in the order of `ids`. Tasks that few images can serve choose first.

    Raises BadInput where a task is left without any.
    """
    owned: dict[str, Task] = {}
    order = sorted(able, key=lambda task: len(able[task]))
    for place, task in enumerate(order):
        left = [name for name in ids if name not in owned]
        own = [name for name in left if name in able[task]][: -(-len(left) // (len(order) - place))]
        if not own:
            raise BadInput(
                f"multitask.tasks has {task!r}, but of {len(ids)} labelled images none is left that has its labels "
                f"({len(able[task])} have them). Annotate some, or leave {task} out of multitask.tasks"
            )
        owned |= dict.fromkeys(own, task)
    return {name: owned[name] for name in ids if name in owned}


def read_shares(folder: Path) -> pa.Table:
    """Raises BadInput when it is not there or of another version."""
    path = folder / "shares.parquet"
    if not path.exists():
        raise BadInput(f"{path} does not exist. Run `dvc repro multi_split` to make it")
    table = pq.read_table(path)
    if not table.schema.equals(SHARES):
        raise BadInput(f"{path} has other columns than this version writes. Run `dvc repro --force multi_split`")
    return table


def _ranked(ids: list[str], digests: list[str], seed: int) -> list[str]:
    """By the images' bytes and the seed: neither their order nor their names decide."""
    ranks = [hashlib.sha256(f"{seed} multitask {digest}".encode()).digest() for digest in digests]
    return [name for _, name in sorted(zip(ranks, ids, strict=True))]


def _measured(path: str, width: int, height: int) -> bool:
    """Whether a depth is above 0 anywhere. What is no picture of its image's size is left to who reads it, and refuses
    it by name."""
    steps = stored_grey(Path(path).read_bytes(), width, height)
    return steps is None or bool(steps.any())


def _check_test(
    test: list[str], unmasked: set[str], there: set[str], depths: Mapping[str, str], tasks: Sequence[Task]
) -> None:
    """Raises BadInput for a task that could not be judged. `there` are the images that have objects."""
    bare = [name for name in test if name in unmasked]
    if "detection" in tasks and there.isdisjoint(test):
        raise BadInput(
            f"none of {len(test)} test images has an object, so detection cannot be judged. Add images with some, or "
            "leave detection out of multitask.tasks"
        )
    if "segmentation" in tasks and bare:
        raise BadInput(
            f"{len(bare)} test images have objects without a mask, such as {bare[0]}: segmentation cannot be judged. "
            "Give each its `segmentation`, or leave segmentation out of multitask.tasks"
        )
    if "depth" in tasks and not any(name in depths for name in test):
        raise BadInput(
            f"none of {len(test)} test images has a depth above 0, so depth cannot be judged. Name a 16-bit PNG as "
            "`depth` of each image in the JSON, or leave depth out of multitask.tasks"
        )


def _depths(root: Path, params: Params) -> Iterator[tuple[str, str]]:
    """Id and depth file of each image that has one, of the labelled and the test JSON."""
    found = params.detection.ingest
    files = [(source, *one) for source in ("labelled", "test") for one in json_files(found, source)]
    for source, name, folder in files:
        beside, boundary = (root / name).parent if folder is None else root / folder, os.path.realpath(root)
        for image in json.loads((root / name).read_bytes())["images"]:
            if not isinstance(image, dict) or not image.get("depth") or not isinstance(image.get("file_name"), str):
                continue  # `scenes_ingest` has told of what is no image
            path, problem = locate(beside, str(image["depth"]), boundary, "the scenes' folder")
            if problem is not None:
                raise BadInput(f"{root / name}: the depth of {image['file_name']}: {problem[1]}. Correct its `depth`")
            file, _ = locate(beside, image["file_name"].strip(), boundary, "the scenes' folder")
            file = os.path.normpath(os.path.relpath(beside / file, root)) if joined(found, source) else file
            yield f"{source}/{file}", (beside / path).as_posix()
