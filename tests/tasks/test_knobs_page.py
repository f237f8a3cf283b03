"""docs/params.md tells of all that params.yaml may say."""

import re

import pytest
from project import ROOT, known

from tasks.knobs_page import MADE, NAMED, render


@pytest.fixture(scope="module")
def page():
    return render()


def test_the_page_of_params_is_not_stale(page):
    assert (ROOT / "docs/params.md").read_text() == page, "run: python -m tasks.knobs_page > docs/params.md"


def test_no_field_of_params_is_without_a_meaning(page):
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert [row for row in rows if row.endswith("|  |")] == [], "write a comment on the field"


def test_every_section_and_every_loop_has_its_table(page):
    heads = "\n".join(line for line in page.splitlines() if line.startswith("## "))
    for name, table in vars(known()).items():
        assert hasattr(type(table), "__dataclass_fields__") <= (f"`{name}`" in heads), name
    for name in MADE.keys() | {name for table in NAMED for name in table}:
        assert f"`{name}`" in page, name


def test_defaults_ranges_and_comments_of_several_lines_are_shown(page):
    assert "| `score_floor` | `0.05` |  | what is less sure is not answered |" in page
    assert re.search(r"\| `boxes` \| `\[0.02, 2.0\]` \| .* \| kept boxes .* labelled image: fewest, most \|", page)
    assert "| `max_drop` | `0.02` | >= 0, <= 1 | hold-out accuracy" in page
    assert "`nat_kd`: word 0.0" in page
