"""From images of two domains to a choice without labels of the target, through every stage."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest
from interrupted import interrupted
from project import fill, known, make, run, write

import tasks.adapt_choose as choosing
from tasks.adapt_report import _gains, _markdown
from tasks.answers import Answers
from tasks.written import read
from tutelage.data.manifest import read_split, write_split
from tutelage.models.files import load_model

pytestmark = pytest.mark.slow
CANDIDATES: dict[str, dict[str, object]] = {
    "ruder_adapt": {"learn": {"name": "ruder_adapt"}},
    "adaptsegnet": {"learn": {"name": "adaptsegnet", "adversarial": 0.1}},
    "translated": {"learn": {"name": "supervised"}, "pool_batch": 0, "translated": True},
    "bdl": {"learn": {"name": "bdl", "rounds": 1, "translate": {"width": 2, "blocks": 1, "critic_width": 2}}},
}
SPLIT = ("adapt_ingest domains work/adapt/ingest", "adapt_split work/adapt/ingest work/adapt/split")
TEACHERS = {1: "work/adapt/candidates/translated", 2: "work/adapt/rounds/1/guard"}


def round_of(number: int) -> tuple[str, ...]:
    """adapt_calibrate, pseudo_label, adapt_round and adapt_guard of a round."""
    start, out = f"work/adapt/split {TEACHERS[number]}", f"work/adapt/rounds/{number}"
    return (
        f"adapt_calibrate {start} {out}/calibration",
        f"pseudo_label {start} {out}/calibration {out}/labels",
        f"adapt_round {start} {out}/labels work/adapt/translation {out}/student",
        f"adapt_guard {start} {out}/labels {out}/student {out}/guard",
    )


ROUNDS = (*round_of(1), *round_of(2))
TRAIN = (
    "adapt_source work/adapt/split work/adapt/source",
    "translate work/adapt/split work/adapt/source work/adapt/translation",
    *(
        f"adapt_student work/adapt/split work/adapt/source work/adapt/translation work/adapt/candidates/{name}"
        for name in CANDIDATES
    ),
    "adapt_features work/adapt/split work/adapt/translation work/adapt/candidates/translated "
    "work/adapt/candidates/cycada",
    *ROUNDS,
    "adapt_choose work/adapt/split work/adapt/source work/adapt/candidates work/adapt/rounds work/adapt/choice",
)
JUDGE = (
    "drift work/adapt/split work/adapt/source work/adapt/drift",
    "adapt_report work/adapt/split work/adapt/source work/adapt/candidates work/adapt/rounds work/adapt/choice "
    "work/adapt/report",
)


def project(root: Path) -> Path:
    make(root)
    fill(root / "domains/source", 20, 3)
    for name, each, seed in (("target_test", 8, 4), ("scratch", 15, 5)):
        fill(root / "domains" / name, each, seed)
        for path in (root / "domains" / name).rglob("*.png"):
            cv2.imwrite(str(path), 255 - cv2.imread(str(path)))
    (root / "domains/target").mkdir()
    for number, path in enumerate(sorted((root / "domains/scratch").rglob("*.png"))):
        shutil.move(path, root / f"domains/target/{number:03d}.png")
    shutil.rmtree(root / "domains/scratch")
    content = read((root / "params.yaml").read_text())
    content["compute"]["checkpoint_seconds"] = 1000
    content["pseudo_label"]["views"] = 2
    adapt = content["adapt"]
    adapt["ingest"] = {"root": "domains", "source": "source", "target": "target", "test": "target_test"}
    adapt["holdout"] = 0.5
    adapt["source"] |= {"steps": 40, "labelled_batch": 8}
    adapt["translate"] = {"steps": 3, "batch": 4, "cyclegan": {"width": 2, "blocks": 1, "critic_width": 2}}
    few = {"steps": 3, "labelled_batch": 4, "pool_batch": 4}
    adapt["candidates"] = {name: few | each for name, each in CANDIDATES.items()}
    adapt["answers"] = {"both": "adaptsegnet", "appearance": "adaptsegnet"}
    adapt["student"] |= {"steps": 3, "labelled_batch": 4, "pool_batch": 8}
    adapt["rounds"] = {str(n): {"teacher": teacher, "translated": n == 1} for n, teacher in TEACHERS.items()}
    content["calibrate"] |= {"target_precision": 0.1, "floor": 0.0}
    content["guard"] |= {"max_class_divergence": 1.0, "max_flips": 1.0}
    adapt["choose"]["margin"] = 1.0  # nobody is refused: three steps teach nothing
    adapt["features"] = {"steps": 3, "batch": 8, "cycada": {"lr": 1e-3}}
    write(root / "params.yaml", content)
    return root


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project(tmp_path_factory.mktemp("adapt")))
        assert not any(run(*SPLIT, *TRAIN, *JUDGE))
        return Path.cwd()


def weights(root: Path) -> dict[str, str]:
    folders = [root / "work/adapt/source", root / "work/adapt/choice", *(root / "work/adapt/candidates").iterdir()]
    named = {folder.name: folder for folder in folders}
    named |= {f"round {n}": root / f"work/adapt/rounds/{n}/guard" for n in TEACHERS}
    return {name: load_model(folder / "model.safetensors")[1].sha256 for name, folder in named.items()}


def test_roles_follow_from_the_folders(done):
    table = read_split(done / "work/adapt/split")
    roles = [(row["source"], row["role"], row["label"] is None) for row in table.to_pylist()]
    assert {(source, role) for source, role, _ in roles} == {
        ("labelled", "labelled"), ("labelled", "holdout"), ("pool", "pool"), ("test", "test"),
    }  # fmt: skip
    assert all((role == "pool") == blank for _, role, blank in roles)


def said_of(right: int) -> Answers:
    """Of 8 images, the first `right` of them named right."""
    return Answers([f"test/{n}" for n in range(8)], (np.arange(8) >= right).astype(np.int64), np.eye(2)[[0] * 8])


def test_the_gain_is_read_against_more_steps_of_the_source_too():
    wanted = known()
    said = {"source": said_of(2), "source_longer": said_of(4), "mic": said_of(3)}
    said |= {f"round {n}": said_of(7) for n in (1, 2, 3)}
    content = {"accuracy": {name: float(each.right.mean()) for name, each in said.items()}, "rank_correlation": {}}
    content |= {"rounds": [], "turns": {}, "chosen": "mic"} | _gains(said, "mic", wanted)
    fair = content["fair"]
    assert (content["gain"], fair["gain"]) == (0.125, -0.125)
    assert (fair["name"], fair["steps"], content["uneven"]) == ("source_longer", 600, [])
    assert fair["low"] <= -0.125 <= fair["high"] <= 0 <= content["low"] <= 0.125 <= content["high"]
    text = _markdown(content, {"refused": []})
    assert f"+12.50 points ({100 * content['low']:+.2f} to {100 * content['high']:+.2f}) against the source" in text
    assert ") against source_longer, which has 600 more steps of the source. In brackets: 95 % intervals" in text
    assert "Unequal" not in text
    uneven = content | {"chosen": "round 3"} | _gains(said, "round 3", wanted)
    assert "\n\nUnequal training: round 3 has 1,800 steps" in _markdown(uneven, {"refused": []})


def test_it_ends_with_a_choice_and_a_row_for_each(done):
    choice = json.loads((done / "work/adapt/choice/choice.json").read_text())
    report = json.loads((done / "work/adapt/report/report.json").read_text())
    known = {"source", "cycada", *CANDIDATES, "round 1", "round 2"}
    assert set(choice["candidates"]) == set(report["accuracy"]) == known
    assert set(choice["ranking"]) | set(choice["refused"]) == known
    assert report["chosen"] == choice["chosen"] == choice["ranking"][0]
    gain = report["accuracy"][choice["chosen"]] - report["accuracy"]["source"]
    assert report["gain"] == pytest.approx(gain)
    assert report["low"] <= report["gain"] <= report["high"]
    assert report["fair"] is None  # `translated` has other images than the source's own
    said = (done / "work/adapt/report/report.md").read_text()
    assert "What more steps of the source alone give is not known: no candidate learns by `supervised`." in said
    made = weights(done)
    assert made["choice"] == made[choice["chosen"]]
    assert len(set(made.values())) == len(made) - 1  # all differ but the chosen from itself
    assert json.loads((done / "work/adapt/drift/drift.json").read_text())["pool"]["kind"] in ("appearance", "both")
    assert cv2.imread(str(done / "work/adapt/translation/samples.png")).shape[0] == 32


def test_a_folder_of_a_candidate_that_params_no_longer_name_is_not_chosen_from(tmp_path, monkeypatch):
    params = known()
    for name in (*params.adapt.candidates, "cycada", "forgotten", "fda.part"):
        (tmp_path / name).mkdir()
    asked = []
    monkeypatch.setattr(choosing, "choose_among", lambda split, folders, **rest: asked.extend(folders))
    choosing.adapt_choose(Path("split"), Path("source"), tmp_path, params=params, out=tmp_path / "choice")
    assert asked == ["source", *sorted({*params.adapt.candidates, "cycada"})]


def test_each_round_has_its_line(done):
    lines = json.loads((done / "work/adapt/report/report.json").read_text())["rounds"]
    assert [line["round"] for line in lines] == [1, 2]
    for line in lines:
        manifest = json.loads((done / f"work/adapt/rounds/{line['round']}/labels/manifest.json").read_text())
        assert manifest["round"] == line["round"]
        assert line["kept"] == manifest["kept"] / manifest["images"] > 0
        assert line["accepted"]
    text = (done / "work/adapt/report/report.md").read_text()
    assert "| round | target images labelled |" in text


def test_after_the_guard_has_stopped_rounds_pass_the_last_good_model_on(done, tmp_path, monkeypatch):
    root = tmp_path / "stopped"
    shutil.copytree(done, root)
    monkeypatch.chdir(root)
    guard = Path("work/adapt/rounds/1/guard/guard.json")
    told = json.loads(guard.read_text()) | {"verdict": "stop", "accepted": False, "reasons": ["It fell."]}
    guard.write_text(json.dumps(told))
    for name in ("student", "guard"):
        shutil.rmtree(root / f"work/adapt/rounds/2/{name}")
    shutil.rmtree("work/adapt/choice")
    shutil.rmtree("work/adapt/report")
    assert not any(run(*round_of(2)[2:], TRAIN[-1], JUDGE[1]))
    made = weights(root)
    assert made["round 2"] == made["round 1"] == weights(done)["round 1"]
    report = json.loads(Path("work/adapt/report/report.json").read_text())
    assert not {"round 1", "round 2"} & report["accuracy"].keys()
    assert [line["verdict"] for line in report["rounds"]] == ["stop", "stop"]
    assert report["rounds"][1]["reasons"] == ["It fell."]


def test_neither_labels_of_the_target_nor_a_cut_change_the_weights_and_the_choice(done, tmp_path, monkeypatch):
    """All is trained again with the test's labels moved on by one class, and each loop of its own is cut off once. What
    the models score is not the same.
    """
    root = tmp_path / "shuffled"
    shutil.copytree(done, root)
    for name in ("source", "translation", "candidates", "rounds", "choice", "report"):
        shutil.rmtree(root / "work/adapt" / name)
    table = read_split(root / "work/adapt/split")
    moved = [
        (label + 1) % 3 if role == "test" else label
        for role, label in zip(table["role"].to_pylist(), table["label"].to_pylist(), strict=True)
    ]
    place = table.schema.get_field_index("label")
    write_split(root / "work/adapt/split", table.set_column(place, "label", pa.array(moved, pa.int32())))
    monkeypatch.chdir(root)
    for command in TRAIN:
        if command.split()[-1].endswith(("translation", "adaptsegnet", "bdl", "cycada")):
            cut_off(command)
        assert run(command) == [0]
    assert run(JUDGE[1]) == [0]
    assert weights(root) == weights(done)
    translators = {(x / "work/adapt/translation/translator.safetensors").read_bytes() for x in (root, done)}
    assert len(translators) == 1
    one, other = (json.loads((x / "work/adapt/report/report.json").read_text())["accuracy"] for x in (root, done))
    assert one != other


def cut_off(command):
    """Run a stage in the current folder until its second step, whose checkpoint is not written any more."""
    params = Path("params.yaml")
    written = params.read_text()
    params.write_text(written.replace("checkpoint_seconds: 1000", "checkpoint_seconds: 0"))
    with interrupted(2):
        run(command)
    params.write_text(written)
    assert list(Path(".tutelage/checkpoints").rglob("run.pt"))
    assert not Path(command.split()[-1]).exists()


def test_a_folder_that_names_no_candidate_is_refused(done, monkeypatch, capsys):
    monkeypatch.chdir(done)
    assert run(TRAIN[2].replace("candidates/ruder_adapt", "candidates/nothing")) == [2]
    assert "does not say its candidate" in capsys.readouterr().err
