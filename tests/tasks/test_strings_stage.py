from dataclasses import replace

import pytest
from interrupted import interrupted
from project import merged, recipe, write
from small_work import CLASSES, contents, make_split, small_params

import tasks.strings
from tasks.io import read_json
from tasks.params import load
from tasks.strings import strings
from tasks.strings_params import WORKS, StringsParams, parse_work
from tutelage.data.rows import RowSpec
from tutelage.models.readers import ReaderSpec, load_reader
from tutelage.train.settings import Optimiser
from tutelage.train.strings import NAT_KD, AccentCTC, SequenceKD
from tutelage.types import BadInput


def params_for(name, *, teacher="autoregressive", student="autoregressive", **fields):
    wanted = StringsParams(
        rows=RowSpec(size=12, symbols=(1, 2), gap=2, styles=("plain", "inverted"), backwards=0.3),
        labelled=20, test=16, steps=3, batch=4, optimiser=Optimiser(lr=0.01, warmup_steps=1),
        teacher=ReaderSpec(kind=teacher, trunk=2, width=8, dropout=0.2),
        student=ReaderSpec(kind=student, trunk=2, width=4),
        learn=parse_work({"name": name, **fields}),
    )  # fmt: skip
    params = small_params()
    return replace(params, strings=wanted, compute=replace(params.compute, checkpoint_seconds=0.0))


@pytest.fixture
def split(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return make_split(tmp_path)


@pytest.mark.parametrize(
    ("name", "kinds"), [("nat_kd", {"student": "parallel"}), ("multi_accent_ctc", {"teacher": "ctc", "student": "ctc"})]
)
def test_readers_are_the_same_where_a_run_was_cut(split, tmp_path, name, kinds):
    params = params_for(name, **kinds)
    whole = contents(strings(split, params=params, out=tmp_path / "whole"))
    assert not list(tmp_path.glob(".tutelage/checkpoints/*"))
    with interrupted(2):
        strings(split, params=params, out=tmp_path / "cut")
    with interrupted(5):  # in a reader after the one that was cut
        strings(split, params=params, out=tmp_path / "cut")
    assert contents(strings(split, params=params, out=tmp_path / "cut")) == whole
    teachers = ["teacher"] if name == "nat_kd" else ["teacher-plain", "teacher-inverted"]
    scores = read_json(tmp_path / "cut/scores.json")
    assert set(scores["test"]) == {*teachers, "alone", "student"}
    for reader in scores["test"].values():
        assert reader["all"]["rows"] == reader["plain"]["rows"] + reader["inverted"]["rows"] == 16
        assert 0 <= reader["all"]["exact_match"] <= 1
    assert ("strings" in scores) == (name == "nat_kd")
    student, classes = load_reader(tmp_path / "cut/student.safetensors")
    assert (student.spec, classes) == (params.strings.student, CLASSES)


def test_a_row_that_may_be_read_from_both_sides_is_right_from_both(split, tmp_path, monkeypatch):
    read = tasks.strings._read

    def reversed_(*given, **more):
        _, words, things, domains = read(*given, **more)
        return [one[::-1] for one in things], words, things, domains

    monkeypatch.setattr(tasks.strings, "_read", reversed_)
    params = params_for("seq_kd")
    scores = read_json(strings(split, params=params, out=tmp_path / "both") / "scores.json")
    assert scores["test"]["student"]["all"]["exact_match"] == 1
    one_way = replace(params.strings, rows=replace(params.strings.rows, backwards=0.0))
    scores = read_json(strings(split, params=replace(params, strings=one_way), out=tmp_path / "one") / "scores.json")
    assert scores["test"]["student"]["all"]["exact_match"] < 1


def test_a_split_without_a_test_is_refused_with_the_way_to_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    split = make_split(tmp_path, {"labelled": 6, "holdout": 3, "pool": 6})
    with pytest.raises(BadInput, match=r"no test image.*Name some in ingest\.test, or raise split\.test_fraction"):
        strings(split, params=params_for("seq_kd"), out=tmp_path / "out")


def test_a_work_is_written_by_its_name():
    assert parse_work({"name": "nat_kd", "beam": 3}) == replace(NAT_KD, beam=3)
    assert parse_work({"name": "multi_accent_ctc", "weight": 0.5}) == AccentCTC(weight=0.5)
    with pytest.raises(ValueError, match=r"not one of the 4 works.*seq_kd"):
        parse_work({"name": "seqkd"})


def test_readers_that_do_not_fit_are_refused_before_anything_is_trained():
    with pytest.raises(ValueError, match="Write student and teacher so"):
        params_for("multi_accent_ctc")
    with pytest.raises(ValueError, match="Write word: 0"):
        params_for("seq_kd", student="parallel")


@pytest.mark.parametrize("name", WORKS)
def test_recipes_of_strings_are_params(tmp_path, name):
    found = load(write(tmp_path / "params.yaml", merged(recipe(name)))).strings
    assert isinstance(found.learn, AccentCTC if name == "multi_accent_ctc" else SequenceKD)
    assert (found.student.kind == "parallel") == (name == "nat_kd")
