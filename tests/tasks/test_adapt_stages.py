"""From images of two domains to a choice without labels of the target, through every stage."""

import json
import shutil
from pathlib import Path

import cv2
import pyarrow as pa
import pytest
import yaml
from project import fill, make, run

from tutelage.data.manifest import read_split, write_split
from tutelage.models.files import load_model

pytestmark = pytest.mark.slow
CANDIDATES = ("fda", "adaptsegnet", "translated")
SPLIT = ("adapt_ingest domains work/adapt/ingest", "adapt_split work/adapt/ingest work/adapt/split")
TRAIN = (
    "adapt_source work/adapt/split work/adapt/source",
    "translate work/adapt/split work/adapt/source work/adapt/translation",
    *(
        f"adapt_student work/adapt/split work/adapt/source work/adapt/translation work/adapt/candidates/{name}"
        for name in CANDIDATES
    ),
    "adapt_features work/adapt/split work/adapt/candidates/translated work/adapt/candidates/cycada",
    "adapt_choose work/adapt/split work/adapt/source work/adapt/candidates work/adapt/choice",
)
JUDGE = (
    "drift work/adapt/split work/adapt/source work/adapt/drift",
    "adapt_report work/adapt/split work/adapt/source work/adapt/candidates work/adapt/choice work/adapt/report",
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
    content = yaml.safe_load((root / "params.yaml").read_text())
    adapt = content["adapt"]
    adapt["ingest"] = {"root": "domains", "source": "source", "target": "target", "test": "target_test"}
    adapt["holdout"] = 0.5
    adapt["source"] |= {"steps": 40, "labelled_batch": 8}
    adapt["translate"] = {"steps": 3, "batch": 4, "cyclegan": {"width": 2, "blocks": 1, "critic_width": 2}}
    adapt["candidates"] = {name: adapt["candidates"][name] for name in CANDIDATES}
    for each in adapt["candidates"].values():
        each |= {"steps": 4, "labelled_batch": 4, "pool_batch": min(each["pool_batch"], 4)}
    adapt["features"] = {"steps": 3, "batch": 8, "cycada": {"lr": 1e-3}}
    (root / "params.yaml").write_text(yaml.safe_dump(content))
    return root


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project(tmp_path_factory.mktemp("adapt")))
        assert not any(run(*SPLIT, *TRAIN, *JUDGE))
        return Path.cwd()


def weights(root: Path) -> dict[str, str]:
    folders = [root / "work/adapt/source", root / "work/adapt/choice", *(root / "work/adapt/candidates").iterdir()]
    return {folder.name: load_model(folder / "model.safetensors")[1].sha256 for folder in folders}


def test_roles_follow_from_the_folders(done):
    table = read_split(done / "work/adapt/split")
    roles = [(row["source"], row["role"], row["label"] is None) for row in table.to_pylist()]
    assert {(source, role) for source, role, _ in roles} == {
        ("labelled", "labelled"), ("labelled", "holdout"), ("pool", "pool"), ("test", "test"),
    }  # fmt: skip
    assert all((role == "pool") == blank for _, role, blank in roles)


def test_it_ends_with_a_choice_and_a_row_for_each(done):
    choice = json.loads((done / "work/adapt/choice/choice.json").read_text())
    report = json.loads((done / "work/adapt/report/report.json").read_text())
    known = {"source", "cycada", *CANDIDATES}
    assert set(choice["candidates"]) == set(report["accuracy"]) == known
    assert set(choice["ranking"]) | set(choice["refused"]) == known
    assert report["chosen"] == choice["chosen"] == choice["ranking"][0]
    assert report["gain"] == report["accuracy"][choice["chosen"]] - report["accuracy"]["source"]
    made = weights(done)
    assert made["choice"] == made[choice["chosen"]]
    assert len(set(made.values())) == len(made) - 1  # all differ but the chosen from itself
    assert json.loads((done / "work/adapt/drift/drift.json").read_text())["pool"]["kind"] in ("appearance", "both")
    assert cv2.imread(str(done / "work/adapt/translation/samples.png")).shape[0] == 32


def test_labels_of_the_target_reach_neither_training_nor_choice(done, tmp_path, monkeypatch):
    """With the test's labels moved on by one class all weights and the choice are the same; what they score is not."""
    root = tmp_path / "shuffled"
    shutil.copytree(done, root)
    for name in ("source", "translation", "candidates", "choice", "report"):
        shutil.rmtree(root / "work/adapt" / name)
    table = read_split(root / "work/adapt/split")
    moved = [
        (label + 1) % 3 if role == "test" else label
        for role, label in zip(table["role"].to_pylist(), table["label"].to_pylist(), strict=True)
    ]
    place = table.schema.get_field_index("label")
    write_split(root / "work/adapt/split", table.set_column(place, "label", pa.array(moved, pa.int32())))
    monkeypatch.chdir(root)
    assert not any(run(*TRAIN, JUDGE[1]))
    assert weights(root) == weights(done)
    one, other = (json.loads((x / "work/adapt/report/report.json").read_text())["accuracy"] for x in (root, done))
    assert one != other


def test_a_loop_that_is_cut_off_ends_with_the_same_weights(done, tmp_path, monkeypatch):
    from tasks import carry

    root = tmp_path / "cut"
    shutil.copytree(done, root)
    monkeypatch.chdir(root)
    whole = carry.Progress.update

    def update(self, number, text=""):
        whole(self, number, text)
        seen.append(number)
        if len(seen) == 3:
            raise KeyboardInterrupt

    for command in (TRAIN[1], TRAIN[3], TRAIN[5]):  # translate, adaptsegnet, cycada
        out, seen = Path(command.split()[-1]), []
        file = next(out.glob("*.safetensors"))
        before = file.read_bytes()
        shutil.rmtree(out)
        with monkeypatch.context() as patch:
            patch.setattr(carry.Progress, "update", update)
            with pytest.raises(KeyboardInterrupt):
                run(command)
        assert list(Path(".tutelage/checkpoints").rglob("run.pt"))
        assert run(command) == [0]
        assert file.read_bytes() == before


def test_a_folder_that_names_no_candidate_is_refused(done, monkeypatch, capsys):
    monkeypatch.chdir(done)
    assert run(TRAIN[2].replace("candidates/fda", "candidates/nothing")) == [2]
    assert "does not say its candidate" in capsys.readouterr().err
