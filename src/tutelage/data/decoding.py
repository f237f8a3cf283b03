"""From the bytes of a file to RGB pixels: once strictly, when an image comes in, and later fast."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any, Literal

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageFile, ImageOps
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

Reason = Literal[
    "unreadable",
    "truncated",
    "too_large",
    "outside_root",
    "duplicate",
    "leak",
    "unknown_label",
    "not_an_image",
    "wrong_size",
]
Pixels = UInt8[np.ndarray, "h w 3"]

GREY = 114  # what surrounds a letterboxed image, and what a view shows from beyond its edges; YOLO's
THUMBNAIL_BYTES = 16 * 16 + 4 * 4 * 3
SUFFIXES = frozenset(
    (".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp")
)
# The readers are called by name: `Image.open` would try every format, and has a global limit of its own.
_READERS: tuple[tuple[bytes, type[ImageFile.ImageFile]], ...] = (
    (b"\x89PNG", PngImageFile),
    (b"\xff\xd8\xff", JpegImageFile),
    (b"GIF8", GifImageFile),
    (b"RIFF", WebPImageFile),
    (b"II*\0", TiffImageFile),
    (b"MM\0*", TiffImageFile),
    (b"BM", BmpImageFile),
    *((b"P%d%c" % (kind, space), PpmImageFile) for kind in range(1, 7) for space in b"\n\r\t "),
)
_SUFFIX = {
    PngImageFile: ".png", JpegImageFile: ".jpg", GifImageFile: ".gif", WebPImageFile: ".webp", TiffImageFile: ".tif",
    BmpImageFile: ".bmp", PpmImageFile: ".ppm",
}  # fmt: skip
_LAST = {PngImageFile: b"IEND", JpegImageFile: b"\xff\xd9", GifImageFile: b";"}  # what a whole file ends with
# What Pillow's readers raise on hostile bytes. A warning is here for callers that turn warnings into errors.
_BROKEN = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, ArithmeticError, struct.error, zlib.error,
    Warning,
)  # fmt: skip


class Unusable(Exception):
    """An image that ingest refuses, and why."""

    def __init__(self, reason: Reason, detail: str):
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


def examine(data: bytes, *, max_pixels: int) -> Pixels:
    """RGB pixels, upright, of a file that is whole; the size is read from the header before any pixel is decoded.

    16-bit grey keeps its upper byte, as OpenCV and Pillow do with 16-bit colour; transparency is dropped; of several
    frames the first counts. Raises Unusable.
    """
    reader = _reader(data)
    try:
        with reader(io.BytesIO(data)) as picture:
            width, height = _unpacked_size(picture)
            if width * height > max_pixels:
                raise Unusable("too_large", f"{width} x {height} pixels; ingest.max_pixels is {max_pixels}")
            picture.load()
            if reader is PngImageFile and _LAST[reader] not in data[-4096:]:
                raise Unusable("truncated", "the file ends before its IEND chunk")
            return _rgb(picture)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:  # Pillow's own limit, for WebP
        raise Unusable("too_large", str(error)) from error
    except _BROKEN as error:
        detail = str(error) or type(error).__name__
        raise Unusable("truncated" if _cut_off(reader, data, detail) else "unreadable", detail) from error


def _unpacked_size(picture: ImageFile.ImageFile) -> tuple[int, int]:
    """What memory is asked for: libtiff unpacks whole tiles, which may be larger than the image."""
    width, height = picture.size
    if not isinstance(picture, TiffImageFile):
        return width, height
    tags = picture.tag_v2
    return max(width, tags.get(ExifTags.Base.TileWidth, 0)), max(height, tags.get(ExifTags.Base.TileLength, 0))


# How a picture that is stored turned or mirrored becomes upright, by EXIF's orientation: 1 is as it is.
_TURNS: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: stored.transpose(1, 0, 2)[:, ::-1],
    7: lambda stored: stored.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda stored: stored.transpose(1, 0, 2)[::-1],
}
# Without one of these, what is in a file of its kind is one image, and lies as it is stored.
_MARKS: dict[type[ImageFile.ImageFile], tuple[bytes, ...]] = {
    PngImageFile: (b"acTL", b"eXIf", b"XML:com.adobe.xmp", b"Raw profile type"),
    JpegImageFile: (b"Exif\0\0", b"tiff:Orientation"),
}


def decode(data: bytes) -> Pixels:
    """The same pixels as `examine`, several times faster, of a file that `examine` has accepted. Raises Unusable.

    OpenCV reads other orientations and frames than Pillow, so it is asked for neither.
    """
    turns = _reader(data) is JpegImageFile
    upright = _TURNS.get(_orientation(data)) if turns else None
    if turns or _is_plain(data):
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if image is not None:
            stored: Pixels = cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
            return stored if upright is None else np.ascontiguousarray(upright(stored))
    return examine(data, max_pixels=1 << 40)


def stored_grey(data: bytes, width: int, height: int) -> np.ndarray | None:
    """The values of a grey picture as they are stored, such as the steps of a depth; None where it is none of this
    size, which is read from the header before any pixel is decoded."""
    try:
        with _reader(data)(io.BytesIO(data)) as picture:
            if picture.size != (width, height):
                return None
    except (Unusable, *_BROKEN):
        return None
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return values if values is not None and values.shape == (height, width) else None


def is_turned(data: bytes) -> bool:
    """Whether `examine` turns or mirrors a file that it has accepted, since its EXIF says that it is stored so."""
    return _orientation(data) in _TURNS


def _orientation(data: bytes) -> Any:
    """As EXIF has it, which may be a number of any type, or none."""
    if _is_plain(data):
        return 1
    with _reader(data)(io.BytesIO(data)) as picture:
        return picture.getexif().get(ExifTags.Base.Orientation, 1)


def _is_plain(data: bytes) -> bool:
    marks = _MARKS.get(_reader(data))
    return marks is not None and not any(mark in data for mark in marks)


def suffix_of(data: bytes) -> str:
    """What the name of a file ends with by its content, whatever it is called: ".png". Raises Unusable."""
    return _SUFFIX[_reader(data)]


def resize(image: Pixels, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """Stretched to a square: axes that shrink are averaged over areas, then axes that grow are interpolated."""
    return _stretch(image, size, size)


def letterbox(image: Pixels, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """Scaled by `letterbox_factor` to the top left of a square whose rest is grey.

    The shorter side is rounded to a whole pixel, so a place moves by less than half a pixel from its exact place.
    """
    height, width = image.shape[:2]
    factor = letterbox_factor(width, height, size)
    small = _stretch(image, max(1, round(width * factor)), max(1, round(height * factor)))
    square = np.full((size, size, 3), GREY, np.uint8)
    square[: small.shape[0], : small.shape[1]] = small
    return square


def letterbox_factor(width: int, height: int, size: int) -> float:
    """Pixels of a `size` x `size` letterbox for each pixel of an image: its longer side fills the square."""
    return size / max(width, height)


def dhash(image: Pixels) -> int:
    """64 bits: whether each of 9 x 8 grey cells is darker than its right neighbour. It survives scaling and JPEG.

    Krawetz, Kind of like that, 2013. https://www.hackerfactor.com/blog/index.php?/archives/529-Kind-of-Like-That.html
    """
    cells = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (9, 8), interpolation=cv2.INTER_AREA)
    return int.from_bytes(np.packbits(cells[:, 1:] > cells[:, :-1]).tobytes(), "big")


def thumbnail(image: Pixels) -> bytes:
    """16 x 16 grey and 4 x 4 colour means: a dHash is checked against it, since flat images share theirs."""
    grey = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (16, 16), interpolation=cv2.INTER_AREA)
    return grey.tobytes() + cv2.resize(image, (4, 4), interpolation=cv2.INTER_AREA).tobytes()


def _stretch(image: Pixels, width: int, height: int) -> UInt8[np.ndarray, "{height} {width} 3"]:
    small = (min(image.shape[1], width), min(image.shape[0], height))
    if small != (image.shape[1], image.shape[0]):
        image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    if small != (width, height):
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return image


def _rgb(picture: ImageFile.ImageFile) -> Pixels:
    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith("I;16") or (upright.mode == "I" and isinstance(picture, PpmImageFile)):
        grey = (np.asarray(upright) >> 8).astype(np.uint8)  # Pillow has stretched any deep PGM to 16 bits
        return np.repeat(grey[:, :, None], 3, axis=2)
    if upright.mode in ("I", "F"):
        raise Unusable("unreadable", "32-bit grey has no known range; save it with 8 or 16 bits")
    upright.info.pop("transparency", None)  # Pillow would warn that it is lost
    return np.asarray(upright.convert("RGB"))


def _reader(data: bytes) -> type[ImageFile.ImageFile]:
    reader = next((kind for magic, kind in _READERS if data.startswith(magic)), None)
    if reader is None:
        raise _stranger(data)
    return reader


def _stranger(data: bytes) -> Unusable:
    if not data:
        return Unusable("truncated", "the file is empty")
    return Unusable("not_an_image", "the content is not JPEG, PNG, GIF, WebP, TIFF, BMP or PPM")


def _cut_off(reader: type[ImageFile.ImageFile], data: bytes, detail: str) -> bool:
    if reader is WebPImageFile:
        return len(data) < int.from_bytes(data[4:8], "little") + 8
    told = any(word in detail.lower() for word in ("truncated", "eof", "not enough"))
    return told or (reader in _LAST and _LAST[reader] not in data[-64:])
