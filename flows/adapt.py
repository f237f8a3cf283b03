"""From a labelled domain to one without labels:  python -m flows.adapt"""

import sys
from pathlib import Path

from prefect import flow

from flows.reproduce import Reproduce, Run, checkout
from flows.server import main_of

REPORT = Path("work/adapt/report/report.md")


def move(reproduce: Reproduce) -> list[Run]:
    """Two domains, a model of the source, what has moved; then ways to adapt, rounds, and a choice without labels."""
    reproduce("adapt_split")
    reproduce("adapt_source")
    with reproduce.beside("drift"):
        reproduce("translate")
        reproduce(*(f"adapt_student@{name}" for name in reproduce.each("adapt_student")))
        reproduce("adapt_features")
        for n in reproduce.each("adapt_round"):
            reproduce(f"adapt_calibrate@{n}")
            reproduce(f"adapt_label@{n}")
            reproduce(f"adapt_round@{n}")
            reproduce(f"adapt_guard@{n}")
    return reproduce("adapt_choose", "adapt_report")


@flow
def adapt(workers: int = 2) -> None:
    """Adapt the source's model in every way that params name, go on in rounds, choose one without target labels."""
    with checkout(workers=workers) as reproduce:
        move(reproduce)


def told() -> str:
    return f"{Path('work/adapt/drift/report.md').read_text()}\n{REPORT.read_text()}"


if __name__ == "__main__":
    sys.exit(main_of(adapt, told))
