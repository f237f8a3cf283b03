"""Weak and strong views of a scene, whose boxes move along.

What moves pixels is one matrix, drawn here, so that pixels are sampled once and boxes follow exactly. What changes
their colours is Albumentations', with a random state that belongs to the view.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from tutelage.data.box_moves import clear_share, large_enough, moved
from tutelage.data.decoding import GREY
from tutelage.data.dense_moves import resampled
from tutelage.data.orientations import Orientation, change_of, orientations
from tutelage.data.views import albumentations, other_colours, reseed
from tutelage.types import BadInput


class Seen(NamedTuple):
    """A view, and those of the boxes that are in it."""

    image: UInt8[np.ndarray, "s s 3"]
    places: Float[Tensor, "j 4"]
    kept: Int[Tensor, " j"]  # number of each among the boxes that were handed in
    visible: Float[Tensor, " j"]  # share of the box that is inside and was not erased
    matrix: Float[Tensor, "2 3"]  # float64: a pixel x, y, 1 of the plain image -> x, y of the view
    clear: Bool[Tensor, "s s"]  # pixels of the plain image: neither from beyond its edge nor under a rectangle of noise


SceneView = Callable[[np.ndarray, Tensor, Sequence[int]], Seen]


@dataclass(frozen=True, kw_only=True)
class SceneViews:
    """How far a view may go from the scene. What is strong is the list of Unbiased Teacher (appendix).

    Liu et al. ICLR 2021. https://arxiv.org/abs/2102.09480
    """

    __pydantic_config__ = {"extra": "forbid"}
    flip: bool = True  # left-right; false where left is not right, as with letters
    turn: bool = False  # by quarters; true where there is no up, as under a microscope or from above
    scale: float = 0.25  # a view is from 1 - scale to 1 + scale times as large; one for a teacher shows the whole image
    translate: float = 0.1  # share of the side that a view may be shifted by; not one for a teacher
    colour: float = 1.0  # factor on a strong view's changes of brightness, contrast, saturation (0.4) and hue (0.1)
    grey: float = 0.2  # share of the strong views without colour
    negative: float = 0.0  # share of the strong views that are negatives: bright on dark becomes dark on bright
    blur: float = 0.5  # share of the strong views that are blurred, by a Gaussian of 0.1 to 2 pixels
    erasing: float = 1.0  # factor on the chances of three rectangles of noise in a strong view: 0.7, 0.5, 0.3
    geometry: bool = False  # strong views also shift by 10 %, turn by 30 degrees or shear by 30 degrees, as in STAC
    visible: float = 0.25  # a box of which less is seen is neither an object nor background

    @property
    def ways(self) -> list[Orientation]:
        """The orientations in which a scene is as good as any other."""
        return orientations(mirror=self.flip, turn=self.turn)

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            top = 2.0 if field.name == "colour" else 1.0
            if not 0 <= value <= top or (field.name == "scale" and value > 0.9):
                raise BadInput(
                    f"scene_views.{field.name} is {value}: it is a number from 0 to "
                    f"{0.9 if field.name == 'scale' else top}. Leave it out for the default, {field.default}"
                )


def weak_scene(views: SceneViews, size: int) -> SceneView:
    """Flip, turn by quarters, scale, shift."""
    return _view(views, size, strong=False)


def whole_scene(views: SceneViews, size: int) -> SceneView:
    """Flip and turn by quarters alone, so that nothing is cut off: what a teacher is asked about.

    An object that it is not shown would be taught as background wherever the strong view shows it.
    """
    return _view(replace(views, scale=0.0, translate=0.0), size, strong=False)


def strong_scene(views: SceneViews, size: int) -> SceneView:
    """The same, and noise: colours, grey, blur, rectangles; where asked for, also one change of geometry.

    Sohn et al., STAC, 2020, sec. 3.3 (geometry). https://arxiv.org/abs/2005.04757
    """
    return _view(views, size, strong=True)


def as_it_is(image: UInt8[np.ndarray, "s s 3"], places: Float[Tensor, "k 4"], key: Sequence[int]) -> Seen:
    """A scene that nothing was done to."""
    k, size = len(places), len(image)
    matrix = torch.eye(2, 3, dtype=torch.float64)
    return Seen(image, places, torch.arange(k), places.new_ones(k), matrix, torch.ones(size, size, dtype=torch.bool))


def _view(views: SceneViews, size: int, *, strong: bool) -> SceneView:
    cv2.setNumThreads(0)  # threads inside a loader's process only fight with the training
    return _View(views, size, strong, albumentations().Compose(_noise(views)) if strong else None)


@dataclass(frozen=True)
class _View:
    """A view that a loader's process can be sent, where processes are not forked."""

    views: SceneViews
    size: int
    strong: bool
    noise: Any

    def __call__(self, image: UInt8[np.ndarray, "s s 3"], places: Float[Tensor, "k 4"], key: Sequence[int]) -> Seen:
        """The same image, boxes and key give the same view, in whatever process and order."""
        geometry = self.strong and self.views.geometry
        matrix = _drawn(self.views, self.size, np.random.default_rng((*key, 0)), geometry=geometry)
        seen, clear = _warped(image, matrix, self.size)
        left = np.ones_like(clear)
        if self.noise is not None:
            reseed(self.noise, (*key, 1))
            noisy = self.noise(image=seen, mask=left)
            seen, left = noisy["image"], noisy["mask"]
        if len(places):
            there, share = moved(places, matrix.to(places.dtype), self.size)
            if not left.all():
                share = share * clear_share(torch.from_numpy(left.astype(bool)), there)
            kept = large_enough(there).nonzero()[:, 0]
            there, share = there[kept], share[kept]
        else:  # as on most images of other tasks: not worth a dozen calls
            there, kept, share = places, torch.zeros(0, dtype=torch.int64), places.new_zeros(0)
        return Seen(seen, there, kept, share, matrix, torch.from_numpy((left & clear).astype(bool)))


