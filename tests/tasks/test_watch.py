"""New images against those that production learned from, and the round of adaptation that follows."""

import hashlib
import json
import shutil
import tracemalloc
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_work import contents, darken, make_split, new_network, save, small_params, train

from tasks.domain_choose import domain_choose
from tasks.domain_round import domain_round
from tasks.promote import SEEN
from tasks.training import NOTE
from tasks.watch import _arrived as arrived
from tasks.watch import watch
from tutelage.data.manifest import read_split
from tutelage.models.files import load_model

ROLES = {"holdout": 12, "labelled": 12, "pool": 80, "test": 3}  # in the order of the split's rows
POOL = slice(24, 104)
NEW = slice(64, 104)  # of all rows


def params():
    known = small_params()
    few = {name: replace(item, steps=2, labelled_batch=4, pool_batch=4) for name, item in _methods(known).items()}
    return replace(known, adapt=replace(known.adapt, candidates=known.adapt.candidates | few))


def _methods(known):
    return {name: known.adapt.candidates[name] for name in ("fda", "adamatch", "mic")}


def production(folder, split, rows):
    """registry/champion that has learned from these rows of the split."""
    folder.mkdir()
    digests = read_split(split)["sha256"].to_pylist()[rows]
    pq.write_table(pa.table({"sha256": digests}), folder / SEEN)
    return folder


def learned(model, folder):
    """The same model, which has learned from the hold-out."""
    shutil.copytree(model, folder / "learned")
    (folder / "learned" / NOTE).write_text('["labelled", "holdout"]')
    return folder / "learned"


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    folder = tmp_path_factory.mktemp("day")
    split = make_split(folder / "day", ROLES)
    return split, save(folder / "model", train(new_network(0), split, 12))


@pytest.fixture(scope="module")
def night(tmp_path_factory, day):
    """What `watch` says where the newer half of the pool is dark."""
    folder = tmp_path_factory.mktemp("night")
    split = make_split(folder / "night", ROLES)
    darken(folder / "night", NEW)
    champion = production(folder / "champion", split, slice(24, 64))
    return watch(split, day[1], champion, params=params(), out=folder / "watch")


def told(folder):
    return json.loads((folder / "drift.json").read_text())


@pytest.mark.parametrize(("rows", "images"), [(slice(24, 64), 40), (POOL, 0)])
def test_new_images_of_the_same_kind_change_nothing(day, tmp_path, rows, images):
    out = watch(*day, production(tmp_path / "champion", day[0], rows), params=params(), out=tmp_path / "watch")
    found = told(out)
    assert (found["kind"], found["answer"], found["images"]) == ("none", None, images)
    assert read_split(out).equals(read_split(day[0]))
    noted = learned(day[1], tmp_path)
    adapted = domain_round(out, noted, params=params(), out=tmp_path / "candidates/adapted")
    assert json.loads((adapted / NOTE).read_text()) == ["labelled", "holdout"]
    assert (adapted / "model.safetensors").read_bytes() == (day[1] / "model.safetensors").read_bytes()
    choice = domain_choose(out, day[1], adapted.parent, params=params(), out=tmp_path / "choice")
    assert json.loads((choice / "choice.json").read_text())["chosen"] == "source"
    assert "Nothing was adapted" in (choice / "report.md").read_text()


def test_without_production_nothing_is_new(day, tmp_path, capsys):
    (tmp_path / "champion").mkdir()
    found = told(watch(*day, tmp_path / "champion", params=params(), out=tmp_path / "watch"))
    assert found["kind"] == "none"
    assert "says which images production learned from" in found["advice"]
    assert found["images"] == 0
    assert "watch: 0 new images, drift: none" in capsys.readouterr().out


def test_too_few_new_images_are_told_with_all_that_are_known(day, tmp_path):
    few = params()
    few = replace(few, adapt=replace(few.adapt, drift=replace(few.adapt.drift, window=30)))
    champion = production(tmp_path / "champion", day[0], slice(24, 94))
    found = told(watch(*day, champion, params=few, out=tmp_path / "watch"))
    assert found["advice"] == "10 images are new and 70 known: 20 of each are compared at least."


def test_night_is_seen_and_the_pool_is_then_the_new_images(night):
    found = told(night)
    assert found["kind"] in ("appearance", "both")
    assert found["answer"] == {"appearance": "fda", "both": "mic"}[found["kind"]]
    table = read_split(night)
    roles = table["role"].to_pylist()
    assert {role: roles.count(role) for role in ROLES} == ROLES | {"pool": 40}
    assert min(name for name in table["path"].to_pylist() if name.startswith("pool")) == "pool-040.png"
    assert found["advice"] in (night / "report.md").read_text()


def test_the_round_learns_by_the_method_that_the_drift_calls_for_and_may_be_chosen(night, day, tmp_path):
    noted = learned(day[1], tmp_path)
    first, second = (domain_round(night, noted, params=params(), out=tmp_path / f"{n}/adapted") for n in (1, 2))
    assert json.loads((first / NOTE).read_text()) == ["holdout", "labelled"]
    assert contents(first) == contents(second)
    method = {"fda": "FDA(", "mic": "MIC("}[told(night)["answer"]]
    assert load_model(first / "model.safetensors")[1].method.startswith(method)
    choice = domain_choose(night, noted, first.parent, params=params(), out=tmp_path / "choice")
    assert "proves nothing of who has learned from it: source and adapted." in (choice / "report.md").read_text()
    found = json.loads((choice / "choice.json").read_text())
    assert set(found["candidates"]) == {"source", "adapted"}
    assert sorted(json.loads((choice / NOTE).read_text())) == ["holdout", "labelled"]
    assert found["chosen"] == found["ranking"][0]


def test_a_source_that_has_learned_from_the_hold_out_sets_no_bar_there(night, day, tmp_path):
    save(tmp_path / "candidates/adapted", new_network(9))  # which has learned nothing
    found, said = [], []
    for source in (day[1], learned(day[1], tmp_path)):
        out = domain_choose(night, source, tmp_path / "candidates", params=params(), out=tmp_path / "choice")
        found.append(json.loads((out / "choice.json").read_text()))
        said.append((out / "report.md").read_text())
    assert [each["refused"] for each in found] == [["adapted"], []]
    assert sorted(found[1]["ranking"]) == ["adapted", "source"]
    assert ["the guard refuses who forgot the source" in each for each in said] == [True, False]
    assert "the guard refuses nobody, as the source has learned from the hold-out" in said[1]


def test_images_of_a_group_are_one_image_as_evidence(night, day, tmp_path):
    """Of forty dark images four films were shot: nothing is told from so few."""
    of_films = replace(params(), split=replace(params().split, groups="pool-([0-9]{2})"))
    split, champion = night.parent / "night/work/split", night.parent / "champion"
    found = told(watch(split, day[1], champion, params=of_films, out=tmp_path / "watch"))
    assert (found["kind"], found["images"]) == ("none", 40)
    assert found["advice"] == "4 images are new and 4 known: 20 of each are compared at least."


def test_images_that_production_has_not_learned_from_are_found_in_little_memory(tmp_path):
    """As text of NumPy's a hash takes 256 bytes, and to compare two lists of them several copies."""
    digests = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(9000)]
    pq.write_table(pa.table({"sha256": digests[:6000:2]}), tmp_path / SEEN)
    pool = np.arange(1000, 9000)
    tracemalloc.start()
    found = arrived(pa.table({"sha256": digests}), pool, tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(found, [row for row in pool if row % 2 or row >= 6000])
    assert peak < 100 * len(pool)
