"""What lies in a folder of a user's own images: which of it is labelled, the pool, the test, and in what form."""

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tasks.coco_places import Listed, check_one_source, folder_of, listed
from tasks.io import write_whole
from tutelage.data.coco_file import as_text
from tutelage.data.foreign import from_voc, from_yolo, images_of, text_of, without_objects
from tutelage.data.records import SourceName
from tutelage.types import BadInput

NAMES: dict[SourceName, tuple[str, ...]] = {  # what folders and files are called, the surest first
    "pool": ("pool", "unlabelled", "unlabeled"),
    "labelled": ("labelled", "labeled", "train", "training"),
    "test": ("test", "testing", "val", "valid", "validation"),
}
_YOLO = {b"names", b"train"}  # what a data.yaml says
TABLES = (".csv", ".tsv")
OURS = b'{"info": {"description": "written by `python -m tasks init`, which may write it again"},'
BY_HAND = "Name one of them otherwise, or write `ingest` (for boxes: detection.ingest) in params.yaml by hand"
LAYOUTS = """It takes
  classes    {root}/train/cat/*.jpg, {root}/train/dog/*.jpg; or {root}/train.csv with the columns image and label
  boxes      {root}/train.json (COCO), or data.yaml (YOLO), or Annotations/*.xml (PASCAL VOC)
  no labels  {root}/pool/*.jpg
  to test    {root}/test, as train; without it, some of the labelled images are set aside"""


@dataclass
class Places:
    """What lies in the folder, as names inside it."""

    boxes: bool = False
    names: dict[SourceName, list[str]] = field(default_factory=dict)  # more than one are COCO JSONs
    images: dict[str, str] = field(default_factory=dict)  # by the name of a COCO JSON that they do not lie beside
    listed: dict[str, Listed] = field(default_factory=dict)  # by the name of the COCO JSON
    spare: dict[str, list[str]] = field(default_factory=dict)  # labelled images that are of no role, by their split

    def written(self, role: SourceName) -> str | list[str] | None:
        """What is of the role, as params.yaml has it."""
        names = self.names.get(role, [])
        return names if len(names) > 1 else next(iter(names), None)

    def folders(self, role: SourceName) -> str | list[str | None] | None:
        """Where its images lie, as params.yaml has it."""
        folders = [self.images.get(name) for name in self.names.get(role, [])]
        return folders if len(set(folders)) > 1 else next(iter(folders), None)


class Made(NamedTuple):
    """What boxes of another form are as COCO JSON."""

    content: dict[SourceName, dict[str, Any]]
    spare: dict[str, list[str]]


def find(root: Path) -> Places:
    """By the names of folders and files. Boxes of YOLO and PASCAL VOC become COCO JSON files in `root`.

    Raises BadInput where nothing is recognised, or where two things may be meant.
    """
    return _boxes(root) or _classes(root)


def _classes(root: Path) -> Places:
    entries = [entry for entry in sorted(root.iterdir()) if not entry.name.startswith(".")]
    tables = [entry.name for entry in entries if entry.suffix.lower() in (*TABLES, ".tar")]
    folders = [entry.name for entry in entries if entry.is_dir()]
    found = Places(names=_by_role([tables, folders], root))
    if "labelled" not in found.names:
        inner = [name for name in folders if any(images_of(root / name))]
        said = (
            f" It has the folders {', '.join(inner[:5])}: are they classes? Move them into {root}/train."
            if inner
            else ""
        )
        raise BadInput(f"{root} has no folder or table called train or labelled.{said} {LAYOUTS.format(root=root)}")
    return found


