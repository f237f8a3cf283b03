"""Grow a better detector from a few images with boxes:  python -m flows.detect"""

import sys
from pathlib import Path

from prefect import flow

from flows.reproduce import Reproduce, Run, checkout
from flows.server import main_of

FOLDER = Path("work/detection")


def find(reproduce: Reproduce) -> list[Run]:
    """Scenes, a teacher, then rounds of boxes and students beside what they are compared with; verdict and report."""
    reproduce(
        "fetch", "compose", "scenes_split"
    )  # your own images need no scenes, but then these must be up to date too
    with reproduce.beside(*(f"box_evaluate@{line}" for line in ("baseline", "teacher", "oracle"))):
        reproduce("detector@teacher")
        for n in reproduce.each("box_student"):
            reproduce(f"box_label@{n}")
            reproduce(f"box_names@{n}")
            reproduce(f"box_student@{n}")
            reproduce(f"box_guard@{n}")
    return reproduce("box_judge", "box_report")


@flow
def detect(workers: int = 2) -> None:
    """Grow detectors from a few boxes and the pool until the guard or the last round says stop, and judge the last."""
    with checkout(workers=workers) as reproduce:
        find(reproduce)


def told() -> str:
    return f"{(FOLDER / 'report/summary.md').read_text()}\nReport: {(FOLDER / 'report/report.html').resolve()}"


if __name__ == "__main__":
    sys.exit(main_of(detect, told))