def _drawn(views: SceneViews, size: int, random: np.random.Generator, *, geometry: bool) -> Float[Tensor, "2 3"]:
    """Where a pixel of the image goes, by places. All but the shift is done about the middle."""
    flip = views.flip and random.random() < 0.5
    scale = random.uniform(1 - views.scale, 1 + views.scale)
    shift = random.uniform(-views.translate, views.translate, 2) * size
    quarters = int(random.integers(4)) if views.turn else 0
    change = scale * change_of(Orientation(flip, quarters))
    if geometry:
        way, axis, amount = random.integers(5), random.integers(2), random.uniform(-1, 1)
        if way < 2:  # of the five ways, each axis has a shift and a shear
            shift[axis] += 0.1 * amount * size
        elif way < 4:
            sheared = np.eye(2)
            sheared[axis, 1 - axis] = np.tan(np.radians(30 * amount))
            change = sheared @ change
        else:
            c, s = np.cos(np.radians(30 * amount)), np.sin(np.radians(30 * amount))
            change = np.array([[c, -s], [s, c]]) @ change
    middle = np.full(2, size / 2)
    return torch.from_numpy(np.column_stack([change, middle - change @ middle + shift]))


def _warped(
    image: UInt8[np.ndarray, "s s 3"], matrix: Float[Tensor, "2 3"], size: int
) -> tuple[UInt8[np.ndarray, "s s 3"], UInt8[np.ndarray, "s s"]]:
    """The moved image, grey beyond its edges, and 1 where it is not beyond."""
    whole = np.ones((size, size), np.uint8)
    if torch.equal(matrix, torch.eye(2, 3, dtype=matrix.dtype)):
        return image, whole
    return resampled(image, matrix, GREY, smooth=True), resampled(whole, matrix, 0)


def _noise(views: SceneViews) -> list[Any]:
    A = albumentations()
    steps = other_colours(views.colour, views.grey)
    if views.negative:
        steps.append(A.InvertImg(p=views.negative))
    if views.blur:
        steps.append(A.GaussianBlur(blur_limit=0, sigma_limit=(0.1, 2.0), p=views.blur))
    if views.erasing:
        for chance, smallest, ratio in ((0.7, 0.05, (0.3, 3.3)), (0.5, 0.02, (0.1, 6.0)), (0.3, 0.02, (0.05, 8.0))):
            chance *= views.erasing
            steps.append(A.Erasing(scale=(smallest, 0.2), ratio=ratio, fill="random", fill_mask=0, p=chance))
    return steps
