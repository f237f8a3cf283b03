"""A quota of pseudo-labels a class, from the stage that labels to what is told of it."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from small_work import CLASSES, contents, make_split, make_work, new_network, plant_labels, save, small_params, train

from tasks.calibrate import calibrate
from tasks.gallery import Pool, strips
from tasks.page import page
from tasks.pseudo_label import pseudo_label
from tasks.story import read_story
from tutelage.data import quota as quotas
from tutelage.data.manifest import classes_of, read_split
from tutelage.data.pseudo_labels import BEYOND, FOREIGN, read_table, write_manifest, write_shards

COLUMNS = ["id", "label", "calibrated", "kept", "distance", "weight", "reason"]


def params_of(quota, **labelling):
    params = small_params(1)
    labelling = {"shard_size": 25, "batch": 10, "rejected": 0.3, "quota": quota, **labelling}
    return replace(
        params, calibrate=replace(params.calibrate, target_precision=0.5),
        pseudo_label=replace(params.pseudo_label, **labelling),
    )  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A teacher of three colours, the pool of sixty, and what its answers are worth."""
    folder = tmp_path_factory.mktemp("world")
    split = make_split(folder)
    teacher = save(folder / "work/teacher", train(new_network(0), split, 20))
    return split, teacher, calibrate(split, teacher, params=params_of(None), out=folder / "rules")


@pytest.fixture
def here(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return world


def surest(table, quota):
    """Ids that are kept by hand of a store without a quota."""
    found = set()
    for label in set(table["label"].to_pylist()):
        mine = [row for row in table.to_pylist() if row["kept"] and row["label"] == label]
        found |= {row["id"] for row in sorted(mine, key=lambda row: -row["calibrated"])[:quota]}
    return found


def test_the_surest_of_a_class_are_kept_whichever_shards_they_lie_in(here, tmp_path):
    full, few, other = (
        pseudo_label(*here, params=params, out=tmp_path / str(number) / "labels")
        for number, params in enumerate([params_of(None), params_of(5), params_of(5, shard_size=60)])
    )
    before, after = (read_table(store, COLUMNS) for store in (full, few))
    assert min(Counter(before.filter(before["kept"])["label"].to_pylist()).values()) > 5
    assert set(after.filter(after["kept"])["id"].to_pylist()) == surest(before, 5)
    gone = before["kept"].to_numpy() & ~after["kept"].to_numpy()
    assert set(after.filter(gone)["reason"].to_pylist()) == {BEYOND}
    np.testing.assert_array_equal(after["weight"].to_numpy()[gone], np.float32(0.3))
    assert before.filter(~gone).equals(after.filter(~gone))
    assert read_table(other, COLUMNS).equals(after)
    told = json.loads((few / "manifest.json").read_text())
    assert (told["kept"], {each["kept"] for each in told["per_class"].values()}) == (15, {5})


def test_killed_while_the_surest_are_picked_and_continued_is_byte_equal(here, tmp_path, monkeypatch):
    whole = contents(pseudo_label(*here, params=params_of(5), out=tmp_path / "1/labels"))

    def dies(folder, shards):
        yield from write_shards(folder, shards)
        raise KeyboardInterrupt

    with monkeypatch.context() as now:
        now.setattr(quotas, "write_shards", dies)
        with pytest.raises(KeyboardInterrupt):
            pseudo_label(*here, params=params_of(5), out=tmp_path / "1/new/1/labels")
    assert not (tmp_path / "1/new/1/labels").exists()
    monkeypatch.setattr("tasks.pseudo_label.described", None)  # who asks the teacher once more fails
    assert contents(pseudo_label(*here, params=params_of(5), out=tmp_path / "1/new/1/labels")) == whole


def test_no_more_is_expected_of_a_class_than_its_quota(world, tmp_path):
    split, teacher, rules = world
    few = calibrate(split, teacher, params=params_of(3), out=tmp_path / "few")
    full, told = (json.loads((each / "calibration.json").read_text())["classes"] for each in (rules, few))
    assert min(row["expected_yield"] for row in full) > 0.1
    assert {row["expected_yield"] for row in told} == {3 / 60}
    assert "**15.0% of the pool**" in (few / "report.md").read_text()


@pytest.fixture
def labels(world, tmp_path):
    """The pool with thirty labels that are kept, twenty of them beyond a quota, four out of distribution."""
    folder = plant_labels(tmp_path / "labels", world[0], kept=34 / 60, foreign=4)
    table = read_table(folder, COLUMNS)
    places = np.arange(60)
    beyond = (places >= 14) & (places < 34)
    reason = np.where(beyond, BEYOND, table["reason"].to_numpy(zero_copy_only=False))
    weight, kept = (np.where(beyond, 0, table[name].to_numpy()) for name in ("weight", "kept"))
    changed = {"weight": weight, "kept": kept.astype(bool), "reason": reason.tolist()}
    for name, column in changed.items():
        table = table.set_column(table.schema.get_field_index(name), name, [column])
    assert Counter(table["reason"].to_pylist()) == {"": 10, BEYOND: 20, FOREIGN: 4, "below_threshold": 26}
    return table


def test_the_gallery_shows_them_apart_from_what_nobody_trusts(world, labels):
    split = read_split(world[0])
    found = {s.title: s for s in strips(Pool.of(split, {}, classes_of(split)), labels, {}, None, 60)}
    assert len(found["Rejected"].shots) == 26
    assert len(found["Beyond the quota"].shots) == 20
    full, edge = ([shot.score for shot in found[title].shots] for title in ("Beyond the quota", "At the threshold"))
    assert max(full[:3]) == max(full)
    assert max(full) in edge  # where a class's kept labels end


def test_the_page_says_how_many_there_are(tmp_path, monkeypatch):
    work, params = make_work(tmp_path, rounds=1, errors=(30, 10))
    monkeypatch.setattr("tasks.page.svg", lambda figure, title: "<svg></svg>")
    assert "pseudo_label.quota" not in page(read_story(work, params), work, params)
    folder = work / "rounds/1/labels"
    quotas.keep_surest(folder, 5, rejected=0.0)
    write_manifest(folder, CLASSES, teacher="t", number=1)
    html = " ".join(page(read_story(work, params), work, params).replace("\N{NO-BREAK SPACE}", " ").split())
    assert (
        "<b>25.0 %</b> of 60 pool images got a label. <b>21</b> more met their threshold and are beyond <code>" in html
    )