def _boxes(root: Path) -> Places | None:
    """COCO's, YOLO's or PASCAL VOC's, the first that is there; None where no objects are given."""
    files = dict(_coco_files(root))
    found = Places(boxes=True, listed=files)
    if files:
        instances = [name for name in files if "instances" in _words(name)]
        found.names = _by_role([instances, list(files)], root, several=True)
        for role, names in found.names.items():
            folders = {name: folder_of(root, name, role, files[name].files) for name in names}
            found.images |= {name: folder for name, folder in folders.items() if folder is not None}
            if len(names) > 1:
                check_one_source(root, role, {name: (files[name], folders[name]) for name in names}, BY_HAND)
    else:
        made = _made_of_yolo(root) or _made_of_voc(root)
        if made is None:
            return None
        contents, found.spare = made
        if not _by_role([_folders(root)], root, only="pool") and (rest := _rest(root, made))["images"]:
            contents["pool"] = rest
        found.names = {role: [_write(root / f"{role}.json", content)] for role, content in contents.items()}
        found.listed = {found.names[role][0]: listed(content) for role, content in contents.items()}
    if "labelled" not in found.names:
        unused = [name for name in files if all(name not in names for names in found.names.values())]
        several = f". Where {' and '.join(unused)} all are, write detection.ingest.labelled: [{', '.join(unused)}]"
        out = BY_HAND + (several if len(unused) > 1 else "")
        raise BadInput(f"{root} has boxes, and none that are called train or labelled. {out}")
    found.names = _by_role([_folders(root)], root, only="pool") | found.names
    return found


def _folders(root: Path) -> list[str]:
    """What may be a pool beside boxes."""
    entries = sorted((*root.iterdir(), *root.glob("images/*")))
    return [entry.relative_to(root).as_posix() for entry in entries if entry.is_dir() or entry.suffix == ".tar"]


def _by_role(
    candidates: Sequence[Sequence[str]], root: Path, *, only: SourceName | None = None, several: bool = False
) -> dict[SourceName, list[str]]:
    """The candidate with the surest name for each role; of several lists, an earlier one goes first.

    Where `several` may be one source, all that have it are, the pool aside.
    """
    found: dict[SourceName, list[str]] = {}
    for role in [only] if only else NAMES:
        for word, names in ((word, names) for word in NAMES[role] for names in candidates):
            taken = {name for others in found.values() for name in others}
            matches = [name for name in names if word in _words(name) and name not in taken]
            if several and role == "labelled" and len(matches) > 1:  # train/val.json is not
                matches = [name for name in matches if _words(name).isdisjoint(NAMES["test"])]
            if len(matches) > 1 and not (several and role != "pool"):
                folder = f"Put them into one folder, {root / word}, and classes.txt, if any, with them"
                out = folder if all(name.endswith(".tar") for name in matches) else BY_HAND
                raise BadInput(f"{root} has {' and '.join(matches[:3])}: which are {role}? {out}")
            if matches:
                found[role] = matches
                break
    return found


def _words(name: str) -> set[str]:
    return set(re.findall("[a-z]+", name.casefold()))


def _below(root: Path, suffix: str) -> list[str]:
    """Files in the folder and in its folders, by relative name."""
    return sorted(path.relative_to(root).as_posix() for path in (*root.glob(f"*{suffix}"), *root.glob(f"*/*{suffix}")))


def _coco_files(root: Path) -> Iterator[tuple[str, Listed]]:
    """The user's COCO JSON files by name, each with what it names. A large one takes seconds to read."""
    for name in _below(root, ".json"):
        data = (root / name).read_bytes()
        if data.startswith(OURS):
            continue
        try:
            content = json.loads(data)
        except ValueError as error:
            raise BadInput(f"{root / name}: no JSON ({error}). Mend it, or move it away") from error
        if isinstance(content, dict) and isinstance(content.get("images"), list) and "categories" in content:
            yield name, listed(content)


def _made_of_yolo(root: Path) -> Made | None:
    for path in (*sorted(root.glob("*.yaml")), *sorted(root.glob("*.yml"))):
        if not set(re.findall(rb"\w+(?=[\"']?\s*:)", path.read_bytes())) >= _YOLO:
            continue  # of others, who may write it as they like
        try:
            content = yaml.safe_load(text_of(path))
        except yaml.YAMLError as error:
            raise BadInput(f"{path} is not YAML: {error}") from error
        if isinstance(content, dict) and "names" in content and "train" in content:
            return _of_yolo(path, content, root)
    return None


