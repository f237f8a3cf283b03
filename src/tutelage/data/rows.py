"""Pictures of single things side by side, and the string that names them: images labelled with strings.

Rows are composed when they are asked for and depend on their number and the seed alone, so none is written to disk.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from tutelage.data.images import Images
from tutelage.types import PAD, BadInput

Style = Literal["plain", "inverted", "noisy"]  # domains of images of the same strings: "accents"


class Strings(NamedTuple):
    """Rows of things. A string is its symbols, then END, which is the number of classes, then PAD."""

    images: Float[Tensor, "n 3 h w"]
    words: Int[Tensor, "n l"]  # as a person wrote it
    things: Int[Tensor, "n l"]  # what hangs there from the left, whatever was written; to measure by
    domains: Int[Tensor, " n"]  # place of each row's style among the styles


@dataclass(frozen=True, kw_only=True)
class RowSpec:
    """What rows look like."""

    __pydantic_config__ = {"extra": "forbid"}
    size: int = 28  # pixels, height of a row and side of a picture
    symbols: tuple[int, int] = (2, 4)  # of a string: fewest, most
    gap: int = 6  # pixels, the widest gap between two pictures
    styles: tuple[Style, ...] = ("plain",)  # drawn evenly
    backwards: float = 0.0  # share of strings that were written from the right: several answers are then right

    def __post_init__(self) -> None:
        fewest, most = self.symbols
        if not 1 <= fewest <= most or self.size < 8 or self.gap < 0 or not 0 <= self.backwards <= 1:
            raise BadInput(
                f"{self}: symbols are the fewest, 1 or more, then the most; size is 8 pixels or more, gap 0 or more, "
                "backwards a share"
            )
        if not self.styles or len(set(self.styles)) < len(self.styles):
            raise BadInput(f"styles is {list(self.styles)}: write one or more, each once")

    @property
    def width(self) -> int:
        """Pixels that the longest row with the widest gaps takes."""
        return self.symbols[1] * (self.size + self.gap)


@dataclass(frozen=True)
class Rows:
    """`number` rows composed of pictures whose class is known."""

    spec: RowSpec
    images: Images
    pictures: Int[np.ndarray, " k"]  # rows of `images` to take from
    labels: Int[np.ndarray, " k"]
    classes: int
    number: int
    seed: int

    def __post_init__(self) -> None:
        if not len(self.pictures):
            raise BadInput("there is no picture with a label to compose rows of. Raise split.labels_per_class")

    def at(self, numbers: Int[np.ndarray, " n"], domain: int | None = None) -> Strings:
        """Rows by their number; `domain`: all in that style."""
        rows = [self._row(int(number), domain) for number in numbers]
        pixels = torch.from_numpy(np.stack([row[0] for row in rows])).permute(0, 3, 1, 2).float().div(255)
        longest = self.spec.symbols[1]
        words = strings([row[1] for row in rows], longest, end=self.classes)
        things = strings([row[2] for row in rows], longest, end=self.classes)
        return Strings(pixels, words, things, torch.tensor([row[3] for row in rows]))

    def batches(self, size: int, *, start: int, stop: int, domain: int | None = None) -> Iterator[Strings]:
        """Of steps start..stop-1, each of `size` rows drawn evenly: what a run that was cut would have seen."""
        for step in range(start, stop):
            drawn = np.random.default_rng((self.seed, 1, step)).integers(self.number, size=size)
            yield self.at(drawn, domain)

    def _row(self, number: int, domain: int | None) -> tuple[np.ndarray, list[int], list[int], int]:
        rng, spec = np.random.default_rng((self.seed, 0, number)), self.spec
        length = int(rng.integers(spec.symbols[0], spec.symbols[1] + 1))
        taken = rng.integers(len(self.pictures), size=length)
        gaps, style = rng.integers(spec.gap + 1, size=length), int(rng.integers(len(spec.styles)))
        backwards = bool(rng.random() < spec.backwards)
        style = style if domain is None else domain
        pixels = np.zeros((spec.size, spec.width, 3), np.uint8)
        at = 0
        for gap, picture in zip(gaps, self.images.many(self.pictures[taken]), strict=True):
            at += int(gap)
            pixels[:, at : at + spec.size] = picture
            at += spec.size
        things = self.labels[taken].tolist()
        return styled(pixels, spec.styles[style], rng), things[::-1] if backwards else things, things, style


def styled(pixels: UInt8[np.ndarray, "h w 3"], style: Style, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """As it is; light for dark; or blurred and under noise."""
    if style == "plain":
        return pixels
    if style == "inverted":
        return 255 - pixels
    blurred = cv2.GaussianBlur(pixels, (0, 0), 1.0).astype(np.float64)
    noisy: np.ndarray = (blurred + rng.normal(0, 40, pixels.shape)).round().clip(0, 255).astype(np.uint8)
    return noisy


def strings(symbols: list[list[int]], longest: int, *, end: int) -> Int[Tensor, "n l"]:
    """Each with END behind it and padded to `longest` + 1."""
    return torch.tensor([[*one, end] + [PAD] * (longest - len(one)) for one in symbols])


def symbols_of(words: Int[Tensor, "n l"], *, end: int) -> list[list[int]]:
    """The symbols before the first END of each string, or before its padding."""
    found = []
    for one in words.tolist():
        stop = next((place for place, symbol in enumerate(one) if symbol in (end, PAD)), len(one))
        found.append(one[:stop])
    return found
