"""The pixels of a target without labels, from a labelled source:  python -m flows.adapt_scenes"""

import sys
from pathlib import Path

from prefect import flow

from flows.reproduce import Reproduce, Run, checkout
from flows.server import main_of

REPORT = Path("work/adapt_scenes/report/summary.md")


def cross(reproduce: Reproduce) -> list[Run]:
    """Scenes of two domains; the source alone, then the candidates, the rest beside them; all tested on the target."""
    reproduce("adapt_scenes_split")
    with reproduce.beside("adapt_scenes_train@baseline", "adapt_scenes_train@oracle"):
        reproduce(*(f"adapt_scenes_student@{name}" for name in reproduce.each("adapt_scenes_student")))
    return reproduce("adapt_scenes_report")


@flow
def adapt_scenes(workers: int = 2) -> None:
    """Name the pixels of the target in every way that params name, between the source alone and the oracle."""
    with checkout(workers=workers) as reproduce:
        cross(reproduce)


if __name__ == "__main__":
    sys.exit(main_of(adapt_scenes, REPORT.read_text))
