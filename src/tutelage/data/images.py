"""Pixels of the rows of a split or manifest."""

import hashlib
import mmap
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, SupportsIndex

import cv2
import numpy as np
import pyarrow as pa
from jaxtyping import Int, UInt8

from tutelage.data.decoding import Unusable, decode, letterbox, letterbox_factor, resize
from tutelage.data.manifest import roots_of
from tutelage.data.reading import Reader
from tutelage.types import BadInput

__all__ = ["Images", "letterbox_factor"]
CACHE = 1 << 30  # bytes


@dataclass
class Images:
    """`images[i]` is row i of a table, uint8 [size, size, 3], RGB, stretched to a square, or with `letterbox`
    scaled as it is into one.

    What fits in `cache_bytes` is decoded once, when it is first asked for, into memory that forked loader processes
    share. Pickled, it goes without that memory and starts an empty one. The bytes of each image are checked against the
    manifest's hash, so a changed file is an error and never another image.
    """

    size: int
    cached: bool
    letterbox: bool
    roots: Mapping[str, str]  # source -> absolute folder
    columns: Mapping[str, pa.Array]  # id, source, path
    places: Int[np.ndarray, "n 2"]  # offset and length
    digests: UInt8[np.ndarray, "n 32"]
    _reader: Reader = field(default_factory=Reader)

    @classmethod
    def open(cls, table: pa.Table, size: int, cache_bytes: int = CACHE, *, letterbox: bool = False) -> "Images":
        """Rows of a manifest or split. `cache_bytes=0`: memory does not grow with the number of images."""
        cv2.setNumThreads(0)  # threads inside a loader's process only fight with the training, and die in a fork
        columns = {name: table[name].combine_chunks() for name in ("id", "source", "path")}
        places = np.stack([table[name].to_numpy() for name in ("offset", "length")], axis=1).astype(np.int64)
        digests = np.zeros((table.num_rows, 32), np.uint8)
        for row, digest in enumerate(table["sha256"]):  # as a list of strings they would take ten times the memory
            digests[row] = np.frombuffer(bytes.fromhex(digest.as_py()), np.uint8)
        roots = {source: os.path.abspath(folder) for source, folder in roots_of(table).items()}
        cached = fits(table.num_rows, size, cache_bytes)
        return cls(size, cached, letterbox, roots, columns, places, digests)

    def __post_init__(self) -> None:
        if self.cached:
            self._pixels = _shared(len(self), self.size, self.size, 3)
            self._filled = _shared(len(self))

    def __len__(self) -> int:
        return len(self.places)

    @property
    def kept(self) -> int:
        """Bytes of images that are decoded and stay in memory so far."""
        return int(self._filled.sum()) * 3 * self.size**2 if self.cached else 0

    def __getitem__(self, index: SupportsIndex) -> UInt8[np.ndarray, "size size 3"]:
        """Raises BadInput when the file is not what was ingested."""
        row = range(len(self))[index]  # also makes -1 the last, and an IndexError end an iteration
        if not self.cached:
            return self._read(row, self._reader)
        self._fill([row], self._reader)
        own: np.ndarray = self._pixels[row].copy()  # whoever draws into it must not draw into the cache
        return own

    def original(self, row: int) -> UInt8[np.ndarray, "h w 3"]:
        """A row as large as it is, never cached. Raises BadInput when the file is not what was ingested."""
        return self._original(row, self._reader)

    def encoded(self, row: int) -> bytes:
        """The bytes of a row's file, or member of a tar. Raises BadInput when they are not what was ingested."""
        return self._encoded(row, self._reader)

    def many(self, rows: Int[np.ndarray, " n"]) -> UInt8[np.ndarray, "n size size 3"]:
        """Several rows at once. Raises BadInput when a file is not what was ingested."""
        if not self.cached:
            parts = [self._read(int(row), self._reader) for row in rows]
            return np.stack(parts) if parts else np.zeros((0, self.size, self.size, 3), np.uint8)
        missing = rows[self._filled[rows] == 0]
        workers = min(os.cpu_count() or 1, 8) if self.places[missing, 1].sum() > 1 << 18 else 1  # large files: threads
        if workers == 1:
            self._fill(missing.tolist(), self._reader)
        else:
            with ThreadPoolExecutor(workers) as pool:
                chunks = [missing[first::workers].tolist() for first in range(workers)]
                list(pool.map(lambda chunk: self._fill(chunk, Reader()), chunks))
        found: np.ndarray = self._pixels[rows]
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key not in ("_reader", "_pixels", "_filled")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _reader=Reader())
        self.__post_init__()

    def _fill(self, rows: list[int], reader: Reader) -> None:
        for row in rows:
            if not self._filled[row]:
                self._pixels[row] = self._read(row, reader)
                self._filled[row] = 1  # after the pixels: another process may look at any moment

    def _read(self, row: int, reader: Reader) -> UInt8[np.ndarray, "size size 3"]:
        return (letterbox if self.letterbox else resize)(self._original(row, reader), self.size)

    def _original(self, row: int, reader: Reader) -> UInt8[np.ndarray, "h w 3"]:
        try:
            return decode(self._encoded(row, reader))
        except Unusable as error:
            raise self._changed(row, str(error)) from error

    def _encoded(self, row: int, reader: Reader) -> bytes:
        offset, length = map(int, self.places[row])
        try:
            data = reader.read(self._file(row), offset, length)
        except OSError as error:
            raise self._changed(row, error.strerror or str(error)) from error
        if hashlib.sha256(data).digest() != self.digests[row].tobytes():
            raise self._changed(row, "other bytes than were ingested")
        return data

    def _file(self, row: int) -> str:
        return os.path.join(self.roots[self._text("source", row)], self._text("path", row))

    def _text(self, column: str, row: int) -> str:
        text: str = self.columns[column][row].as_py()
        return text

    def _changed(self, row: int, what: str) -> BadInput:
        name = self._text("id", row)
        return BadInput(
            f"{name}: {self._file(row)}: {what}. The images changed since they were ingested: `dvc repro ingest`"
        )


def fits(rows: int, size: int, cache_bytes: int = CACHE) -> bool:
    """Whether so many images stay in memory once they are decoded."""
    return rows * size * size * 3 <= cache_bytes


def _shared(*shape: int) -> np.ndarray:
    """Zeros that forked processes share; a page takes memory when it is first written."""
    size = int(np.prod(shape))
    return np.frombuffer(mmap.mmap(-1, max(size, 1)), np.uint8)[:size].reshape(shape)
