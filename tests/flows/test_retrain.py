"""The scheduled story over a dvc.yaml with the real names and toy commands."""

import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pyarrow as pa
import pytest
import torch
from prefect import flow, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState
from toy import Server, Toy, runs_of

from flows import artifacts
from flows import production as shared
from flows import retrain as story
from flows import retrain_detector as other
from flows.adapt import move
from flows.adapt_scenes import cross
from flows.child import Failed
from flows.compress import shrink
from flows.compress_detector import narrow
from flows.dag import Dag, ancestors, load
from flows.detect import find
from flows.expand import grow
from flows.multitask import teach
from flows.production import Place
from flows.reproduce import checkout
from tasks.io import write_json
from tasks.promote import promote, snapshot_champion
from tutelage.data.manifest import SPLIT, describe, write_split
from tutelage.models.backbone import NetworkSpec, create
from tutelage.models.files import load_model, save_model

ROOT = Path(__file__).resolve().parents[2]
PLACES = ("production", "champion")
ROUND = {"calibrate", "pseudo_label", "student", "evaluate", "guard"}


class Recorder:
    """Stands in for Reproduce: the milestones that a story names, in its order."""

    def __init__(self, **keys: list[str]) -> None:
        self.keys, self.named = keys, list[str]()

    def __call__(self, *milestones: str) -> list[Any]:
        self.named += milestones
        return []

    @contextmanager
    def beside(self, *milestones: str) -> Iterator[None]:
        self.named += milestones
        yield

    def each(self, template: str) -> list[str]:
        return self.keys[template]


STORIES = {"grow": grow, "shrink": shrink, "find": find, "narrow": narrow, "move": move, "teach": teach, "cross": cross}
OWN = {  # what stages of a story are called; those of another never run it
    "shrink": ("compress", "compact", "export"),
    "find": ("box_", "detector", "scenes"),
    "narrow": ("box_compact",),
    "move": ("adapt", "drift", "domains", "translate"),
    "cross": ("adapt_scenes",),
    "teach": ("multi_",),
    "watch": ("watch", "domain_"),
}
BUILT_ON = {
    "narrow": {"find", "shrink"},
    "teach": {"find"},
    "watch": {"move"},
    "cross": {"move"},
}  # whose stages it runs too


def reached(dag: Dag, graph: Dag) -> dict[str, set[str]]:
    """The stages that each story runs, of the real dvc.yaml."""
    templates = {name.partition("@")[0] for name in dag if "@" in name}
    keys = {of: [name.partition("@")[2] for name in dag if name.startswith(f"{of}@")] for of in templates}
    named = {"watch": [story.WATCH, story.DOMAIN_ROUND]}
    for name, tell in STORIES.items():
        recorder = Recorder(**keys)
        tell(recorder)  # type: ignore[arg-type]
        named[name] = recorder.named
    return {name: set(ancestors(graph, milestones)) for name, milestones in named.items()}


def test_every_stage_of_dvc_yaml_is_reached() -> None:
    dag = load(ROOT)
    rounds = [name.removeprefix("student@") for name in dag if name.startswith("student@")]
    assert rounds, "dvc.yaml has no rounds. Keys of `rounds` in params.yaml must be strings"
    own_images = {name: replace(stage, needs=tuple(set(stage.needs) - {"fetch"})) for name, stage in dag.items()}
    for graph in (dag, own_images):
        found = reached(dag, graph)
        left = {name for name, stage in dag.items() if not stage.source}.difference(*found.values())
        assert not left, (
            f"no flow runs {min(left)}: name it, or a stage that needs it, in one, as in flows/expand.py: grow"
        )
        for owner, words in OWN.items():
            for name in set(found) - {owner} - {n for n, others in BUILT_ON.items() if owner in others}:
                assert not [stage for stage in found[name] if stage.startswith(words)], f"{name} runs what is {owner}'s"
    assert not any("student@" in name or name == "judge" for name in found["shrink"])
    assert {name.partition("@")[0] for name in found["cross"] if name.startswith("adapt")} == {
        f"adapt_scenes_{part}" for part in ("ingest", "split", "train", "student", "report")
    }
    for n in rounds:
        assert {name.removesuffix(f"@{n}") for name in found["grow"] if name.endswith(f"@{n}")} == ROUND


def test_ways_to_adapt_of_own_images_make_none_of_the_demo() -> None:
    dag = load(ROOT)
    apart = {"adapt_ingest": {"domains"}, "adapt_scenes_ingest": {"compose_domains"}}
    own = {name: replace(one, needs=tuple({*one.needs} - apart.get(name, set()))) for name, one in dag.items()}
    found = reached(dag, own)
    assert not {"fetch", "domains", "compose_domains"} & (found["move"] | found["cross"])


