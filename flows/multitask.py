"""Four teachers, each of one task, and one student of all:  python -m flows.multitask"""

import sys
from pathlib import Path

from prefect import flow

from flows.reproduce import Reproduce, Run, checkout
from flows.server import main_of

FOLDER = Path("work/multitask/report")


def teach(reproduce: Reproduce) -> list[Run]:
    """Scenes shared out among the tasks, teachers side by side, a student of what they say; all tested and shown."""
    reproduce("fetch", "compose", "multi_scenes_split", "multi_split")
    tasks = reproduce.each("multi_teacher")
    with reproduce.beside("multi_test@union", *(f"multi_evaluate@{task}" for task in tasks)):
        reproduce(*(f"multi_label@{task}" for task in tasks))
        reproduce("multi_student", "multi_test@student")
    return reproduce("multi_report")


@flow
def multitask(workers: int = 2) -> None:
    """Train a teacher a task, label the pool with all of them, train one student, compare it with them."""
    with checkout(workers=workers) as reproduce:
        teach(reproduce)


def told() -> str:
    return f"{(FOLDER / 'summary.md').read_text()}\nReport: {(FOLDER / 'report.html').resolve()}"


if __name__ == "__main__":
    sys.exit(main_of(multitask, told))
