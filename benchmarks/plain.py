"""Stages of dvc.yaml as plain commands, for a machine without DVC: what a stage needs runs first, several at a time.

A stage whose outputs are there is not run again, whatever has changed: unlike `dvc repro` it knows no staleness.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Semaphore

from tasks.graph import Stage, needed, stages


def run(folders: Sequence[Path], target: str, *, parallel: int) -> None:
    """Bring `target` about in each folder, at most `parallel` commands at a time. Raises CalledProcessError."""
    wanted = [(folder, needed(stages(folder), target)) for folder in folders]
    slots = Semaphore(parallel)
    with ThreadPoolExecutor(max(1, sum(len(each) for _, each in wanted))) as pool:  # most of them only wait
        ends = [future for folder, each in wanted for future in _begin(pool, folder, each, slots).values()]
        for end in ends:
            end.result()


def _begin(
    pool: ThreadPoolExecutor, folder: Path, wanted: dict[Stage, list[Stage]], slots: Semaphore
) -> dict[Stage, Future[None]]:
    ends: dict[Stage, Future[None]] = {}

    def begin(stage: Stage) -> Future[None]:
        if stage not in ends:
            before = [begin(one) for one in wanted[stage]]
            ends[stage] = pool.submit(_carry_out, folder, stage, before, slots)
        return ends[stage]

    for stage in wanted:
        begin(stage)
    return ends


def _carry_out(folder: Path, stage: Stage, before: list[Future[None]], slots: Semaphore) -> None:
    for one in before:
        one.result()
    if all((folder / path).exists() for path in stage.writes):
        return
    program, *arguments = shlex.split(stage.command)
    program = sys.executable if program == "python" else program
    paths = ["src", *filter(None, [os.environ.get("PYTHONPATH")])]  # the code of that folder
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TUTELAGE_FLOW": str(os.getpid())}  # ends with us
    with slots:
        subprocess.run([program, *arguments], cwd=folder, env=env, check=True)
