"""Code that a page of the repository shows, to run it."""

import re

from project import ROOT


def run(page: str) -> dict[str, object]:
    """What the blocks of Python of a page define, one after the other."""
    shown: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL):
        exec(block, shown)
    return shown
