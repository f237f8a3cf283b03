import numpy as np
import pytest
from markdown_it import MarkdownIt

from tasks.gallery import Shot, Strip, sheet
from tasks.text import Markup, aligned, as_typed, bullets, change, duration, percent, points, table

NAMES = [
    "<unknown>", "__background__", "_misc_", "![x](http://evil.example/t.png)", "[a](b)", "[a][b]", "images[0]",
    "*a* `b`", "a|b", "a\\|b", "a\\", "R&amp;D", "~~old~~", "snake_case", "a < b", "work/rounds/1_", "\\_a_", "a\nb",
]  # fmt: skip


@pytest.mark.parametrize("share", [-0.0004, -0.0, 0.0, 0.0004])
def test_nothing_has_no_minus(share):
    assert (points(share), change(share), percent(share)) == ("0.0", "+0.0", "0.0 %")


def test_numbers_keep_their_sign_and_none_is_a_dash():
    assert (points(-0.0125, digits=2), change(-0.012), change(0.125), percent(-0.012)) == (
        "-1.25", "-1.2", "+12.5", "-1.2 %",
    )  # fmt: skip
    assert points(None) == percent(None) == "-"


def test_seconds_are_told_in_two_units_at_most():
    told = {0.42: "0.4 s", 9.9: "9.9 s", 45.4: "45 s", 59.6: "1 min 0 s", 83.0: "1 min 23 s", 7_499.0: "2 h 4 min"}
    assert [duration(seconds) for seconds in told] == list(told.values())


def test_columns_are_as_wide_as_their_longest_cell():
    assert aligned(["a", "b"], [["long", "1"], ["c", ""]]) == "a     b\nlong  1\nc"


def read(markdown):
    """What a reader sees of its running text and cells: nothing but text may be in them."""
    inline = [token.children for token in MarkdownIt("gfm-like", {"linkify": False}).parse(markdown) if token.children]
    assert {child.type for line in inline for child in line} == {"text"}
    return ["".join(child.content for child in line) for line in inline]


def test_names_in_a_table_are_read_as_they_are_written():
    told = table(["class"], [[name] for name in NAMES])
    assert read(told) == ["class", *(name.replace("\n", " ") for name in NAMES)]
    assert {"| snake_case |", "| a < b |", "| images[0] |"} <= {*told.splitlines()}  # no reader takes them for markup
    assert as_typed(told).splitlines()[2:] == [f"| {name} |".replace("\n", " ") for name in NAMES]


def test_names_below_a_picture_are_read_as_they_are_written():
    image = np.zeros((4, 4, 3), np.uint8)
    shots = [Shot(image, name, 0.5, None, [f"truth: {name}"]) for name in NAMES]
    told = sheet(Strip("Surest", "kept", shots)).rpartition("\n\n")[2]
    seen = [name.replace("\n", " ") for name in NAMES]
    assert read(told) == ["; ".join(f"{name} 0.50 (truth: {name})" for name in seen)]


def test_names_in_a_list_are_read_as_they_are_written():
    told = "\n".join(bullets(f"labelled.json lists {name} once more" for name in NAMES))
    assert read(told) == [f"labelled.json lists {name} once more".replace("\n", " ") for name in NAMES]


def test_a_cell_may_be_markup_on_purpose():
    assert table(["rule"], [[Markup("**failed**")]]).splitlines()[-1] == "| **failed** |"
