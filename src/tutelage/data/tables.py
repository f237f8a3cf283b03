"""Images listed in a CSV with the columns image and label, and, if wanted, domain."""

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tutelage.data.folders import class_name, locate
from tutelage.data.records import Found, Scan
from tutelage.types import BadInput

_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def scan_table(path: Path, boundary: str, scan: Scan) -> None:
    """Each row's image, relative to the CSV's folder. A pool needs no label column, and nothing a domain. Raises
    BadInput.
    """
    scan.table = True
    text = _text(path)
    first, _, _ = text.partition("\n")
    delimiter = max(",;\t|", key=first.count)
    rows = _rows(path, csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    _, header = next(rows, (1, []))
    columns = _columns(path, header, needs_label=scan.source != "pool")
    for number, row in rows:
        if any(cell.strip() for cell in row[len(header) :]):
            raise BadInput(
                f"{path}, line {number}: {len(row)} cells under a header of {len(header)}. Put a name or label that "
                f"has a {delimiter!r} in it in double quotes"
            )
        written, label, domain = (
            row[place].strip() if place is not None and place < len(row) else "" for place in columns
        )
        if written:
            _add(path.parent, written, boundary, scan, label=class_name(label) or None, domain=domain)
        else:
            scan.refuse(f"{path.name}:{number}", "unreadable", "the row names no image")


def _add(folder: Path, written: str, boundary: str, scan: Scan, *, label: str | None, domain: str) -> None:
    name, problem = locate(folder, written, boundary, "the CSV's folder")
    if problem is not None:
        scan.refuse(name, *problem)
    elif label is None and scan.source != "pool":
        scan.refuse(name, "unknown_label", "its row has no label")
    else:
        length = os.stat(folder / name).st_size
        scan.found.append(Found(f"{scan.source}/{name}", scan.source, name, 0, length, label, domain))


def _text(path: Path) -> str:
    data = path.read_bytes()
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise BadInput(f"{path}, line {line}: not {encoding.upper()} text. Save the CSV as UTF-8") from error


def _columns(path: Path, header: list[str], *, needs_label: bool) -> tuple[int, int | None, int | None]:
    """Where the image, its label and its domain stand in a row."""
    names = [name.strip().lower() for name in header]
    wanted = ("image", "label") if needs_label else ("image",)
    missing = [name for name in wanted if names.count(name) != 1]
    if missing:
        raise BadInput(
            f"{path}: the header is {', '.join(header) or 'empty'}, and needs the column(s) {' and '.join(missing)} "
            "once. Rename yours: image is a path relative to the CSV's folder, label a class name"
        )
    label, domain = (names.index(name) if name in names else None for name in ("label", "domain"))
    return names.index("image"), label, domain


def _rows(path: Path, lines: Any) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not blank, with the number of the line that each ends on."""
    while True:
        try:
            row = next(lines)
        except StopIteration:
            return
        except csv.Error as error:
            raise BadInput(f"{path}, near line {lines.line_num}: {error}. Save it again as plain CSV") from error
        if any(cell.strip() for cell in row):
            yield lines.line_num, row
