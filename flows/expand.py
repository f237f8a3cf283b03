"""Grow a better classifier from few labels:  python -m flows.expand"""

import sys
from pathlib import Path

from prefect import flow

from flows.reproduce import Reproduce, Run, checkout
from flows.server import main_of


def grow(reproduce: Reproduce) -> list[Run]:
    """Images, a teacher, then rounds of labels and students beside what they are compared with; verdict and report."""
    reproduce("fetch", "doctor")  # your own images need no `fetch`, but then it must be up to date too
    rounds = reproduce.each("student")
    references = [f"reference@{line}" for line in ("baseline", "oracle", "teacher")]
    with reproduce.beside(*references, *(f"evaluate@{n}" for n in rounds)):
        reproduce("teacher")
        for n in rounds:
            reproduce(f"calibrate@{n}")
            reproduce(f"pseudo_label@{n}")
            reproduce(f"student@{n}")
            reproduce(f"guard@{n}")
        reproduce("reference@candidate")
    return reproduce("judge", "report")


@flow
def expand(workers: int = 2) -> None:
    """Grow students from a few labels and the pool until the guard or the last round says stop, and judge the last."""
    with checkout(workers=workers) as reproduce:
        grow(reproduce)


def told() -> str:
    return f"{Path('reports/summary.md').read_text()}\nReport: {Path('reports/report.html').resolve()}"


if __name__ == "__main__":
    sys.exit(main_of(expand, told))
