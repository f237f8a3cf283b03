"""Numbers and tables as Markdown."""

import re
from collections.abc import Iterable, Sequence

# What a reader of Markdown takes for markup: of `_` not one inside a word, of `]` a link's, of `<` and `&` no lone one.
MARKUP = re.compile(r"[\\`*|~]|(?<![^\W_])_|_(?![^\W_])|\](?=[(\[:])|<(?=[a-zA-Z/!?])|&(?=[#\w]+;)")
ESCAPED = re.compile(r"\\([\\`*|~_\]<&])")


class Markup(str):
    """A cell that is Markdown on purpose."""


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table. A class may be called "a|b" or "<unknown>": cells are read as they are written."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def literal(content: object) -> str:
    """One line of Markdown that is read as it is written: names are other people's, and an image in one is loaded."""
    return MARKUP.sub(r"\\\g<0>", " ".join(str(content).splitlines()))


def bullets(sentences: Iterable[str]) -> list[str]:
    """Lines of Markdown: a list of sentences, which have names in them."""
    return [f"- {literal(each)}" for each in sentences]


def as_typed(markdown: str) -> str:
    """For a terminal: names without the backslashes that Markdown needs."""
    return ESCAPED.sub(r"\1", markdown)


def aligned(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table for a terminal: columns as wide as their longest cell, two blanks between them."""
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def percent(share: float | None, digits: int = 1) -> str:
    """0.125 -> "12.5 %"; "-" where there is no number."""
    return "-" if share is None else f"{100 * share:z.{digits}f} %"


def points(share: float | None, *, digits: int = 1) -> str:
    """A share of AP in points: 0.125 -> "12.5"; "-" where there is no number, and never "-0.0"."""
    return "-" if share is None else f"{100 * share:z.{digits}f}"


def change(share: float) -> str:
    """A difference of AP in points, with its sign: 0.125 -> "+12.5"."""
    return f"{100 * share:+z.1f}"


def duration(seconds: float) -> str:
    """0.42 -> "0.4 s", 83 -> "1 min 23 s", 7_500 -> "2 h 5 min"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def listed(names: Sequence[str]) -> str:
    """["a", "b", "c"] -> "a, b and c"."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def first_few(names: Sequence[str], most: int) -> str:
    """Of ["a", "b", "c"] and 2, "a, b and 1 more"."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _cell(content: object) -> str:
    return content if isinstance(content, Markup) else literal(content)
