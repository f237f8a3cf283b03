"""Every method on one teacher, student and budget:  python -m flows.compare [SPLIT TEACHER [LABELS]]"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from flows.artifacts import Shown
from flows.child import Failed
from flows.reproduce import Reproduce, checkout
from flows.server import by_hand
from tasks.closed_pipe import quiet
from tasks.text import as_typed

OURS = ("work/split", "work/teacher", "work/rounds/1/labels")  # what the pipeline makes, and the stages that make it
STAGES = ("teacher", "pseudo_label@1")
OUT = "work/compare"


@flow
def compare(inputs: Sequence[str] = (), out: str = OUT) -> None:
    """Train a student by every method, with several seeds, and put gain and cost beside plain training's.

    Without `inputs` (split, teacher, and the teacher's pseudo-labels) DVC brings the pipeline's own up to date first.
    """
    with checkout() as reproduce:
        if not inputs:
            reproduce(*STAGES)
        paths = [*(inputs or OURS), out]
        names = json.loads(reproduce.run("tasks.compare", "names").splitlines()[-1])
        failed = []
        for name in names:  # one at a time: the time of a step is measured
            run = run_method.with_options(name="method", task_run_name=name).submit(reproduce, name, paths)
            run.wait()
            if not run.state.is_completed():
                failed.append(name)
        show(reproduce, paths)
        if failed:
            raise Failed(f"not all methods finished: {', '.join(failed)}. The table says what is missing")


@task(cache_policy=NO_CACHE)
def run_method(reproduce: Reproduce, name: str, paths: Sequence[str]) -> None:
    """All seeds of a method. Those that are finished are kept."""
    for line in reproduce.run("tasks.compare", "one", name, *paths).splitlines():
        if not line.startswith("@progress"):
            get_run_logger().info(line)


@task(task_run_name="show", cache_policy=NO_CACHE)
def show(reproduce: Reproduce, paths: Sequence[str]) -> None:
    """The table, with its plot, as an artifact."""
    reproduce.run("tasks.compare", "table", *paths)
    text = (reproduce.root / paths[-1] / "compare.md").read_text()
    Shown("compare").markdown(text, key="compare", description="Every method on one budget")


@quiet
def main() -> int:
    arguments = argparse.ArgumentParser(prog="python -m flows.compare", description=compare.description)
    arguments.add_argument("inputs", nargs="*", help="SPLIT TEACHER [LABELS] (default: the pipeline's, by DVC)")
    arguments.add_argument("--out", default=OUT, help=f"folder of the results (default: {OUT})")
    asked = arguments.parse_args()
    if failed := by_hand(lambda: compare(asked.inputs, asked.out)):
        return failed
    text = (Path(asked.out) / "compare.md").read_text()
    print(f"\n{as_typed(text.partition('![')[0])}Plot: {(Path(asked.out) / 'compare.png').resolve()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
