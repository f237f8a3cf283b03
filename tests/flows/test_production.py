"""What is said of a promotion, and what has to be up to date after it."""

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prefect import flow
from prefect.client.schemas.objects import State
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES
from toy import Server

from flows import production as shared
from flows.child import Children, Failed
from flows.dag import Stage
from flows.production import Place
from flows.reproduce import Reproduce
from flows.retrain import CLASSIFIER
from tasks.io import write_json

WON = {"promote": True, "reasons": ["So it is."], "winner": "candidate", "digests": {"candidate": "0123"}}


@pytest.fixture
def reproduce() -> Reproduce:
    return Reproduce(Path(), Children(), 2)


def place(judged: Path) -> Place:
    return Place("registry", str(judged), "work/split", "split")


@pytest.mark.parametrize(("answer", "told"), [(False, "A person said no. So it is."), (True, "So it is.")])
def test_what_a_person_said_is_told(
    reproduce: Reproduce, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bool, told: str
) -> None:
    write_json(tmp_path / "verdict.json", WON)
    monkeypatch.setattr(shared, "approved", lambda _: answer)
    for name in ("go_live", "tell_promotion", "store"):
        monkeypatch.setattr(shared, name, lambda *_: None)
    state = shared.conclude(reproduce, place(tmp_path), [], ask=True)
    assert (state.name, state.message) == ("Promoted" if answer else "Kept", told)


