"""Bytes from the middle of files that stay open."""

import os
from collections import OrderedDict


class Reader:
    """Reads at random from many files and keeps the last few open, since shards are read again and again.

    One for each thread. It survives a fork: reads give their own offset, so processes do not move each other's.
    """

    def __init__(self, keep: int = 32):
        self._keep = keep
        self._handles: OrderedDict[str, int] = OrderedDict()

    def read(self, path: str, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`, fewer where the file ends before. Raises OSError."""
        handle, parts = self._handle(path), []
        while length > 0:
            part = os.pread(handle, length, offset)  # at most 2 GiB at once
            if not part:
                break
            parts.append(part)
            offset, length = offset + len(part), length - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        while self._handles:
            os.close(self._handles.popitem()[1])

    def __del__(self) -> None:
        self.close()

    def _handle(self, path: str) -> int:
        if path in self._handles:
            self._handles.move_to_end(path)
            return self._handles[path]
        if len(self._handles) >= self._keep:
            os.close(self._handles.popitem(last=False)[1])
        self._handles[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return self._handles[path]
