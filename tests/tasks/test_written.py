"""Values of a YAML file change; the rest stays byte for byte."""

import pytest

from tasks.written import read, rewrite

TEXT = """# Äll of it
a:
  b: 1 # of b
  c: # a block
    d: [1, 2]
    e: "two"

# of f
f: {g: 1, h: {}} # behind
i: # nothing
"""


@pytest.mark.parametrize(
    ("values", "old", "new"),
    [
        ({"a.b": None}, "b: 1 #", "b: null #"),
        ({"a.c": None}, '\n    d: [1, 2]\n    e: "two"\n', "\n    null\n"),
        ({"a.c.d": {"x": "ö: 1"}, "f.g": 2.5}, "d: [1, 2]", "d: {x: 'ö: 1'}"),
        ({"a.new": True}, '    e: "two"\n', '    e: "two"\n  new: true\n'),
        ({"a.c.new": [1]}, 'e: "two"\n', 'e: "two"\n    new: [1]\n'),
        ({"f.new": "x", "f.h.new": "none"}, "{}} #", "{new: none}, new: x} #"),
        ({"new": 1}, "# nothing\n", "# nothing\nnew: 1\n"),
        ({"i": {"j": 1}}, "i: #", "i: {j: 1} #"),
    ],
)
def test_what_is_not_asked_for_stays(values, old, new):
    found = rewrite(TEXT, values)
    assert found == TEXT.replace(old, new).replace("g: 1", "g: 2.5" if "f.g" in values else "g: 1")
    for name, value in values.items():
        content = read(found)
        for part in name.split("."):
            content = content[part]
        assert content == value


def test_a_section_that_is_not_there():
    with pytest.raises(KeyError):
        rewrite(TEXT, {"nowhere.b": 1})
