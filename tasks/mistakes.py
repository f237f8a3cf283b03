"""What pydantic takes without a word or names without a way out, found in params.yaml by the types of its entries."""

import difflib
import re
import types
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from itertools import repeat
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import BeforeValidator

FEW = 8  # names that are told beside the nearest
# YAML 1.1, as PyYAML reads it, wants a dot and a sign: 5e-4 without quotes is text. What is meant is clear
EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+")
SAID = {"true": ("true", "t", "yes", "y", "on", "1"), "false": ("false", "f", "no", "n", "off", "0")}  # as pydantic


def nearest(word: object, known: Iterable[str]) -> str:
    """ ". Did you mean 'x'?", and what there is when that is little or nothing is near."""
    names = sorted(known)
    close = [name for name in names if name.casefold() == str(word).casefold()]
    close = close or difflib.get_close_matches(str(word), names, n=1)
    if not close:
        return f"; there are: {', '.join(names)}"
    return f". Did you mean {close[0]!r}?" + (f" There are: {', '.join(names)}" if len(names) <= FEW else "")


def mistakes(kind: Any, written: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Dotted names of entries with what is wrong: there is no such entry, or yes stands for a number, 1 for yes, or
    text for either.

    What is parsed from a name and fields is left to `parse_named`, which asks again with the type of that name.
    """
    parts = list(_parts(kind))
    for part in parts:
        origin, arguments = get_origin(part), get_args(part)
        if isinstance(written, dict) and is_dataclass(part):
            yield from _in_section(part, written, name)
        elif isinstance(written, dict) and origin is dict:
            for key, inner in written.items():
                yield from mistakes(arguments[1], inner, _below(name, key))
        elif isinstance(written, list) and origin in (list, tuple):
            kinds = arguments if origin is tuple and ... not in arguments else repeat(arguments[0])
            for number, (item, inner) in enumerate(zip(kinds, written, strict=False)):
                yield from mistakes(item, inner, _below(name, number))
    if wrong := _taken_for_another(written, parts):
        yield name, f"{name} is {wrong} is asked"


def check_changes(spec: Any, changes: dict[str, Any], section: str) -> None:
    """Raise ValueError where `section`, which changes fields of `spec`, names others or gives them wrong values."""
    kind: Any = type(spec)
    found, kinds = dict(mistakes(kind, changes, section)), _fields(kind)
    for key, value in changes.items():  # no pydantic sees them, which would make a number of a 5e-4
        parts = list(_parts(kinds[key])) if key in kinds and isinstance(value, str) else []
        if wanted := _number_or_truth(parts):
            dot = "; YAML wants a dot and a sign in a number such as 5.0e-4" if EXPONENT.fullmatch(value) else ""
            found.setdefault(
                name := _below(section, key), f"{name} is the text {value!r}, where {wanted} is asked{dot}"
            )
    if found:
        raise ValueError("; ".join(found.values()))


def _taken_for_another(written: Any, parts: list[Any]) -> str:
    """A yes that pydantic would take for a number, a number that it would take for a yes, or text for either."""
    number, truth = any(part in (int, float) for part in parts), bool in parts
    if isinstance(written, str):
        meant = _meant(written, parts)
        return f"the text {written!r} (write {meant}, without quotes), where {_number_or_truth(parts)}" if meant else ""
    if isinstance(written, bool):
        return f"{str(written).lower()}, where a number" if number and not truth else ""
    return f"{written}, where true or false" if isinstance(written, int | float) and truth and not number else ""


def _meant(text: str, parts: list[Any]) -> str:
    """The number, or the true or false, that pydantic would take `text` for where one of `parts` is asked."""
    word = text.strip().lower()
    if bool in parts:
        return next((truth for truth, words in SAID.items() if word in words), "")
    if not _number_or_truth(parts) or (float in parts and EXPONENT.fullmatch(word)):
        return ""
    try:
        number = float(word)
    except ValueError:
        return ""
    return f"{number:.0f}" if int in parts and number.is_integer() else word


def _number_or_truth(parts: list[Any]) -> str:
    """What an entry asks for that may be no text; no entry of ours may be either."""
    if int in parts or float in parts:
        return "a number"
    return "true or false" if bool in parts else ""


def _parts(kind: Any) -> Iterator[Any]:
    """The types that an entry may have; none where a function of ours parses it."""
    if get_origin(kind) is Annotated:
        if not any(isinstance(said, BeforeValidator) for said in kind.__metadata__):
            yield from _parts(get_args(kind)[0])
    elif get_origin(kind) in (Union, types.UnionType):
        for part in get_args(kind):
            yield from _parts(part)
    else:
        yield kind


def _in_section(kind: Any, written: dict[Any, Any], name: str) -> Iterator[tuple[str, str]]:
    known = _fields(kind)
    for key, inner in written.items():
        below = _below(name, key)
        if key in known:
            yield from mistakes(known[key], inner, below)
        else:
            yield below, f"{below} is not a parameter{nearest(key, known)}"


@cache
def _fields(kind: Any) -> dict[str, Any]:
    """The types of a section's entries."""
    hints = get_type_hints(kind, include_extras=True)
    return {known.name: hints[known.name] for known in fields(kind)}


def _below(name: str, key: Any) -> str:
    return f"{name}.{key}" if name else str(key)
