"""Images listed in a CSV with the columns image and label, and, if wanted, domain."""

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tutelage.data.folders import class_name, locate
from tutelage.data.records import Found, Scan
from tutelage.types import BadInput

_WAY_OUT = "Rename yours: image is a path relative to the CSV's folder, label a class name"
_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


class Sheet(NamedTuple):
    """A CSV as text, and how it was written."""

    text: str
    encoding: str
    delimiter: str


def read_sheet(path: Path) -> Sheet:
    """A CSV of a spreadsheet's or an editor's: comma, semicolon, tab or bar; UTF-8 or UTF-16. Raises BadInput."""
    text, encoding = _text(path)
    return Sheet(text, encoding, max(",;\t|", key=text.partition("\n")[0].count))


def header_of(sheet: Sheet) -> list[str]:
    """The names of its columns as they are compared: in lower case."""
    first: list[str] = next(_reader(sheet), [])
    return [name.strip().lower() for name in first]


def rows_of(
    path: Path, sheet: Sheet, needed: tuple[str, ...], others: tuple[str, ...] = ()
) -> Iterator[tuple[int, dict[str, str]]]:
    """The cells of these columns, "" where a row has none, with the number of the line that each row ends on.

    Raises BadInput where a `needed` column is not there once, or a row has more cells than columns.
    """
    rows = _rows(path, _reader(sheet, strict=True))
    _, header = next(rows, (1, []))
    columns = _columns(path, header, needed, others)
    for number, row in rows:
        if any(cell.strip() for cell in row[len(header) :]):
            raise BadInput(
                f"{path}, line {number}: {len(row)} cells under a header of {len(header)}. Put a name or label that "
                f"has a {sheet.delimiter!r} in it in double quotes"
            )
        yield number, {name: row[place].strip() if place < len(row) else "" for name, place in columns.items()}


def scan_table(path: Path, boundary: str, scan: Scan) -> None:
    """Each row's image, relative to the CSV's folder. A pool needs no label column, and nothing a domain. Raises
    BadInput.
    """
    scan.table = True
    needed = ("image", "label") if scan.source != "pool" else ("image",)
    for number, row in rows_of(path, read_sheet(path), needed, ("label", "domain")):
        label, domain = class_name(row.get("label", "")) or None, row.get("domain", "")
        if row["image"]:
            _add(path.parent, row["image"], boundary, scan, label=label, domain=domain)
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


def _text(path: Path) -> tuple[str, str]:
    data = path.read_bytes()
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding), encoding
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise BadInput(f"{path}, line {line}: not {encoding.upper()} text. Save the CSV as UTF-8") from error


def _columns(path: Path, header: list[str], needed: tuple[str, ...], others: tuple[str, ...]) -> dict[str, int]:
    """Where what is asked for stands in a row; of `others` only what is there."""
    names = [name.strip().lower() for name in header]
    missing = [name for name in needed if names.count(name) != 1]
    if missing:
        raise BadInput(
            f"{path}: the header is {', '.join(header) or 'empty'}, and needs the column(s) {' and '.join(missing)} "
            f"once. {_WAY_OUT}"
        )
    return {name: names.index(name) for name in (*needed, *others) if name in names}


def _reader(sheet: Sheet, *, strict: bool = False) -> Any:
    """Of cells; a blank behind a comma is no part of what follows, which may be in quotes."""
    text = io.StringIO(sheet.text, newline="")
    return csv.reader(text, delimiter=sheet.delimiter, skipinitialspace=True, strict=strict)


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
