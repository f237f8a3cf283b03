"""A flow names milestones; DVC's graph says what they need."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prefect import get_client, get_run_logger
from prefect.exceptions import Abort, ObjectNotFound
from prefect.futures import PrefectFuture, as_completed
from prefect.runtime import flow_run
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Cancelled

from flows.child import Children, Failed
from flows.dag import Dag, ancestors, load
from flows.lock import alone, forget_the_dead
from flows.record import keep, mend
from flows.stage import run_stage
from flows.warm import warm

Run = PrefectFuture[Any]

LATER = 10  # niceness of a stage that the story does not wait for yet: it gets what the others leave of the cores


@contextmanager
def checkout(root: Path = Path(), workers: int = 2, patience: float = 0) -> Iterator["Reproduce"]:
    """The repository at `root`, for one flow alone. However the block is left, no child outlives it.

    Another flow that is at work there is waited for, `patience` seconds at most.
    """
    if workers < 1:
        raise ValueError(f"workers is {workers}: at least 1")
    if not (root / "dvc.yaml").exists():
        raise ValueError(f"{root.resolve()} holds no dvc.yaml: run this in the root of the repository")
    run = f"{flow_run.flow_name}, run {flow_run.name}"
    with alone(root, run, patience, get_run_logger().warning), warm(root) as children:
        forget_the_dead(root)
        mend(root)
        yield Reproduce(root, children, workers)


class Reproduce:
    """`reproduce("student@2")` brings a stage and all that it needs up to date, each stage once in a flow run."""

    def __init__(self, root: Path, children: Children, workers: int) -> None:
        self.root, self.children, self.workers = root, children, workers
        self._wanted: list[str] = []  # stages still to be started, the most urgent first
        self._runs: dict[str, Run] = {}  # those that were started
        self._running: dict[Run, str] = {}
        self._done: set[str] = set()
        self._failed: list[str] = []

    @cached_property
    def dag(self) -> Dag:
        return load(self.root)

    def __call__(self, *milestones: str) -> list[Run]:
        """Returns when the milestones and all their ancestors are up to date: `workers` at a time, as the graph allows.

        After a failure nothing new is started, and what runs may finish. Raises Failed, naming the stages that did.
        """
        missing = self._missing(milestones)
        self._wanted = missing + [name for name in self._wanted if name not in missing]
        return self._work(milestones)

    @contextmanager
    def beside(self, *milestones: str) -> Iterator[None]:
        """The milestones get workers and processor where the block leaves them, and are up to date at its end."""
        self._wanted += self._missing(milestones)
        yield
        self._work(milestones)

    def each(self, template: str) -> list[str]:
        """The keys of a `foreach` of dvc.yaml, in its order."""
        return [name.removeprefix(f"{template}@") for name in self.dag if name.startswith(f"{template}@")]

    def imports(self) -> list[str]:
        """The .dvc files whose data `dvc update` fetches anew."""
        return [name for name, stage in self.dag.items() if stage.imported]

    def touched(self) -> set[str]:
        """What the milestones of this flow run needed, and the data that `dvc update` may have fetched anew."""
        return {*self._runs, *self.imports()}

    def run(self, *arguments: str) -> str:
        """`python -m ARGUMENTS` in the repository, as a child of this flow run. Returns what it printed."""
        return self.children.run(*arguments, root=self.root)

    @cached_property
    def _limited(self) -> bool:
        return any(stage.policy.gpu for stage in self.dag.values()) and limit_exists("gpu")

    def _missing(self, milestones: tuple[str, ...]) -> list[str]:
        needed = ancestors(self.dag, milestones)
        return [name for name in self.dag if name in needed and name not in self._runs]

    def _work(self, milestones: tuple[str, ...]) -> list[Run]:
        awaited = ancestors(self.dag, milestones)
        while not self._done.issuperset(milestones):
            see_that_it_is_wanted()
            for name in [name for name in self._wanted if self._done.issuperset(self.dag[name].needs)]:
                if len(self._running) < self.workers and not self._failed:
                    self._start(name, 0 if name in awaited else LATER)
            if not self._running:
                raise Failed("\n".join(self._failed))
            self._finish(next(as_completed(list(self._running))))
        return [self._runs[name] for name in milestones]

    def _start(self, name: str, niceness: int) -> None:
        stage = self.dag[name]
        run = run_stage.with_options(
            name=name.partition("@")[0],
            task_run_name=name,
            retries=stage.policy.retries,
            retry_delay_seconds=stage.policy.retry_delay,
        )
        needed = [self._runs[need] for need in stage.needs]
        gpus = stage.policy.gpu if self._limited else 0
        given = (stage, self.root, self.children, gpus, niceness)
        future = run.submit(*given, wait_for=needed, return_state=False)
        self._wanted.remove(name)
        self._runs[name] = future
        self._running[future] = name

    def _finish(self, run: Run) -> None:
        run.wait()
        name = self._running.pop(run)
        if run.state.is_completed():
            self._done.add(name)
            keep(self.root)
        else:
            self._failed.append(f"{name}: {run.state.message}")


def see_that_it_is_wanted() -> None:
    """Raises Abort where somebody has cancelled this flow run: one started by hand has no worker that would end it."""
    if not flow_run.id:
        return
    number = UUID(flow_run.id)
    try:
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}), get_client(sync_client=True) as client:
            state = client.read_flow_run(number).state
            if state and (state.is_cancelling() or state.is_cancelled()):
                client.set_flow_run_state(number, Cancelled(), force=True)
                raise Abort("Somebody has cancelled this run. Finished stages are kept: the next one continues.")
    except (httpx.HTTPError, ObjectNotFound):
        return  # a server that is away, or was set up anew, has cancelled nothing


def limit_exists(name: str) -> bool:
    """Whether the server knows this global concurrency limit."""
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound:
            advice = f"`prefect gcl create {name} --limit 1` would let one stage at a time have it"
            get_run_logger().info("there is no limit %r: %s", name, advice)
            return False
    return True
