"""Production changes whole or not at all, and only for a model that was judged better and answers."""

import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from small_work import contents, make_split

from tasks.io import read_json, write_json
from tasks.promote import MODEL, RECORD, SEEN, by_hand, main, promote, restore, roll_back, snapshot_champion
from tasks.training import NOTE, learned_from
from tutelage.data.manifest import read_split
from tutelage.models.backbone import NetworkSpec, create
from tutelage.models.detectors import DetectorSpec, create_detector
from tutelage.models.files import save_detector, save_model
from tutelage.types import BadInput

SPEC = NetworkSpec(name="small_resnet", width=4, image_size=8)


def judged(folder: Path, seed: int = 0, broken: bool = False, **verdict: object) -> Path:
    """What the judge writes about a model."""
    torch.manual_seed(seed)
    net = create(SPEC, 3)
    if broken:
        for weights in net.parameters():
            weights.data.fill_(float("nan"))
    folder.mkdir(parents=True)
    save_model(folder / "model.safetensors", net, classes=["a", "b", "c"], method="supervised")
    digests = {"candidate": sha256(folder / "model.safetensors")}
    content = {"promote": True, "winner": "candidate", "reasons": ["Better."], "digests": digests}
    write_json(folder / "verdict.json", content | verdict)
    return folder


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)  # where no run has left a dvc.lock
    for place in ("production", "champion"):
        (tmp_path / "registry" / place).mkdir(parents=True)
        (tmp_path / "registry" / place / "README.md").write_text(place)
    return tmp_path / "registry"


def test_promotes_the_judged_model_and_says_which_it_replaces(tmp_path: Path, registry: Path) -> None:
    first, second = judged(tmp_path / "first", 1), judged(tmp_path / "second", 2)
    production = promote(first, registry)
    assert read_json(production / "production.json") == {
        "model": sha256(first / "model.safetensors"),
        "verdict": sha256(first / "verdict.json"),
        "git": None,
        "previous": None,
    }
    record = promote(second, registry) / "production.json"
    assert read_json(record)["previous"] == sha256(first / "model.safetensors")
    assert sha256(production / "model.safetensors") == sha256(second / "model.safetensors")
    assert (production / "README.md").read_text() == "production"


@pytest.mark.parametrize("broken", [False, True])
def test_a_detector_is_promoted_if_its_weights_are_finite(tmp_path: Path, registry: Path, broken: bool) -> None:
    """A broken one finds nothing in a black image, and so may a good one."""
    spec = DetectorSpec(width=4, image_size=32, levels=(4, 8), channels=8, head_convs=1)
    net, folder = create_detector(spec, 2), judged(tmp_path / "boxes")
    if broken:
        next(net.parameters()).data.fill_(float("nan"))
    save_detector(folder / "model.safetensors", net, classes=["a", "b"], method="supervised")
    verdict = read_json(folder / "verdict.json") | {"digests": {"candidate": sha256(folder / "model.safetensors")}}
    write_json(folder / "verdict.json", verdict)
    if not broken:
        assert sha256(promote(folder, registry) / "model.safetensors") == sha256(folder / "model.safetensors")
        return
    with pytest.raises(BadInput, match="holds weights, or answers a black image with numbers, that are not finite"):
        promote(folder, registry)
    assert not (registry / "production/model.safetensors").exists()


def test_the_pool_that_a_model_learned_from_goes_with_it(tmp_path: Path, registry: Path) -> None:
    split = make_split(tmp_path / "data", {"labelled": 3, "pool": 6, "test": 3})
    pool = [row["sha256"] for row in read_split(split).to_pylist() if row["role"] == "pool"]
    promote(judged(tmp_path / "first", 1), registry, split)
    snapshot_champion(registry)
    assert pq.read_table(registry / "champion" / SEEN)["sha256"].to_pylist() == pool
    promote(judged(tmp_path / "second", 2), registry)  # of which that is not known
    assert not (registry / "production" / SEEN).exists()
    restore(registry)
    assert pq.read_table(registry / "production" / SEEN)["sha256"].to_pylist() == pool