@pytest.fixture
def shop(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> Toy:
    """A repository under Git whose judge passes on what lies in `candidate/`, and its watch what lies in `watching`."""
    monkeypatch.chdir(toy.root)
    monkeypatch.setattr(story, "grow", lambda reproduce: reproduce("judge"))
    for name in (".gitignore", ".dvc/config"):
        shutil.copy(ROOT / name, toy.root / name)
    subprocess.run(["git", "init", "--quiet"], cwd=toy.root, check=True)
    for place in (f"registry/{of}{place}" for of in ("", "detector/") for place in PLACES):
        (toy.root / place).mkdir(parents=True)
        (toy.root / place / "README.md").write_text(place)
    judge = {"cmd": "mkdir -p work && cp -r candidate work/judge", "deps": ["candidate", "registry/champion"]}
    watch = {"cmd": "mkdir -p work/watch && cp watching work/watch/drift.json", "deps": ["watching"]}
    answer = {"cmd": "mkdir -p work/domain && cp work/watch/drift.json work/domain/choice", "deps": ["work/watch"]}
    toy.stages(
        split={"cmd": "true", "deps": ["work/split"]},
        judge=judge | {"outs": ["work/judge"]},
        watch=watch | {"outs": ["work/watch"]},
        domain_choose=answer | {"outs": ["work/domain/choice"]},
    )
    drifted(toy.root, "none", None)
    split = describe(pa.Table.from_pylist([], SPLIT), roots={}, classes=["a", "b", "c"])
    for folder in ("work/split", "work/detection/split"):
        (toy.root / folder).mkdir(parents=True)
        write_split(toy.root / folder, split)
    return toy


def drifted(root: Path, kind: str, answer: str | None) -> None:
    write_json(root / "watching", {"kind": kind, "advice": "Look.", "images": 30, "answer": answer})


def candidate(folder: Path, seed: int, promote: bool = True) -> bytes:
    """A model and what the judge says of it."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / "model.safetensors"
    save_model(model, create(NetworkSpec(width=4, image_size=8), 3), classes=["a", "b", "c"], method="supervised")
    digests = {"candidate": load_model(model)[1].sha256}
    content = {"promote": promote, "winner": "candidate", "reasons": ["So it is."], "digests": digests}
    write_json(folder / "verdict.json", content)
    return model.read_bytes()


def test_promotes_what_wins_keeps_what_does_not_and_leaves_a_clean_status(shop: Toy) -> None:
    production, champion = (shop.root / "registry" / place / "model.safetensors" for place in PLACES)
    first = candidate(shop.root / "candidate", 1)
    state = story.retrain(return_state=True)
    assert (state.name, state.message) == ("Promoted", "So it is.")
    assert production.read_bytes() == first
    assert not champion.exists()
    runs = runs_of(state.state_details.flow_run_id)
    assert set(runs.values()) == {"Completed"}
    assert not runs.keys() & {"announce", "domain_choose"}

    candidate(shop.root / "candidate", 2, promote=False)
    drifted(shop.root, "both", "mic")
    state = story.retrain(return_state=True)
    assert state.name == "Kept"
    assert runs_of(state.state_details.flow_run_id).keys() >= {"watch", "announce", "judge", "domain_choose"}
    assert production.read_bytes() == champion.read_bytes() == first
    files = {f"registry/{place}/{name}.dvc" for place in PLACES for name in ("model.safetensors", "seen.parquet")}
    assert files <= load(shop.root).keys(), ".gitignore"
    for arguments in (["status"], ["status", "--cloud"]):
        assert shop.dvc(*arguments, "--json").strip() == "{}"


@pytest.mark.parametrize(
    ("kind", "answer", "says"),
    [("none", None, None), ("confidence", None, "No round of"), ("both", "mic", "A round of adaptation by `mic`")],
)
def test_drift_is_said_and_silence_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, answer: str | None, says: str | None
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(story, "announce", lambda told: shown.append(story.words_of(told)))
    drifted(tmp_path, kind, answer)
    (tmp_path / "work/watch").mkdir(parents=True)
    shutil.copy(tmp_path / "watching", tmp_path / "work/watch/drift.json")
    watched = Recorder()
    watched.root = tmp_path  # type: ignore[attr-defined]
    assert story.look_out(watched) is (answer is not None)  # type: ignore[arg-type]
    assert watched.named == ["watch"]
    assert len(shown) == (says is not None)
    if says:
        assert f"30 new images have drifted: **{kind}**. Look." in shown[0]
        assert says in shown[0]


def test_a_server_that_is_away_does_not_end_a_night_with_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def away(*_: object, **__: object) -> None:
        raise httpx.ConnectError("refused")

    log = SimpleNamespace(warning=lambda text, *values: said.append(text % values))
    monkeypatch.setattr(artifacts, "create_markdown_artifact", away)
    monkeypatch.setattr(story, "emit_event", lambda *_, **__: None)
    for module in (artifacts, story):
        monkeypatch.setattr(module, "get_run_logger", lambda: log)
    story.announce.fn({"kind": "both", "images": 30, "advice": "Look.", "answer": "mic"})
    assert "have drifted: **both**" in said[0]
    assert said[1] == "retrain goes on, an artifact of it is lost: ConnectError('refused')"


def test_a_promotion_that_dvc_cannot_keep_is_taken_back(shop: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object, place: Place, which: str) -> None:
        (shop.root / place.registry / which / "model.safetensors.dvc").write_text("of the model that is taken back")
        raise Failed("No space left on device")

    registry = shop.root / "registry"
    candidate(shop.root / "work/judge", 1)
    production = promote(shop.root / "work/judge", registry)
    (production / "model.safetensors.dvc").write_text("of the model before")
    snapshot_champion(registry)
    before = {path.name: path.read_bytes() for path in production.iterdir()}
    candidate(shop.root / "work/judge", 2)
    monkeypatch.setattr(shared, "track", full)
    with pytest.raises(Failed, match="No space left"):
        hasty(shop.root)
    assert {path.name: path.read_bytes() for path in production.iterdir()} == before


@flow
def next_night(root: Path) -> None:
    with checkout(root) as reproduce:
        shared.keep_champion(reproduce, other.DETECTOR)


def test_a_detector_goes_into_a_place_of_its_own(shop: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    command = "cp -r found work/detection/judge"
    shop.stages(
        scenes_split={"cmd": "true", "deps": ["work/detection/split"]},
        box_judge={"cmd": command, "deps": ["found", "registry/detector/champion"], "outs": ["work/detection/judge"]},
    )
    monkeypatch.setattr(other, "find", lambda reproduce: reproduce("box_judge"))
    asked: list[str] = []
    monkeypatch.setattr(shared, "approved", lambda verdict: not asked.append(verdict["winner"]))  # somebody says yes
    candidate(shop.root / "found", 1)
    state = other.retrain_detector(ask=True, return_state=True)
    assert (state.name, state.message, asked) == ("Promoted", "So it is.", ["candidate"])
    assert not (shop.root / "registry/production/model.safetensors").exists()
    promoted = (shop.root / "registry/detector/production/model.safetensors").read_bytes()
    assert promoted == (shop.root / "found/model.safetensors").read_bytes()

    next_night(shop.root)
    assert (shop.root / "registry/detector/champion/model.safetensors").read_bytes() == promoted
    files = {f"registry/detector/{place}/model.safetensors.dvc" for place in PLACES}
    assert files <= load(shop.root).keys(), ".gitignore"


def test_who_says_no_keeps_what_is_in_production(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shared, "approved", lambda _: False)
    for name in ("go_live", "store"):
        monkeypatch.setattr(shared, name, lambda *_, name=name: done.append(name))
    candidate(Path(story.CLASSIFIER.judged), 1)
    state = shared.conclude(Recorder(), story.CLASSIFIER, [], ask=True)  # type: ignore[arg-type]
    assert (state.name, state.message, done) == ("Kept", "A person said no. So it is.", ["store"])


def test_a_round_of_adaptation_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Recorder()

    @contextmanager
    def nowhere(workers: int, patience: float) -> Iterator[Recorder]:
        assert patience == shared.DAY
        yield told

    monkeypatch.setattr(story, "checkout", nowhere)
    early = ["keep_champion", "take_in_new_images", "see_that_classes_are_known"]
    for where, names in ((shared, early), (story, ["grow", "conclude", "store"])):
        for name in names:
            monkeypatch.setattr(where, name, lambda *_, name=name, **__: told(name))
    monkeypatch.setattr(story, "look_out", lambda _: True)
    story.retrain.fn()
    assert told.named == [*early, "grow", "conclude", story.DOMAIN_ROUND, "store"]


@flow
def hasty(root: Path) -> None:
    with checkout(root) as reproduce:
        shared.go_live(reproduce, story.CLASSIFIER, [])


@pytest.mark.parametrize("answer", [True, False])
def test_asks_a_person(server: Server, monkeypatch: pytest.MonkeyPatch, answer: bool) -> None:
    monkeypatch.setattr(shared, "POLL", 0.2)

    def person() -> None:
        with get_client(sync_client=True) as client:
            state = FlowRunFilterState(name={"any_": ["Paused"]})
            while not (waiting := client.read_flow_runs(flow_run_filter=FlowRunFilter(state=state))):
                time.sleep(0.2)
            client.resume_flow_run(waiting[0].id, run_input={"promote": answer})

    someone = threading.Thread(target=copy_context().run, args=(person,))
    someone.start()
    verdict = {"reasons": ["So it is."], "winner": "candidate", "digests": {"candidate": "0123"}}
    assert flow(shared.approved)(verdict) is answer
    someone.join()
