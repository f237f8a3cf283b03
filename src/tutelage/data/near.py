"""Which images look like an earlier one, without comparing each with each."""

import itertools
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int, UInt8, UInt64

# Grey levels by which thumbnails may differ, on average and at most. Photos saved as JPEG of quality 30 or halved stay
# below 0.4 and 2, images of 28 x 28 pixels at quality 75 below 2 and 13; two pairs of white trousers do not.
_MEAN, _MOST = 2.0, 24
_LARGE = 96  # pixels of a side above which an image has more to it than its thumbnail: of less, different ones are near


def unlooked(table: pa.Table, bits: int, name: str) -> Iterator[str]:
    """A note where images of a manifest or split that are large enough were not compared; `name` is of the setting."""
    sides = np.minimum(*(table[part].to_numpy() for part in ("width", "height")))
    if not bits and len(sides) and np.median(sides) > _LARGE:
        yield (
            "Near-duplicates (copies that were resized or saved anew) were not looked for: the test may have images "
            f"that are trained on. Write {name}: 4"
        )


def leaking(leaks: list[dict[str, str]], name: str) -> Iterator[str]:
    """A problem where training images are test images, as a scan told of them; `name` is of the setting."""
    if leaks:
        first = leaks[0]
        yield (
            f"{len(leaks)} training image(s) are test images too, such as {first['id']} = {first['other']} "
            f"({first['kind']}). Set {name}: drop to leave them out of training, or remove them"
        )


class NearIndex:
    """Images by dHash. Two are near when at most `bits` of their hashes and little of their thumbnails differ.

    Hashes that differ in at most `bits` of 64 agree in at least one of `bits + 1` bands, and thumbnails that differ by
    at most m on average have means at most m apart; so each image is compared only with those that share a band and
    have about its brightness.
    """

    def __init__(self, hashes: UInt64[np.ndarray, " n"], thumbnails: UInt8[np.ndarray, "n d"], bits: int):
        self._hashes, self._thumbnails, self._bits = hashes, thumbnails, bits
        brightness = thumbnails.mean(axis=1) if len(thumbnails) else np.zeros(0)
        edges = [64 * band // (bits + 1) for band in range(bits + 2)]
        self._bands = [_windows(_band(hashes, low, high), brightness) for low, high in itertools.pairwise(edges)]

    def earlier(self, image: int, among: Bool[np.ndarray, " n"]) -> Int[np.ndarray, " m"]:
        """Places of images before `image` that are near it, sorted; only of those that `among` names."""
        found = []
        for order, first, last in self._bands:
            others = order[first[image] : last[image]]
            others = others[(others < image) & among[others]]
            found.append(others[np.bitwise_count(self._hashes[others] ^ self._hashes[image]) <= self._bits])
        candidates = np.unique(np.concatenate(found))
        gap = np.abs(self._thumbnails[candidates].astype(np.int16) - self._thumbnails[image])
        alike = (gap.mean(axis=1) <= _MEAN) & (gap.max(axis=1, initial=0) <= _MOST)
        near: np.ndarray = candidates[alike]
        return near


def _band(hashes: UInt64[np.ndarray, " n"], low: int, high: int) -> UInt64[np.ndarray, " n"]:
    return (hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)


def _windows(
    band: UInt64[np.ndarray, " n"], brightness: np.ndarray
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Images sorted by band, then brightness; and for each image where those that may be near begin and end."""
    _, group = np.unique(band, return_inverse=True)
    key = group * 1024.0 + brightness  # a step of 1024 keeps windows of 255 grey levels apart
    order = np.argsort(key, kind="stable")
    ranked = key[order]
    first = np.searchsorted(ranked, key - _MEAN, "left")
    return order, first, np.searchsorted(ranked, key + _MEAN, "right")
