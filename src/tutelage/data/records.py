"""What a scan finds, and what is known of an image once its bytes were read."""

from dataclasses import dataclass, field
from typing import Literal

from tutelage.data.decoding import Reason

SourceName = Literal["labelled", "pool", "test"]


@dataclass(frozen=True, slots=True)
class Found:
    """An image that was named, not yet opened."""

    id: str  # source/relative/path, for a tar source/shard.tar/member
    source: SourceName
    path: str  # of the file to open, relative to the root of its source
    offset: int  # where the encoded image lies in that file
    length: int
    label: str | None = None
    domain: str = ""  # what its kind of images is called; "" where all are of one


@dataclass(frozen=True, slots=True)
class Refusal:
    """An image, or a file that should have been one, that is left out."""

    id: str
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Examined:
    """An image that can be used."""

    found: Found
    sha256: str  # of the encoded bytes
    pixels: str  # sha256 of the decoded RGB pixels and their size
    dhash: int
    width: int
    height: int
    thumbnail: bytes = b""  # see decoding.thumbnail; only where near-duplicates are looked for
    turned: bool = False  # stored otherwise than it is seen; width, height and pixels are as it is seen


@dataclass(slots=True)
class Scan:
    """All that one source names, in the order of ids."""

    source: SourceName
    root: str  # folder that paths are relative to, as written by the caller
    found: list[Found] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    classes: set[str] = field(default_factory=set)  # declared, even if no image has them
    table: bool = False  # listed in a CSV, beside which other sources may lie
    shard: str | None = None  # path of the only one, beside which other sources may lie
    loose_labels: bool = False  # folder names of a pool: labels only where they are known classes

    @property
    def labels(self) -> set[str]:
        """Classes that are declared, or that an image has."""
        return self.classes | {image.label for image in self.found if image.label}

    def refuse(self, name: str, reason: Reason, detail: str) -> None:
        """`name` is relative to the root."""
        self.refused.append(Refusal(f"{self.source}/{name}", reason, detail))