def test_what_a_model_has_learned_from_goes_with_it(tmp_path: Path, registry: Path) -> None:
    first = judged(tmp_path / "first", 1)
    write_json(first / NOTE, ["holdout", "labelled"])
    promote(first, registry)
    assert learned_from(snapshot_champion(registry)) == ["holdout", "labelled"]
    promote(judged(tmp_path / "second", 2), registry)  # of which that is not known
    assert not (registry / "production" / NOTE).exists()
    assert learned_from(restore(registry)) == ["holdout", "labelled"]


def test_by_hand_no_verdict_is_asked(tmp_path: Path, registry: Path) -> None:
    lost = judged(tmp_path / "lost", promote=False)
    assert main("by_hand", str(lost), str(registry)) == 0
    record = read_json(registry / "production" / RECORD)
    assert (record["model"], record["verdict"]) == (sha256(lost / MODEL), None)
    with pytest.raises(BadInput, match="no finite number"):
        by_hand(judged(tmp_path / "broken", broken=True), registry)


def test_a_record_says_whether_what_made_the_model_was_committed(tmp_path: Path, registry: Path) -> None:
    def git(*arguments: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        command = ["git", *who, *arguments]
        return subprocess.run(command, cwd=tmp_path, check=True, text=True, capture_output=True).stdout.strip()

    for name in ("params.yaml", "dvc.lock", "data.dvc"):
        (tmp_path / name).write_text("old")
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "all")
    head = git("rev-parse", "HEAD")
    for name in ("dvc.lock", "data.dvc", "registry/production/README.md"):  # what a flow itself changes
        (tmp_path / name).write_text("new")
    first = promote(judged(tmp_path / "first", 1), registry)
    assert read_json(first / RECORD)["git"] == head
    (tmp_path / "params.yaml").write_text("new")
    second = promote(judged(tmp_path / "second", 2), registry)
    assert read_json(second / RECORD)["git"] == f"{head}-dirty"


