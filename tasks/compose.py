"""The detection demo's images."""

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8
from torch.utils.data import Dataset

from tasks.box_params import Compose
from tasks.io import whole
from tasks.progress import Progress
from tutelage.data import masks
from tutelage.data.batches import shared_out
from tutelage.data.coco_file import categories, of_mask, write_coco
from tutelage.data.decoding import decode
from tutelage.data.reading import Reader
from tutelage.data.records import Found
from tutelage.data.sources import scan
from tutelage.data.wardrobe import Domain, Garment, Scene, compose_scene, cut_out
from tutelage.types import BadInput

SHARDS = 10  # of fetched images, 1,000 each: garments enough, and the rest takes seconds to list
QUALITY = 92  # of the JPEG
MANY = 200  # scenes from which on a process a core is worth its start


@dataclass(frozen=True)
class Scenes:
    """Scenes that one JSON lists."""

    folder: str  # below the output
    name: str
    number: int
    garments: str  # which of Fashion-MNIST's sets
    domains: tuple[Domain, ...] = ("",)  # taken in turn


class _Made(NamedTuple):
    """A scene, ready to be written."""

    domain: Domain
    picture: bytes  # JPEG
    depth: bytes  # PNG
    objects: list[dict[str, Any]]  # COCO annotations without their numbers


class Garments:
    """Pictures of one fetched set, cut out when they are first asked for."""

    def __init__(self, fetched: Path, name: str, kinds: dict[str, list[str]] | None = None):
        folder = fetched / name
        if not folder.is_dir():
            raise BadInput(
                f"{folder} does not exist, so there are no garments to compose scenes of. Write fetch.dataset: "
                "fashion_mnist and run `dvc repro fetch`, or leave this stage out for your own images"
            )
        shards = sorted(path.name for path in folder.glob("*.tar"))[:SHARDS]
        scans = [scan(folder, shard, "labelled") for shard in shards] or [scan(fetched, name, "labelled")]
        self._kind = _kinds(kinds, sorted({name for found in scans for name in found.classes}))
        self.classes = list(dict.fromkeys(self._kind.values()))
        self._found: list[Found] = [image for found in scans for image in found.found]
        self._folder, self._reader, self._cut = folder, Reader(), dict[int, Garment]()

    def __len__(self) -> int:
        return len(self._found)

    def picture(self, place: int) -> tuple[UInt8[np.ndarray, "g g 3"], int]:
        """As it was fetched, and its class."""
        found = self._found[place]
        data = self._reader.read(str(self._folder / found.path), found.offset, found.length)
        return decode(data), self.classes.index(self._kind[str(found.label)])

    def __getitem__(self, place: int) -> Garment:
        if place not in self._cut:
            pixels, label = self.picture(place)
            self._cut[place] = cut_out(pixels[..., 0], label)
        return self._cut[place]


def compose(fetched: Path, *, params: Any, out: Path) -> Path:
    """Fashion-MNIST -> scenes of garments: labelled.json, pool.json, test.json (COCO: boxes, masks, classes), images/,
    depth/ (16-bit PNG, millimetres).

    A scene depends on the seed, its set and its number alone. Garments of test scenes are in no other scene.
    """
    wanted: Compose = params.detection.compose
    sets = [
        Scenes("", "labelled", wanted.labelled, "train"),
        Scenes("", "pool", wanted.pool, "train"),
        Scenes("", "test", wanted.test, "test"),
    ]
    return composed(fetched, sets, params=params, out=out)


def composed(fetched: Path, sets: list[Scenes], *, params: Any, out: Path) -> Path:
    """The scenes of all sets, or a word why there are none."""
    if left_out(fetched, out):
        return out
    wanted: Compose = params.detection.compose
    garments = {name: Garments(fetched, name, wanted.kinds) for name in ("train", "test")}
    if garments["train"].classes != garments["test"].classes:
        raise BadInput(f"{fetched}: train and test hold other classes. Run `dvc repro --force fetch`")
    with whole(out) as folder, Progress("compose", sum(each.number for each in sets)) as bar:
        for each in sets:
            _write(folder / each.folder, _Composed(each, garments[each.garments], wanted, params.seed), bar)
    return out


