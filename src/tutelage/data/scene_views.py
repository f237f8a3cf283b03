"""Weak and strong views of a scene, whose boxes move along. The geometry and the random state are Albumentations'."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from tutelage.data.box_moves import large_enough, moved
from tutelage.data.views import albumentations, other_colours, reseed
from tutelage.types import BadInput

GREY = 114  # what surrounds a letterboxed image, and what a view shows from beyond its edges


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
    scale: float = 0.25  # a view is from 1 - scale to 1 + scale times as large
    translate: float = 0.1  # share of the side that a view may be shifted by
    colour: float = 1.0  # factor on a strong view's changes of brightness, contrast, saturation (0.4) and hue (0.1)
    grey: float = 0.2  # share of the strong views without colour
    negative: float = 0.0  # share of the strong views that are negatives: bright on dark becomes dark on bright
    blur: float = 0.5  # share of the strong views that are blurred, by a Gaussian of 0.1 to 2 pixels
    erasing: float = 1.0  # factor on the chances of three rectangles of noise in a strong view: 0.7, 0.5, 0.3
    geometry: bool = False  # strong views also shift by 10 %, turn by 30 degrees or shear by 30 degrees, as in STAC
    visible: float = 0.25  # a box of which less is seen is neither an object nor background

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
    """Flip, scale, shift."""
    return _view(views, size, strong=False)


def strong_scene(views: SceneViews, size: int) -> SceneView:
    """Flip, scale, shift, and noise: colours, grey, blur, rectangles; where asked for, also one change of geometry.

    Sohn et al., STAC, 2020, sec. 3.3 (geometry). https://arxiv.org/abs/2005.04757
    """
    return _view(views, size, strong=True)


def as_it_is(image: UInt8[np.ndarray, "s s 3"], places: Float[Tensor, "k 4"], key: Sequence[int]) -> Seen:
    """A scene that nothing was done to."""
    k, size = len(places), len(image)
    matrix = torch.eye(2, 3, dtype=torch.float64)
    return Seen(image, places, torch.arange(k), places.new_ones(k), matrix, torch.ones(size, size, dtype=torch.bool))


def _view(views: SceneViews, size: int, *, strong: bool) -> SceneView:
    A = albumentations()
    steps = _shape(views) + (_turns() if strong and views.geometry else [])
    points = A.KeypointParams(format="xy", remove_invisible=False)
    shape, look = A.Compose(steps, keypoint_params=points), A.Compose(_noise(views) if strong else [])
    corners = np.array([[0, 0], [size, 0], [0, size]], np.float32)

    def view(image: UInt8[np.ndarray, "s s 3"], places: Float[Tensor, "k 4"], key: Sequence[int]) -> Seen:
        """The same image, boxes and key give the same view, in whatever process and order."""
        reseed(shape, (*key, 0))
        reseed(look, (*key, 1))
        whole = np.ones((size, size), np.uint8)
        warped = shape(image=image, mask=whole, keypoints=corners)
        matrix = _from_points(np.asarray(warped["keypoints"], np.float64), size)
        noisy = look(image=warped["image"], mask=whole)
        if len(places):
            there, share = moved(places, matrix.to(places.dtype), size)
            share = share * _left(noisy["mask"], there)
            kept = large_enough(there).nonzero()[:, 0]
            there, share = there[kept], share[kept]
        else:  # as on most images of other tasks: not worth a dozen calls
            there, kept, share = places, torch.zeros(0, dtype=torch.int64), places.new_zeros(0)
        clear = torch.from_numpy((noisy["mask"] & warped["mask"]).astype(bool))
        return Seen(noisy["image"], there, kept, share, matrix, clear)

    return view


def _shape(views: SceneViews) -> list[Any]:
    A = albumentations()
    steps: list[Any] = [A.HorizontalFlip(p=0.5 if views.flip else 0.0)]
    if views.scale or views.translate:
        shift = (-views.translate, views.translate)
        scale = (1 - views.scale, 1 + views.scale)
        steps.append(A.Affine(scale=scale, keep_ratio=True, translate_percent=shift, fill=GREY, p=1))
    return steps


def _turns() -> list[Any]:
    A = albumentations()
    ways = [
        {"translate_percent": {axis: (-0.1, 0.1)}} for axis in "xy"
    ] + [{"shear": {axis: (-30, 30)}} for axis in "xy"] + [{"rotate": (-30, 30)}]  # fmt: skip
    return [A.OneOf([A.Affine(**way, fill=GREY, p=1) for way in ways], p=1)]


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


def _from_points(points: Float[np.ndarray, "3 2"], size: int) -> Float[Tensor, "2 3"]:
    """The matrix that took pixels (0, 0), (size, 0), (0, size) to `points`, as a matrix of places.

    Albumentations counts from the centre of a pixel, boxes count from its left upper edge: half a pixel is put in
    between.
    """
    origin, right, down = points
    turned = np.stack([right - origin, down - origin], axis=-1) / size
    return torch.from_numpy(np.column_stack([turned, origin + 0.5 - turned.sum(-1) * 0.5]))


def _left(mask: UInt8[np.ndarray, "s s"], places: Float[Tensor, "k 4"]) -> Float[Tensor, " k"]:
    """Share of each box's pixels that are 1 in `mask`."""
    if mask.all():
        return torch.ones(len(places))
    sums = np.pad(mask.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    left, top = places[:, :2].floor().long().T.numpy()
    right, bottom = places[:, 2:].ceil().long().T.numpy()
    inside = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    return torch.from_numpy(inside / np.maximum((right - left) * (bottom - top), 1)).to(places.dtype)
