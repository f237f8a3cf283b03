"""The table at the end of a compression; its stages are tested in tests/tasks, its order in test_retrain.py."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import flow, get_client
from prefect.client.schemas.filters import ArtifactFilter
from toy import Server, Toy

from flows.compress import rows, show_files, shrink
from flows.production import see_that_all_is_up_to_date
from flows.reproduce import checkout
from flows.retrain import CLASSIFIER
from tasks.io import write_json

KINDS = ("fp16", "fp32", "int8")


def exported(folder: Path, latency_of: str = "a1") -> Path:
    for place, name in enumerate(("teacher", "student")):
        into = folder / "export" / name
        into.mkdir(parents=True)
        variants = {k: {"bytes": 1000 - 10 * place, "accuracy": 0.875, "max_difference": 1e-6} for k in KINDS}
        write_json(into / "export.json", {"model": "a1", "variants": variants})
        took = {k: {"1": 0.5, "32": 0.25} for k in KINDS}
        write_json(into / "latency.json", {"model": latency_of, "milliseconds_per_image": took})
    (folder / "judge").mkdir()
    write_json(folder / "judge/verdict.json", {"reasons": ["The teacher stays.", "size: it is large"]})
    return folder


def test_one_row_a_file_with_what_it_weighs_takes_and_is_worth(tmp_path: Path) -> None:
    table = rows(exported(tmp_path))
    assert [(row["model"], row["precision"]) for row in table] == [
        (m, k) for m in ("teacher", "student") for k in KINDS
    ]
    assert table[4] == {
        "model": "student", "precision": "fp32", "bytes": 990, "accuracy": "87.50%", "ms an image, batch 1": "0.500",
        "ms an image, batch 32": "0.250", "largest difference to PyTorch": "1e-06",
    }  # fmt: skip


def test_a_latency_of_another_model_or_none_is_not_shown(tmp_path: Path) -> None:
    folder = exported(tmp_path, latency_of="b2")
    assert rows(folder)[0]["ms an image, batch 1"] == "-"
    (folder / "export/teacher/latency.json").unlink()
    assert [row["ms an image, batch 32"] for row in rows(folder)] == ["-"] * 6


class Calls:
    """Stands in for Reproduce: each call's milestones, and where what runs beside the block has ended."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, ...]] = []

    def __call__(self, *milestones: str) -> list[Any]:
        self.seen.append(milestones)
        return []

    @contextmanager
    def beside(self, *milestones: str) -> Iterator[None]:
        yield
        self.seen.append(("ended", *milestones))

    def each(self, template: str) -> list[str]:
        return ["1"]


def test_what_measures_time_runs_alone() -> None:
    calls = Calls()
    shrink(calls)  # type: ignore[arg-type]
    assert calls.seen[-4:] == [
        ("ended", "compact_evaluate@baseline"), ("export@teacher",), ("export@student",), ("compact_judge",),
    ]  # fmt: skip


@flow
def showing(folder: Path) -> None:
    show_files(folder)


def test_the_table_is_an_artifact_that_says_the_verdict(server: Server, tmp_path: Path) -> None:
    state = showing(exported(tmp_path), return_state=True)
    flow_run: UUID | None = state.state_details.flow_run_id
    with get_client(sync_client=True) as client:
        (found,) = client.read_artifacts(artifact_filter=ArtifactFilter(flow_run_id={"any_": [flow_run]}))
    assert (found.type, found.key, found.description) == ("table", "compressed", "The teacher stays. size: it is large")


@flow
def only_the_rounds(root: Path, milestone: str) -> None:
    with checkout(root) as reproduce:
        reproduce(milestone)
        see_that_all_is_up_to_date(reproduce, CLASSIFIER)


def test_a_night_does_not_fail_on_stages_of_another_story(toy: Toy) -> None:
    toy.stages(judge={"cmd": "echo > judge", "outs": ["judge"]}, compact={"cmd": "echo > compact", "outs": ["compact"]})
    assert only_the_rounds(toy.root, "judge", return_state=True).is_completed()
    assert not (toy.root / "compact").exists()
    assert "compact" in toy.dvc("status", "--json")