def left_out(fetched: Path, out: Path) -> bool:
    """Whether `fetch.dataset` is none: then `out` holds a README.md, and flows of your own images go on."""
    if any(fetched.glob("*/")) or not (fetched / "README.md").exists():
        return False
    with whole(out) as folder:
        (folder / "README.md").write_text(
            "Nothing was made of the demo's images: fetch.dataset is none. Name your own in the `ingest` of the "
            "section that reads this folder, or write fetch.dataset: fashion_mnist.\n"
        )
    return True


def _kinds(wanted: dict[str, list[str]] | None, garments: list[str]) -> dict[str, str]:
    """The kind, and so the category, of each garment. BadInput unless every one is of exactly one."""
    if wanted is None:
        return {name: name for name in garments}
    named = [name for members in wanted.values() for name in members]
    wrong = [name for name in [*garments, *named] if name not in garments or named.count(name) != 1]
    if wrong:
        raise BadInput(
            f"detection.compose.kinds names {wrong[0]!r} {named.count(wrong[0])} times: it names each of "
            f"{', '.join(garments)} once and nothing else. Correct it, or write null for one kind a garment"
        )
    return {name: kind for kind, members in wanted.items() for name in members}


def _write(folder: Path, scenes: "_Composed", bar: Progress) -> None:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    name, total, size = scenes.each.name, scenes.each.number, scenes.wanted.size
    for kind in ("images", "depth"):
        (folder / kind / name).mkdir(parents=True)
    for number, made in enumerate(shared_out(scenes, total, many=MANY), start=1):
        picture, depth = (
            f"{kind}/{name}/{number - 1:05d}.{end}" for kind, end in (("images", "jpg"), ("depth", "png"))
        )
        (folder / picture).write_bytes(made.picture)
        (folder / depth).write_bytes(made.depth)
        images.append({"id": number, "file_name": picture, "depth": depth, "domain": made.domain,
                       "width": size, "height": size})  # fmt: skip
        for each in made.objects:
            annotations.append(each | {"id": len(annotations) + 1, "image_id": number})
        bar.update(1)
    content = {"images": images, "annotations": annotations, "categories": categories(scenes.garments.classes)}
    write_coco(folder / f"{name}.json", content)


@dataclass(frozen=True)
class _Composed(Dataset[_Made]):
    """The scenes of a set, by their numbers."""

    each: Scenes
    garments: Garments
    wanted: Compose
    seed: int

    def __getitem__(self, number: int) -> _Made:
        each, size = self.each, self.wanted.size
        rng = np.random.default_rng([self.seed, zlib.crc32(f"{each.folder}/{each.name}".encode()), number])
        chosen = rng.integers(len(self.garments), size=rng.integers(self.wanted.objects[0], self.wanted.objects[1] + 1))
        domain = each.domains[number % len(each.domains)]
        scene: Scene = compose_scene(
            [self.garments[int(place)] for place in chosen], size, rng, scales=self.wanted.scales, domain=domain
        )
        return _Made(
            domain,
            _encoded(".jpg", scene.pixels[..., ::-1], cv2.IMWRITE_JPEG_QUALITY, QUALITY),
            _encoded(".png", scene.depth, cv2.IMWRITE_PNG_COMPRESSION, 1),
            [
                of_mask(masks.encode(mask), size, size) | {"category_id": label + 1}
                for label, mask in zip(scene.labels, scene.masks, strict=True)
            ],
        )


def _encoded(kind: str, pixels: np.ndarray, option: int, value: int) -> bytes:
    done, data = cv2.imencode(kind, pixels, [option, value])
    assert done
    return bytes(data)
