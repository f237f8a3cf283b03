import re

from project import ROOT


def test_what_the_page_shows_runs_and_does_what_it_says(capsys):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/library.md").read_text(), re.DOTALL)
    shown = {}
    for block in blocks:
        exec(block, shown)
    assert shown["right"].float().mean() > 0.9  # of four classes, from 12 labels
    assert shown["gain"].reduction.low > 0
    assert shown["run"].step == 5
    assert "40 {'task'" in capsys.readouterr().out