def _of_yolo(path: Path, content: dict[str, Any], root: Path) -> Made:
    """The splits that data.yaml, `path`, names; val is the test where it names none."""
    named, base, val = _names(path, content["names"]), content.get("path"), content.get("val") or []
    splits: dict[SourceName, Any] = {"labelled": content["train"], "test": content.get("test") or val}
    made = {
        role: from_yolo(_yolo_folders(path, base, written), named, root) for role, written in splits.items() if written
    }
    known = {image["file_name"] for each in made.values() for image in each["images"]}
    over = [image for folder in _yolo_folders(path, base, val, needed=False) for image in images_of(folder)]
    return Made(made, {"val": [name for image in over if (name := os.path.relpath(image, root)) not in known]})


def _names(path: Path, written: Any) -> list[str]:
    """Of the classes, in the order of their numbers."""
    if isinstance(written, dict):
        if set(written) != set(range(len(written))):
            raise BadInput(f"{path}: names has the keys {list(written)}. Number the {len(written)} classes from 0")
        written = [written[number] for number in range(len(written))]
    if not isinstance(written, list) or not written:
        raise BadInput(f"{path}: names is {written!r}. Write the classes, as [cat, dog] or {{0: cat, 1: dog}}")
    return [str(name) for name in written]


def _yolo_folders(path: Path, base: Any, written: Any, *, needed: bool = True) -> list[Path]:
    """Folders of a split: relative to data.yaml, to its `path`, or, as Roboflow writes them, one folder too high.

    Raises BadInput where one that is `needed` is not there.
    """
    found = []
    for name in map(str, written if isinstance(written, list) else [written]):
        tried = [path.parent / str(base or "") / name, path.parent / name, path.parent / name.removeprefix("../")]
        there = [
            folder for folder in tried if folder.is_dir() and folder.resolve().is_relative_to(path.parent.resolve())
        ]
        if not there and needed:
            raise BadInput(f"{path} names the images {name!r}, which are no folder in {path.parent}. Write one that is")
        found += there[:1]
    return found


def _made_of_voc(root: Path) -> Made | None:
    """By ImageSets/Main where it is there; by the folders that the XML lies in; or all of Annotations/."""
    lists = {path.stem: text_of(path).split() for path in sorted(root.glob("ImageSets/Main/*.txt"))}
    splits = {name: [root / "Annotations" / f"{stem}.xml" for stem in stems] for name, stems in lists.items() if stems}
    for word in (word for words in NAMES.values() for word in words if word not in splits):
        splits[word] = sorted(root.glob(f"{word}/*.xml"))
    chosen = {role: next((splits[word] for word in words if splits[word]), []) for role, words in NAMES.items()}
    files = {role: paths for role, paths in chosen.items() if paths}
    if not files and (all_of_them := sorted(root.glob("Annotations/*.xml"))):
        files = {"labelled": all_of_them}
    if not files:
        return None
    used, spare = {path for paths in files.values() for path in paths}, {}
    for name in sorted(splits, key=len):  # val before dog_val
        over = [path for path in splits[name] if path not in used and path.is_file()]
        used |= set(over)
        spare[name] = [image["file_name"] for image in from_voc(over, root)["images"]]
    return Made({role: from_voc(paths, root) for role, paths in files.items()}, spare)


def _write(path: Path, content: dict[str, Any]) -> str:
    """The name of the file, which is not written over one of the user's own. Raises BadInput."""
    if path.exists() and not path.read_bytes().startswith(OURS):
        raise BadInput(f"{path} would be written, and is there already as a file of yours. Move it away")
    write_whole(path, OURS + as_text(content).removeprefix("{").encode())
    return path.name


def _rest(root: Path, made: Made) -> dict[str, Any]:
    """A pool of the images that `made` does not know."""
    known = {image["file_name"] for content in made.content.values() for image in content["images"]}
    known.update(*made.spare.values())
    return without_objects((path for path in images_of(root) if path.relative_to(root).as_posix() not in known), root)
