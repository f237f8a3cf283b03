"""Weak and strong views of an image, by Albumentations, with a random state that belongs to the image and the step.

Albumentations is imported where it is used: it takes longer to load than most stages take to run.
"""

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8

from tutelage.types import BadInput

View = Callable[[np.ndarray, Sequence[int]], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Views:
    """How far a view may go from the image: the noise of a noisy student."""

    __pydantic_config__ = {"extra": "forbid"}
    by: Literal["albumentations", "batch"] = "albumentations"  # batch: all at once, on the device (batch_views.py)
    flip: bool = True  # left-right; false where it changes the class, as with digits
    turn: bool = False  # by quarters; true where there is no up, as under a microscope or from above
    crop_padding: int = 3  # pixels that a view may be shifted by
    operations: int = 2  # RandAugment operations in a strong view
    magnitude: float = 1.0  # of them, 1: the ranges of FixMatch, table 12
    colour: float = 0.0  # factor on a strong view's changes of brightness, contrast, saturation (0.4) and hue (0.1)
    grey: float = 0.0  # share of the strong views without colour
    cutout: float = 0.5  # side of the largest square cut out of a strong view, share of the image
    cutout_chance: float = 1.0  # share of the strong views that are cut

    def __post_init__(self) -> None:
        if not 0 < self.magnitude <= 2:
            raise BadInput(f"views.magnitude is {self.magnitude}: it is above 0 and at most 2 (1 is FixMatch's range)")
        if not 0 <= self.colour <= 2 or not 0 <= self.grey <= 1:
            raise BadInput(f"{self}: colour is a factor from 0 (none) to 2, grey a share from 0 to 1")
        if not 0 <= self.cutout_chance <= 1:
            raise BadInput(
                f"views.cutout_chance is {self.cutout_chance}: it is a share, from 0 (never cut) to 1 (always)"
            )
        if not 0 <= self.cutout < 1 or self.crop_padding < 0 or not 0 <= self.operations <= 9:
            raise BadInput(f"{self}: cutout is in [0, 1), crop_padding at least 0, operations 0 to 9")


def weak(views: Views, size: int) -> View:
    """Flip, turn by quarters, shift."""
    A = albumentations()
    return _Seeded(A.Compose(_flip_and_shift(views, size)))


def strong(views: Views, size: int) -> View:
    """The same, other colours, RandAugment operations drawn with random strength, then cut-out.

    Sohn et al., FixMatch, NeurIPS 2020, sec. 2.3 and table 12. https://arxiv.org/abs/2001.07685
    """
    A = albumentations()
    steps = [*_flip_and_shift(views, size), *other_colours(views.colour, views.grey)]
    if views.operations:
        steps.append(A.SomeOf(_operations(views.magnitude), n=views.operations, replace=False, p=1))
    if views.cutout:
        side = (min(0.2, views.cutout), views.cutout)
        steps.append(
            A.CoarseDropout(
                num_holes_range=(1, 1), hole_height_range=side, hole_width_range=side, fill=0, p=views.cutout_chance
            )
        )
    return _Seeded(A.Compose(steps))


def _flip_and_shift(views: Views, size: int) -> list[Any]:
    A = albumentations()
    steps: list[Any] = [A.HorizontalFlip(p=0.5)] if views.flip else []
    if views.turn:
        steps.append(A.RandomRotate90(p=1))  # one of four, each as often
    if views.crop_padding:
        steps += [A.Pad(views.crop_padding), A.RandomCrop(size, size)]
    return steps


def other_colours(strength: float, grey: float) -> list[Any]:
    """In four of five views another brightness, contrast, saturation and hue; in a share of `grey` no colour at all."""
    A = albumentations()
    steps: list[Any] = []
    if strength:
        light, hue = (max(0.0, 1 - 0.4 * strength), 1 + 0.4 * strength), 0.1 * strength
        steps.append(A.ColorJitter(light, light, light, (-hue, hue), p=0.8))
    if grey:
        steps.append(A.ToGray(p=grey))
    return steps


def _operations(m: float) -> list[Any]:
    A = albumentations()
    light = min(0.9, 0.4 * m)
    return [
        A.Affine(rotate=(-30 * m, 30 * m), p=1),
        A.Affine(shear=(-17 * m, 17 * m), p=1),
        A.Affine(scale=(max(0.4, 1 - 0.3 * m), 1 + 0.3 * m), p=1),
        A.RandomBrightnessContrast((-light, light), (-light, light), p=1),
        A.Posterize(num_bits=(2, 6), p=1),
        A.Solarize(threshold_range=(0.5, 0.95), p=1),
        A.Equalize(p=1),
        A.Sharpen(p=1),
        A.RandomGamma((50, 180), p=1),
    ]


def albumentations() -> ModuleType:
    """The library, without its call home and its threads."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks the package index for its version when imported
    import albumentations
    import cv2

    cv2.setNumThreads(0)  # threads inside a loader's process only fight with the training
    module: ModuleType = albumentations
    return module


@dataclass(frozen=True)
class _Seeded:
    """A view that a loader's process can be sent, where processes are not forked."""

    transform: Any

    def __call__(self, image: UInt8[np.ndarray, "h w 3"], key: Sequence[int]) -> UInt8[np.ndarray, "h w 3"]:
        """The same image and key give the same view, in whatever process and order."""
        reseed(self.transform, key)
        seen: np.ndarray = self.transform(image=image)["image"]
        return seen


def reseed(transform: Any, key: Sequence[int]) -> None:
    """What a transform of Albumentations draws next depends on `key` alone."""
    generator = np.random.default_rng(key)
    transform.set_random_state(generator, random.Random(int(generator.integers(1 << 62))))


def stack(images: list[UInt8[np.ndarray, "h w 3"]], size: int) -> UInt8[np.ndarray, "n 3 h w"]:
    """Images as one array whose channels come first but lie last in memory; none is an array of length zero."""
    together = np.stack(images) if images else np.zeros((0, size, size, 3), np.uint8)
    return together.transpose(0, 3, 1, 2)
