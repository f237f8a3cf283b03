"""Small real images for tests, in files, tables and shards."""

import io
import tarfile
import zlib
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from tutelage.data.ingest import examine_all, manifest, settle
from tutelage.data.sources import scan


def picture(seed=0, height=24, width=20):
    """A smooth RGB image that no other seed gives."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)


def encoded(image, kind="PNG", **options):
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def save(path, image=None, **options):
    """Write an image; without one, a picture that the last three parts of its path decide."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if image is None:
        image = picture(zlib.crc32("/".join(path.parts[-3:]).encode()))
    kind = {".jpg": "JPEG", ".tif": "TIFF"}.get(path.suffix, path.suffix[1:].upper())
    path.write_bytes(image if isinstance(image, bytes) else encoded(image, kind, **options))
    return path


def shard(path, members):
    """A tar of name -> bytes, str, or a tarfile.TarInfo made by hand."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            data = content.encode() if isinstance(content, str) else content
            if isinstance(data, bytes):
                info.size = len(data)
            tar.addfile(info, io.BytesIO(data) if isinstance(data, bytes) else None)
    return path


def table_of(root, **sources):
    """The manifest of sources (labelled="train", ...) inside `root`."""
    scans = [scan(root, name, source) for source, name in sources.items()]
    images = [image for found in scans for image in examine_all(found, max_pixels=10**6, thumbnails=False)]
    return manifest(settle(images, leaks="drop", near_duplicates=0).kept, scans)