def test_an_answer_is_about_the_verdict_that_was_asked_about(
    reproduce: Reproduce, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(verdict: dict[str, Any]) -> bool:
        write_json(tmp_path / "verdict.json", verdict | {"digests": {"candidate": "another"}})
        return True

    write_json(tmp_path / "verdict.json", WON)
    monkeypatch.setattr(shared, "approved", meanwhile)
    monkeypatch.setattr(shared, "go_live", lambda *_: pytest.fail("it went live"))
    with pytest.raises(Failed, match="has changed since a person was asked, so the answer does not count"):
        shared.conclude(reproduce, place(tmp_path), [], ask=True)


@pytest.mark.parametrize("promote", [True, False])
def test_an_error_after_a_promotion_says_that_production_has_changed(
    reproduce: Reproduce, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, promote: bool
) -> None:
    def full(*_: object) -> None:
        raise Failed("No space left on device")

    write_json(tmp_path / "verdict.json", WON | {"promote": promote})
    for name in ("go_live", "tell_promotion"):
        monkeypatch.setattr(shared, name, lambda *_: None)
    monkeypatch.setattr(shared, "push", full)
    told = "^the new model is in production, but .*: No space" if promote else "^No space"
    with pytest.raises(Failed, match=told):
        shared.conclude(reproduce, place(tmp_path), [], ask=False)


def test_a_model_that_a_person_has_taken_back_is_not_promoted_again(
    reproduce: Reproduce, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "registry").mkdir()
    write_json(tmp_path / "registry/taken_back.json", ["0123"])
    write_json(tmp_path / "verdict.json", WON)
    monkeypatch.setattr(shared, "store", lambda *_: None)
    watched = replace(place(tmp_path), seen=True)
    state = shared.conclude(reproduce, watched, [], ask=True)
    assert state.name == "Kept"
    assert str(state.message).startswith("A person has taken this model back")
    assert f"by_hand {watched.judged} {watched.registry} {watched.split}`" in str(state.message)  # or no drift is seen


def test_a_promotion_is_told_before_anything_else_may_go_wrong(
    reproduce: Reproduce, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []

    def cancelled(*_: object) -> None:
        raise KeyboardInterrupt

    write_json(tmp_path / "verdict.json", WON)
    monkeypatch.setattr(shared, "go_live", lambda *_: None)
    monkeypatch.setattr(shared, "push", cancelled)
    monkeypatch.setattr(shared, "emit_event", lambda event, **content: told.append((event, content["payload"])))
    with pytest.raises(KeyboardInterrupt):
        shared.conclude(reproduce, place(tmp_path), [], ask=False)
    assert told == [("tutelage.promoted", {"text": "So it is."})]


def test_a_person_is_waited_for_while_the_server_is_away_for_longer_than_it_takes_to_restart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []

    def asked(**_: object) -> SimpleNamespace:
        seen.append(PREFECT_CLIENT_MAX_RETRIES.value())
        return SimpleNamespace(promote=True)

    monkeypatch.setattr(shared, "pause_flow_run", asked)
    assert shared.approved(WON)
    assert seen == [shared.PATIENCE]
    assert PREFECT_CLIENT_MAX_RETRIES.value() < shared.PATIENCE


def test_a_day_without_an_answer_is_a_no(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @flow
    def unanswered() -> State[None]:
        return shared.conclude(Reproduce(Path(), Children(), 2), place(tmp_path), [], ask=True)

    write_json(tmp_path / "verdict.json", WON)
    monkeypatch.setattr(shared, "DAY", 1)
    monkeypatch.setattr(shared, "POLL", 0.2)
    monkeypatch.setattr(shared, "store", lambda *_: None)
    state = unanswered(return_state=True)
    assert (state.name, state.message) == ("Kept", "Nobody answered within a day. So it is.")


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("judge", True),
        ("import.dvc", True),
        ("registry/production/seen.parquet.dvc", True),
        ("registry/detector/production/model.safetensors.dvc", False),
        ("mine.dvc", False),
        ("compress", False),
    ],
)
def test_only_what_took_part_has_to_be_up_to_date(reproduce: Reproduce, name: str, ours: bool) -> None:
    reproduce.dag = {part: Stage(part, imported=part == "import.dvc") for part in ("judge", "compress", "import.dvc")}
    reproduce._runs["judge"] = reproduce.run = lambda *_: json.dumps({name: ["changed"]})  # type: ignore
    with pytest.raises(Failed, match=name) if ours else nullcontext():
        shared.see_that_all_is_up_to_date.fn(reproduce, CLASSIFIER)


def test_a_frozen_stage_is_no_failure(reproduce: Reproduce) -> None:
    """DVC warns of each, on the stream that comes with what it answers."""
    said = (
        "WARNING: stage: 'mine.dvc' is frozen. Its dependencies are not going to be shown in the status output.\n{}\n"
    )
    reproduce.dag, reproduce.run = {}, lambda *_: said  # type: ignore
    shared.see_that_all_is_up_to_date.fn(reproduce, CLASSIFIER)


@pytest.mark.parametrize(
    ("why", "fails"),
    [
        ([{"changed deps": {"images": "modified"}}], False),
        ([{"changed deps": {"images": "deleted"}}], True),
        ([{"changed deps": {"images": "modified", "work/split": "modified"}}], True),
        ([{"changed deps": {"images": "modified", "tasks/ingest.py": "modified"}}], True),
        ([{"changed deps": {"registry/champion": "modified"}}], True),
        ([{"changed deps": {"params.yaml": {"ingest": "modified"}}}], True),
        ([{"changed deps": {"images": "modified"}}, {"changed outs": {"work/ingest": "modified"}}], True),
        ([{"changed deps": {"images": "modified"}}, "changed command"], True),
        ([{"changed deps": {"mine": "modified"}}], False),
        ([{"changed outs": {"mine": "modified"}}], True),
    ],
)
def test_images_that_came_in_meanwhile_are_no_failure(
    reproduce: Reproduce, monkeypatch: pytest.MonkeyPatch, why: list[Any], fails: bool
) -> None:
    told: list[str] = []
    log = SimpleNamespace(info=lambda text, *about: told.append(text % about))
    monkeypatch.setattr(shared, "get_run_logger", lambda: log)
    reproduce.dag = {
        "ingest": Stage("ingest", writes=("work/ingest",)),
        "split": Stage("split", writes=("work/split",)),
        "mine.dvc": Stage("mine.dvc", writes=("mine",), source=True),
    }
    reproduce._runs["ingest"] = reproduce.run = lambda *_: json.dumps({"ingest": why})  # type: ignore
    with pytest.raises(Failed, match="ingest") if fails else nullcontext():
        shared.see_that_all_is_up_to_date.fn(reproduce, CLASSIFIER)
    assert told == ([] if fails else ["New data has come in since ingest read it: the next flow takes it in"])


@pytest.mark.parametrize(("how", "fails"), [("modified", False), ("deleted", True)])
def test_images_that_came_into_a_folder_that_dvc_tracks_are_no_failure(
    reproduce: Reproduce, monkeypatch: pytest.MonkeyPatch, how: str, fails: bool
) -> None:
    monkeypatch.setattr(shared, "get_run_logger", lambda: SimpleNamespace(info=lambda *_: None))
    reproduce.dag = {"mine.dvc": Stage("mine.dvc", writes=("mine",), source=True)}
    said = {"mine.dvc": [{"changed outs": {"mine": how}}]}
    reproduce._runs["mine.dvc"] = reproduce.run = lambda *_: json.dumps(said)  # type: ignore
    with pytest.raises(Failed, match="mine") if fails else nullcontext():
        shared.see_that_all_is_up_to_date.fn(reproduce, CLASSIFIER)
