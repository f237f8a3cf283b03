"""Images of the pool that are of none of the classes: calibrate says how far is too far, and no student sees them."""

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from small_work import ROLES, contents, make_split, new_network, plant_labels, repaint, save, small_params, train

import tasks.student
from tasks.adapt_calibrate import adapt_calibrate
from tasks.calibrate import calibrate
from tasks.gallery import Pool, strips
from tasks.pseudo_label import pseudo_label
from tasks.student import student
from tasks.training import rows_of
from tutelage.data.manifest import classes_of, read_split
from tutelage.data.pseudo_labels import FOREIGN, read_table
from tutelage.types import BadInput

STRANGE = 20  # of the 60 of the pool


def params_of(keep, **labelling):
    params = small_params(1)
    return replace(
        params, calibrate=replace(params.calibrate, in_distribution=keep),
        pseudo_label=replace(params.pseudo_label, shard_size=25, batch=10, **labelling),
    )  # fmt: skip


def stripes(pixels):
    return np.where(np.indices(pixels.shape)[1] % 4 < 2, 255, 0)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A teacher of three colours, and a pool that begins with twenty black and white stripes."""
    folder = tmp_path_factory.mktemp("world")
    split = make_split(folder)
    first = int(rows_of(read_split(split), "pool")[0])
    repaint(folder, slice(first, first + STRANGE), stripes)
    return split, save(folder / "work/teacher", train(new_network(0), split, 20))


@pytest.fixture
def here(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return world


def labelled(world, root, params, *, limit=None):
    """Folder of the labels; the calibration lies beside it."""
    split, teacher = world
    rules = calibrate(split, teacher, params=params, out=root / "1/calibration")
    if limit is not None:
        content = json.loads((rules / "calibration.json").read_text())
        content["out_of_distribution"]["limit"] = limit
        (rules / "calibration.json").write_text(json.dumps(content))
    return pseudo_label(split, teacher, rules, params=params, out=root / "1/labels")


def job_of(world, labels, params, monkeypatch):
    """What a student would be trained on."""
    seen = []
    monkeypatch.setattr(tasks.student, "run", lambda job, *a, **k: seen.append(job))
    student(*world, labels, params=params, out=labels.parent / "student")
    return seen[0]


def test_stripes_among_colours_are_found_and_no_student_sees_them(here, tmp_path, monkeypatch):
    params = params_of(0.9, rejected=0.3)
    labels = labelled(here, tmp_path, params)
    told = json.loads((tmp_path / "1/calibration/calibration.json").read_text())["out_of_distribution"]
    table = read_table(labels, ["id", "distance", "weight", "kept", "reason"])
    strange = np.array(table["reason"].to_pylist()) == FOREIGN
    assert strange[:STRANGE].all()
    assert strange[STRANGE:].sum() <= 8  # of forty; 3 of 31 are promised
    assert (told["keep"], told["holdout"], told["expected_share"]) == (0.9, 30, pytest.approx(strange.mean()))
    np.testing.assert_array_equal(strange, table["distance"].to_numpy() > told["limit"])
    assert not table["weight"].to_numpy()[strange].any()  # soft labels of rejected images do not reach these
    assert not table["kept"].to_numpy()[strange].any()
    assert json.loads((labels / "manifest.json").read_text())[FOREIGN] == strange.sum()
    assert "of the pool** is expected to be out of distribution" in (tmp_path / "1/calibration/report.md").read_text()
    job = job_of(here, labels, params, monkeypatch)
    np.testing.assert_array_equal(job.pool, rows_of(read_split(here[0]), "pool")[~strange])
    np.testing.assert_array_equal(job.pseudo.weight, table["weight"].to_numpy()[~strange])


def test_nobody_asked_nothing_is_left_out(here, tmp_path, monkeypatch):
    labels = labelled(here, tmp_path, params_of(None))
    table = read_table(labels, ["distance", "reason"])
    assert table["distance"].null_count == 60
    assert FOREIGN not in table["reason"].to_pylist()
    assert len(job_of(here, labels, params_of(None), monkeypatch).pool) == 60
    assert "out of distribution" not in (tmp_path / "1/calibration/report.md").read_text()


def test_the_size_of_shards_changes_no_verdict(here, tmp_path):
    one, other = params_of(0.9), params_of(0.9)
    other = replace(other, pseudo_label=replace(other.pseudo_label, shard_size=60))
    stores = [labelled(here, tmp_path / name, params) for name, params in (("a", one), ("b", other))]
    first, second = (read_table(store, ["id", "reason"]) for store in stores)
    assert first.equals(second)


def test_where_all_are_strange_the_teacher_is_passed_on(here, tmp_path):
    params = params_of(0.9)
    labels = labelled(here, tmp_path, params, limit=0.0)
    assert set(read_table(labels, ["reason"])["reason"].to_pylist()) == {FOREIGN}
    out = student(*here, labels, params=params, out=tmp_path / "1/student")
    assert (
        json.loads((out / "passed.json").read_text())["reason"] == "all 60 image(s) of the pool are out of distribution"
    )
    assert contents(out)["model.safetensors"] == contents(here[1])["model.safetensors"]


@pytest.mark.parametrize(("held", "said"), [(0, "takes 9 hold-out images .* there are 0"), (8, "there are 8")])
def test_a_hold_out_that_cannot_promise_is_refused(tmp_path, held, said):
    split = make_split(tmp_path, ROLES | {"holdout": held})
    with pytest.raises(BadInput, match=said):
        calibrate(split, save(tmp_path / "t", new_network(1)), params=params_of(0.9), out=tmp_path / "rules")
    assert not (tmp_path / "rules").exists()


def test_images_of_a_group_draw_the_border_as_one(here, tmp_path):
    def border(groups, keep):
        params = params_of(keep)
        params = replace(params, split=replace(params.split, groups=groups))
        out = calibrate(*here, params=params, out=tmp_path / str(groups))
        return json.loads((out / "calibration.json").read_text())["out_of_distribution"]

    assert [border(groups, 0.7)["holdout"] for groups in (None, "holdout-([0-9]{2})")] == [30, 3]  # frames of ten
    with pytest.raises(BadInput, match=r"takes 9 hold-out images .* there are 3"):
        border("holdout-([0-9]+)[0-9]", 0.9)


def test_an_empty_pool_is_no_obstacle(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    split = make_split(tmp_path, ROLES | {"pool": 0})
    labels = labelled((split, save(tmp_path / "t", new_network(1))), tmp_path, params_of(0.9))
    assert json.loads((labels / "manifest.json").read_text())[FOREIGN] == 0


@pytest.mark.parametrize(
    ("broken", "said"),
    [(None, r"has a border and not what it is drawn around \(known.safetensors\)"), (b"x", "is not what calibration")],
)
def test_a_border_without_what_it_is_drawn_around_is_refused(here, tmp_path, broken, said):
    rules = calibrate(*here, params=params_of(0.9), out=tmp_path / "rules")
    (rules / "known.safetensors").unlink()
    if broken is not None:
        (rules / "known.safetensors").write_bytes(broken)
    with pytest.raises(BadInput, match=rf"{said}.* Run `dvc repro` to calibrate again"):
        pseudo_label(*here, rules, params=params_of(0.9), out=tmp_path / "labels")


def test_a_target_that_looks_otherwise_is_not_left_out(here, tmp_path):
    out = adapt_calibrate(*here, params=params_of(0.9), out=tmp_path / "rules")
    assert json.loads((out / "calibration.json").read_text())["out_of_distribution"] is None


def test_the_gallery_shows_them_apart(here, tmp_path):
    split = read_split(here[0])
    labels = plant_labels(tmp_path / "labels", here[0], kept=0.5, foreign=4)
    table = read_table(labels, ["id", "label", "calibrated", "kept", "distance", "reason"])
    opinions = dict.fromkeys(table["id"].to_pylist(), 0)
    found = {s.title: s for s in strips(Pool.of(split, {}, classes_of(split)), table, opinions, np.full(60, 2), 60)}
    assert len(found["Out of distribution"].shots) == len(found["Just out of distribution"].shots) == 4
    assert len(found["Rejected"].shots) == 30
    surest = table["calibrated"].to_numpy()[4:].max()
    for title in ("Student disagrees", "Changed its label", "At the threshold", "Rejected"):
        assert max(shot.score for shot in found[title].shots) <= surest
    assert pq.read_schema(labels / "shard-00000.parquet").field("distance").nullable
