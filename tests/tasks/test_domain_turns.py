"""Two sources in turns: their labelled images, their scores on the hold-out, and a run that was cut off."""

import math
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from interrupted import interrupted
from project import fill, make, write

from tasks import domain_turns as stage
from tasks.adapt_ingest import adapt_ingest
from tasks.adapt_report import _markdown, _turns
from tasks.adapt_split import adapt_split
from tasks.adapt_student import adapt_student
from tasks.adapting import two_domains
from tasks.io import read_json
from tasks.params import load
from tasks.training import labels_alone
from tasks.training import source as fed
from tasks.written import read
from tutelage.data.batches import batches, on_device
from tutelage.data.images import Images
from tutelage.data.manifest import read_manifest, read_split
from tutelage.models.backbone import create
from tutelage.models.files import save_model
from tutelage.types import BadInput

SPLIT, SOURCE, OUT = Path("split"), Path("source"), Path("candidates/in_turns")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Shapes by day and, their negatives, by night; the target is grey."""
    root = make(tmp_path_factory.mktemp("domains"))
    for name, each, seed in (("day", 8, 4), ("night", 6, 5), ("grey", 4, 6), ("test", 4, 7)):
        fill(root / "data" / name, each, seed)
    for path in (root / "data/night").rglob("*.png"):
        cv2.imwrite(str(path), 255 - cv2.imread(str(path)))
    content = read((root / "params.yaml").read_text())
    content["compute"]["checkpoint_seconds"] = 0
    sources = {"by day": "day", "by night": "night"}
    content["adapt"] |= {
        "ingest": {"root": "data", "source": sources, "target": "grey", "test": "test"}, "holdout": 0.5,
    }  # fmt: skip
    content["adapt"]["candidates"]["in_turns"] = {
        "steps": 6, "labelled_batch": 4, "pool_batch": 2, "learn": {"name": "fixmatch"},
        "turns": {"every": 2, "learn": {"name": "tscl"}},
    }  # fmt: skip
    write(root / "params.yaml", content)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        params = load()
        adapt_split(adapt_ingest(Path("data"), params=params, out=Path("ingest")), params=params, out=SPLIT)
        SOURCE.mkdir()
        net = create(params.network, 3)
        save_model(SOURCE / "model.safetensors", net, classes=["circle", "cross", "square"], method="none")
    return root


@pytest.fixture
def params(folder, monkeypatch):
    monkeypatch.chdir(folder)
    yield load()
    shutil.rmtree(".tutelage", ignore_errors=True)
    shutil.rmtree("candidates", ignore_errors=True)


def train(params, out=OUT, split=SPLIT):
    return adapt_student(split, SOURCE, Path("none"), params=params, out=out)


def test_a_source_of_two_folders_is_one_whose_images_say_their_domain(params):
    table = read_manifest(Path("ingest"))
    rows = [row for row in table.to_pylist() if row["source"] == "labelled"]
    assert Counter(row["domain"] for row in rows) == {"by day": 24, "by night": 18}
    assert all(row["path"].split("/")[0] == row["domain"].removeprefix("by ") for row in rows)
    assert {row["domain"] for row in table.to_pylist() if row["source"] != "labelled"} == {""}
    assert "| by day | 24 |" in Path("ingest/report.md").read_text()
    night = next(n for n, row in enumerate(table.to_pylist()) if row["domain"] == "by night")
    assert np.median(Images.open(table, 16)[night]) > 128  # it is read where it lies


def test_a_run_in_turns_that_is_cut_off_ends_with_the_same_bytes(params):
    with interrupted(3):
        train(params)
    assert len(list(Path(".tutelage/checkpoints").rglob("run.pt"))) == 1
    continued = {path.name: path.read_bytes() for path in train(params).iterdir()}
    shutil.rmtree(OUT)
    assert continued == {path.name: path.read_bytes() for path in train(params).iterdir()}
    assert read_json(OUT / "learned_from.json") == ["holdout", "labelled"]  # which planned its turns
    turns = read_json(OUT / "turns.json")["turns"]
    assert [turn["step"] for turn in turns] == [2, 4, 6]
    assert all(sorted(turn["scores"]) == ["by day", "by night"] for turn in turns)
    assert _turns(OUT) == Counter(turn["domain"] for turn in turns)


def test_a_turn_teaches_its_domain_alone_and_the_pool_always(params, monkeypatch):
    table, made, plans = read_split(SPLIT), [], []
    domains = np.array(table["domain"].to_pylist())

    def watched(source, *, start, stop, workers):
        made.append((source, start, stop))
        return (source[step] for step in range(start, stop))

    def planned(guide, memory):
        plans.append(len(plans) % 2)
        return plans[-1], memory

    monkeypatch.setattr(stage, "batches", watched)
    monkeypatch.setattr("tutelage.train.tscl.choose", planned)
    train(params)
    roles = np.array(table["role"].to_pylist())
    for (source, start, stop), domain in zip(made, ["by day", "by night", "by day"], strict=True):
        np.testing.assert_array_equal(source.labeled, np.flatnonzero((roles == "labelled") & (domains == domain)))
        np.testing.assert_array_equal(table["label"].to_numpy()[source.labeled], source.labels)
        assert (len(source.pool), source.pool_batch, stop - start) == (12, 2, 2)


def test_each_domain_is_scored_by_the_loss_on_its_own_hold_out(params, monkeypatch):
    """A network that is sure of nothing loses ln 3 on three classes, one that says the class of an image nearly 0."""
    table, seen = read_split(SPLIT), []

    def told(net, images, rows, *, compute, batch):
        seen.append(rows)
        labels = table["label"].to_numpy()[rows].astype(np.int64)
        return np.eye(3, dtype=np.float32)[labels] * (100 if table["domain"][int(rows[0])].as_py() == "by day" else 0)

    monkeypatch.setattr(stage, "predict", told)
    train(params)
    score = read_json(OUT / "turns.json")["turns"][-1]["scores"]
    assert score["by night"] == pytest.approx(-math.log(math.log(3)))
    assert score["by day"] == pytest.approx(-math.log(1e-8))
    roles = table["role"].to_pylist()
    assert {roles[row] for rows in seen for row in rows} == {"holdout"}
    assert sum(map(len, seen[:2])) == roles.count("holdout")


def test_turns_count_in_the_report():
    content = {
        "accuracy": {"source": 0.5, "tscl": 0.6}, "rank_correlation": {},
        "gain": 0.1, "low": 0.0, "high": 0.2, "rounds": [], "chosen": "tscl",
        "turns": {"tscl": {"by night": 2, "by day": 1}}, "fair": None, "uneven": [],
    }  # fmt: skip
    assert "Turns of tscl: 2 of by night, 1 of by day." in _markdown(content, {"refused": []})


def test_a_loop_that_goes_on_from_the_source_is_not_shown_its_images_again(params):
    table = read_split(SPLIT)
    alone = labels_alone("adapt_source", params.adapt.source, params.network, table, roles=("labelled",))

    def seen(name, begins):
        (pair,) = two_domains(name, table, params, begins=begins, start=0, stop=1, batch=(4, 4))
        return pair.source[:4]

    few = replace(alone, train=replace(alone.train, labelled_batch=4))
    (first,) = batches(fed(few, table, params), start=0, stop=1, workers=0)
    before = on_device(first.labeled.weak, torch.device("cpu"))
    torch.testing.assert_close(seen("translate", "scratch"), before)  # generators learn from nothing before them
    cycada, other = seen("adapt@cycada", "teacher"), seen("adapt@adaptsegnet", "teacher")
    assert not any(torch.equal(one, two) for one, two in ((cycada, before), (other, before), (cycada, other)))


def test_a_domain_that_is_not_there_is_refused_by_the_name_that_was_read(params, tmp_path):
    own = replace(params.adapt, ingest=replace(params.adapt.ingest, source={"by day": "day", "by dusk": "dusk"}))
    with pytest.raises(BadInput, match=r"^adapt\.ingest\.source is 'dusk', and data/dusk does not exist"):
        adapt_ingest(Path("data"), params=replace(params, adapt=own), out=tmp_path / "none")


def test_one_domain_and_one_without_hold_out_are_refused(params):
    one = replace(params.adapt, ingest=replace(params.adapt.ingest, source="day"))
    alone = replace(params, adapt=one)
    adapt_split(adapt_ingest(Path("data"), params=alone, out=Path("one")), params=alone, out=Path("one/split"))
    with pytest.raises(BadInput, match=r"all are of one \(''\).*adapt.ingest.source: \{NAME"):
        train(params, split=Path("one/split"))
    table = read_split(SPLIT)
    domains = np.array(table["domain"].to_pylist())
    domains[np.array(table["role"].to_pylist()) == "holdout"] = "by day"
    with pytest.raises(BadInput, match=r"no image of 'by night'\. Raise adapt.holdout"):
        stage.held_out(table, domains, ["by day", "by night"])


def test_turns_are_not_planned_by_a_hold_out_that_the_source_has_learned(params, tmp_path):
    learned = tmp_path / "learned"
    shutil.copytree(SOURCE, learned)
    (learned / "learned_from.json").write_text('["holdout", "labelled"]')
    with pytest.raises(BadInput, match=r"learned has learned from the hold-out \(learned_from\.json\)"):
        adapt_student(SPLIT, learned, Path("none"), params=params, out=OUT)
