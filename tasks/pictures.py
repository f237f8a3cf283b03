"""Pictures as text: inline SVG and data URIs, so that a page or an artifact needs nothing beside it.

Equal inputs give equal bytes. matplotlib is imported where it is used: a guard shows photographs alone.
"""

import base64
import html
import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#94a3b8",
    "axes.grid": True,
    "axes.labelcolor": "#475569",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 9,
    "grid.color": "#e2e8f0",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text: it can be read aloud, searched and copied
    "svg.hashsalt": "tutelage",  # ids of clip paths, else drawn anew each time
    "text.color": "#0f172a",
    "text.parse_math": False,  # a class may be called "$5 and $10"
    "xtick.color": "#475569",
    "ytick.color": "#475569",
}
_SILENT = dict.fromkeys(("Creator", "Date", "Format", "Type"))  # a date would change the bytes every day
_PHOTO = 48  # pixels; larger images are photographs, which JPEG keeps in a tenth of PNG's bytes


def svg(drawn: "Figure", title: str) -> str:
    """An <svg> element to put into a page, with `title` as its description for readers who cannot see it."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context(STYLE):
        drawn.savefig(buffer, format="svg", transparent=True, metadata=_SILENT)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'\s*xmlns(:\w+)?="[^"]*"', "", text)  # HTML knows svg without its address
    return text.replace("<svg", f'<svg role="img" aria-label="{html.escape(title)}"', 1)


def png(drawn: "Figure") -> str:
    """A small PNG as a data URI, for Markdown."""
    buffer = io.BytesIO(png_bytes(drawn, dots_per_inch=72))
    # Few colours are enough for a chart and a third of the bytes.
    with Image.open(buffer) as image:
        return _uri(image.convert("RGB").quantize(64, dither=Image.Dither.NONE), "PNG")


def png_bytes(drawn: "Figure", dots_per_inch: int = 144) -> bytes:
    """A PNG file."""
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        drawn.savefig(buffer, format="png", dpi=dots_per_inch, metadata={"Software": None})
    return buffer.getvalue()


def thumbnail(image: UInt8[np.ndarray, "h w 3"]) -> str:
    """One image as a data URI, at its own size."""
    return _uri(Image.fromarray(image), "PNG" if max(image.shape) <= _PHOTO else "JPEG")


def contact_sheet(images: Sequence[UInt8[np.ndarray, "h w 3"]], *, columns: int, zoom: int = 2) -> str:
    """Images of one size side by side, each pixel `zoom` wide, as a data URI; "" for none."""
    if not images:
        return ""
    high, wide = images[0].shape[:2]
    rows, gap = -(-len(images) // columns), 1
    sheet = np.full((rows * (high + gap) - gap, min(len(images), columns) * (wide + gap) - gap, 3), 255, np.uint8)
    for place, image in enumerate(images):
        top, left = place // columns * (high + gap), place % columns * (wide + gap)
        sheet[top : top + high, left : left + wide] = image
    kind = "PNG" if max(high, wide) <= _PHOTO else "JPEG"
    return _uri(Image.fromarray(sheet.repeat(zoom, axis=0).repeat(zoom, axis=1)), kind)


def _uri(image: Image.Image, kind: str) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, optimize=True)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