def test_other_classes_than_those_in_production_are_told_before_training(
    tmp_path: Path, registry: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = make_split(tmp_path / "data", {"labelled": 3, "pool": 6, "test": 3})
    asked = ("same_classes", str(registry), str(split))
    assert main(*asked) == 0  # nothing is in production
    promote(judged(tmp_path / "first"), registry)
    snapshot_champion(registry)
    assert main(*asked) == 2
    assert "production model of the classes ['a', 'b', 'c'], but this split has ['blue" in capsys.readouterr().err


def test_twice_is_once(tmp_path: Path, registry: Path) -> None:
    folder = judged(tmp_path / "judged")
    before = contents(promote(folder, registry))
    assert contents(promote(folder, registry)) == before


@pytest.mark.parametrize(
    ("verdict", "told"),
    [
        ({"promote": False, "reasons": ["It loses."]}, "keeps the candidate in place. It loses."),
        ({"digests": {"candidate": "another"}}, "is not the model that was judged"),
        ({"broken": True}, "no finite number"),
    ],
)
def test_refuses_and_leaves_production_as_it_was(
    tmp_path: Path, registry: Path, verdict: dict[str, object], told: str
) -> None:
    promote(judged(tmp_path / "good", 1), registry)
    before = contents(registry)
    with pytest.raises(BadInput, match=told):
        promote(judged(tmp_path / "bad", 2, **verdict), registry)
    assert contents(registry) == before


def about(folder: Path, against: str, **digests: str) -> Path:
    """The verdict says against what the model was judged, and on what."""
    verdict = read_json(folder / "verdict.json")
    more = {"champion": against, "digests": verdict["digests"] | digests}
    write_json(folder / "verdict.json", verdict | more)
    return folder


def test_a_verdict_holds_against_what_is_in_production_alone(tmp_path: Path, registry: Path) -> None:
    first, second, third = (judged(tmp_path / str(seed), seed) for seed in (1, 2, 3))
    promote(about(first, "baseline"), registry)
    promote(about(first, "baseline"), registry)  # twice is once
    promote(about(second, "production", champion=sha256(first / MODEL)), registry)
    before = contents(registry)
    for against, digest in (("production", sha256(first / MODEL)), ("baseline", "of the baseline")):
        with pytest.raises(BadInput, match=r"was judged against another model than .*production holds now") as refused:
            promote(about(third, against, champion=digest), registry, tmp_path / "split")
        assert f"by_hand {third} {registry} {tmp_path / 'split'}`" in str(refused.value)
    assert contents(registry) == before
    promote(about(third, "production", champion=sha256(second / MODEL)), registry)


def test_a_verdict_holds_on_the_split_that_it_was_judged_on_alone(tmp_path: Path, registry: Path) -> None:
    split = make_split(tmp_path / "data", {"labelled": 3, "pool": 6, "test": 3})
    folder = about(judged(tmp_path / "judged"), "baseline", split=sha256(split / "split.parquet"))
    other = make_split(tmp_path / "other", {"labelled": 3, "pool": 7, "test": 3})
    with pytest.raises(BadInput, match=r"has changed since .* was judged on it"):
        promote(folder, registry, other)
    assert not (registry / "production" / MODEL).exists()
    assert (promote(folder, registry, split) / SEEN).exists()


def test_a_split_that_was_forgotten_may_come_after(tmp_path: Path, registry: Path) -> None:
    split = make_split(tmp_path / "data", {"labelled": 3, "pool": 6, "test": 3})
    folder = judged(tmp_path / "judged")
    assert not (by_hand(folder, registry) / SEEN).exists()
    assert (by_hand(folder, registry, split) / SEEN).exists()


def test_files_that_dvc_has_linked_to_its_cache_are_replaced_not_written_to(
    tmp_path: Path, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = make_split(tmp_path / "data", {"labelled": 3, "pool": 6, "test": 3})
    production = promote(judged(tmp_path / "first", 1), registry, split)
    before = {name: (production / name).read_bytes() for name in (MODEL, SEEN)}
    for name in before:
        (tmp_path / f"cache-{name}").hardlink_to(production / name)
    monkeypatch.setattr("tasks.promote.shutil.copytree", linked)
    promote(judged(tmp_path / "second", 2), registry, make_split(tmp_path / "more", {"pool": 9, "test": 3}))
    assert {name: (tmp_path / f"cache-{name}").read_bytes() for name in before} == before


def linked(source: Path, target: Path, ignore: Callable[[str, list[str]], set[str]], **_: object) -> None:
    """A copy whose files are the source's own, as a writer would find them."""
    for name in {path.name for path in source.iterdir()} - ignore(
        str(source), [path.name for path in source.iterdir()]
    ):
        (target / name).hardlink_to(source / name)


@pytest.mark.parametrize("words", [(), ("--help",), ("by_hand", "MODEL"), ("promote", "a", "b", "c", "d")])
def test_what_is_no_command_is_told_with_those_there_are(words: tuple[str, ...], capsys: pytest.CaptureFixture) -> None:
    assert main(*words) == 2
    assert "python -m tasks.promote by_hand MODEL REGISTRY [SPLIT]" in capsys.readouterr().err


def test_a_folder_that_no_judge_wrote(tmp_path: Path, registry: Path, capsys: pytest.CaptureFixture) -> None:
    assert main("promote", str(tmp_path), str(registry)) == 2
    assert "holds no verdict.json. Name what a judge wrote, such as work/judge" in capsys.readouterr().err


def test_a_full_disk_leaves_production_as_it_was(
    tmp_path: Path, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(judged(tmp_path / "first", 1), registry)
    before = contents(registry / "production")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tasks.promote.write_json", full)
    with pytest.raises(OSError, match="No space"):
        promote(judged(tmp_path / "second", 2), registry)
    assert contents(registry / "production") == before


def test_cut_off_between_its_two_renames_production_comes_back(tmp_path: Path, registry: Path) -> None:
    promote(judged(tmp_path / "first", 1), registry)
    before = contents(registry / "production")
    (registry / "production").rename(registry / "production.tutelage.old")
    snapshot_champion(registry)
    assert contents(registry / "production") == before


def test_champion_is_what_production_was_and_gives_it_back(tmp_path: Path, registry: Path) -> None:
    assert contents(snapshot_champion(registry)) == {"README.md": b"champion"}  # nothing is in production yet
    promote(judged(tmp_path / "first", 1), registry)
    assert set(contents(restore(registry))) == {"README.md"}

    by_hand(judged(tmp_path / "again", 1), registry)
    before = contents(registry / "production")
    snapshot_champion(registry)
    promote(judged(tmp_path / "second", 2), registry)
    assert contents(restore(registry)) == before


@pytest.fixture
def production(tmp_path: Path, registry: Path) -> Path:
    """A model with the pool that it learned from, both as DVC keeps them."""
    split = make_split(tmp_path / "data", {"labelled": 3, "pool": 6, "test": 3})
    folder = promote(judged(tmp_path / "judged"), registry, split)
    for name in (MODEL, SEEN):
        (folder / f"{name}.dvc").write_text("its hash")
    return folder


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        (MODEL, b"", "`dvc checkout --force {file}`"),
        (MODEL, None, "`dvc pull {file}`"),
        (SEEN, b"", "`dvc checkout --force {file}`"),
        (SEEN, None, "`dvc pull {file}`"),
        (RECORD, b"{}", "`git checkout {file}`"),
        (RECORD, b'{"model": "12', "`git checkout {file}`"),
        (RECORD, None, "`git checkout {file}` restores it, or remove the model"),
    ],
)
def test_production_that_is_not_what_its_record_says_is_an_error(
    production: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes | None, told: str
) -> None:
    file, registry = production / name, production.parent
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    before = contents(registry)
    assert main("snapshot_champion", str(registry)) == 2
    assert told.format(file=file) in capsys.readouterr().err
    assert contents(registry) == before


def test_a_record_of_before_names_no_pool_and_all_that_is_missing_is_fetched_at_once(production: Path) -> None:
    record = read_json(production / RECORD)
    assert record.pop("seen") == sha256(production / SEEN)
    write_json(production / RECORD, record)
    snapshot_champion(production.parent)
    for name in (MODEL, SEEN):
        (production / name).unlink()
    with pytest.raises(BadInput, match=f"`dvc pull {production / MODEL} {production / SEEN}`"):
        snapshot_champion(production.parent)


def test_dvc_is_not_left_asking_for_a_file_that_has_gone(tmp_path: Path, registry: Path, production: Path) -> None:
    promote(judged(tmp_path / "second", 2), registry)
    assert set(contents(production)) == {"README.md", MODEL, RECORD}
    (registry / "champion" / f"{SEEN}.dvc").write_text("its hash")
    assert set(contents(snapshot_champion(registry))) == {"README.md", MODEL, RECORD}
    for file in (production / MODEL, production / RECORD):
        file.unlink()
    snapshot_champion(registry)
    assert set(contents(roll_back(registry))) == {"README.md"}


def test_dvc_would_give_back_what_is_in_production_and_nothing_else(tmp_path: Path, registry: Path) -> None:
    champion, production = registry / "champion", promote(judged(tmp_path / "first", 1), registry)
    hashed = production / f"{MODEL}.dvc"
    hashed.write_text("of the first")
    assert (snapshot_champion(registry) / hashed.name).read_text() == "of the first"
    by_hand(tmp_path / "first", registry)  # the same again
    assert hashed.read_text() == "of the first"
    promote(judged(tmp_path / "second", 2), registry)
    assert not hashed.exists()
    hashed.write_text("of the second")
    restore(registry)
    assert hashed.read_text() == (champion / hashed.name).read_text() == "of the first"
    by_hand(tmp_path / "second", registry)
    assert not hashed.exists()


def test_what_a_person_took_back_is_promoted_by_hand_alone(
    tmp_path: Path, registry: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = judged(tmp_path / "first", 1), judged(tmp_path / "second", 2)
    promote(first, registry)
    snapshot_champion(registry)
    promote(second, registry)
    assert main("restore", str(registry)) == 0
    assert capsys.readouterr().out == f"{registry / 'production'} holds {sha256(first / MODEL)}\n"
    snapshot_champion(registry)  # the next night
    with pytest.raises(BadInput, match=r"a person has taken back. `.* by_hand .*second .*registry` promotes it"):
        promote(second, registry)
    by_hand(second, registry)
    promote(second, registry)
    snapshot_champion(registry)
    with pytest.raises(BadInput, match=r"nothing to take back\. The model before it was [0-9a-f]{64}: `git log"):
        restore(registry)


def test_a_promotion_that_did_not_end_well_may_be_tried_again(tmp_path: Path, registry: Path) -> None:
    first = judged(tmp_path / "first")
    promote(first, registry)
    roll_back(registry)
    assert (promote(first, registry) / MODEL).exists()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
