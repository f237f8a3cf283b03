import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from project import PREPARE, ROUND, TEACHER, make, run, write
from small_work import make_split, new_network, plant_labels, save, small_params

import tasks.trial
from tasks import compare as module
from tasks.compare import compare, row, run_one, tabulate
from tasks.trial import PLAIN, Trial, arena, entrants, finished, path_of
from tasks.written import read
from tutelage.methods import METHODS
from tutelage.models.files import load_model
from tutelage.types import BadInput, Diverged


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    split, teacher = make_split(folder), save(folder / "teacher", new_network(1))
    labels = plant_labels(folder / "labels", split)
    manifest = json.loads((labels / "manifest.json").read_text())
    manifest["teacher"] = load_model(teacher / "model.safetensors")[1].sha256
    (labels / "manifest.json").write_text(json.dumps(manifest))
    return split, teacher, labels


def settings(methods=("kd",), **changes):
    params = small_params()
    named = {name: METHODS[name]() for name in methods}
    told = {"seeds": [0, 1], "steps": 4, "labelled_batch": 6, "pool_batch": 6, "network": {}} | changes
    return replace(params, compare=replace(params.compare, methods=named, **told))


@pytest.fixture
def counted(monkeypatch):
    """Which runs were really trained."""
    trained = []
    real = tasks.trial._train

    def train(job, place, params):
        trained.append((job.name.removeprefix("compare "), params.seed))
        return real(job, place, params)

    monkeypatch.setattr(tasks.trial, "_train", train)
    return trained


def rows_of(out):
    return {row["name"]: row for row in json.loads((out / "compare.json").read_text())["rows"]}


def test_a_table_of_gains_and_costs(world, tmp_path, counted):
    params = settings(("kd", "adamatch"))
    out = compare(*world, params=params, out=tmp_path / "out")
    assert counted == [(name, seed) for name in (PLAIN, "kd", "adamatch") for seed in (0, 1)]
    rows = rows_of(out)
    assert next(iter(rows)) == PLAIN
    assert rows[PLAIN]["gain"] is None
    assert rows[PLAIN]["cost"] == 1
    for name in ("kd", "adamatch"):
        gain, found = rows[name]["gain"], rows[name]
        assert gain["low"] <= gain["estimate"] <= gain["high"]
        difference = np.mean(found["accuracy"]) - np.mean(rows[PLAIN]["accuracy"])
        assert gain["estimate"] == pytest.approx(difference)
        assert len(found["accuracy"]) == 2
        assert found["memory"] > 0 < found["cost"]
    assert rows["kd"]["memory"] > rows[PLAIN]["memory"]  # a teacher, and the pool's images
    text = (out / "compare.md").read_text()
    assert "| kd |" in text
    assert "chosen with the test split in view" in text
    assert (out / "compare.png").read_bytes()[:4] == b"\x89PNG"


def test_what_is_finished_is_kept_and_a_cut_off_comparison_goes_on(world, tmp_path, counted, monkeypatch):
    params, out = settings(), tmp_path / "out"
    real = tasks.trial.write_whole

    def killed(path, content):
        if "kd-1" in path.name:
            raise KeyboardInterrupt
        real(path, content)

    monkeypatch.setattr(tasks.trial, "write_whole", killed)
    with pytest.raises(KeyboardInterrupt):
        compare(*world, params=params, out=out)
    assert not (out / "compare.json").exists()
    monkeypatch.setattr(tasks.trial, "write_whole", real)
    counted.clear()
    compare(*world, params=params, out=out)
    assert counted == [("kd", 1)]
    before = {path.name: path.read_bytes() for path in (out / "results").iterdir()}
    counted.clear()
    compare(*world, params=params, out=out)
    assert counted == []
    assert before == {path.name: path.read_bytes() for path in (out / "results").iterdir()}


@pytest.mark.parametrize(
    ("change", "again"),
    [
        (lambda p: replace(p, compare=replace(p.compare, steps=5)), [(PLAIN, 0), ("kd", 0)]),
        (lambda p: replace(p, optimiser=replace(p.optimiser, lr=0.1)), [(PLAIN, 0), ("kd", 0)]),
        (lambda p: replace(p, compute=replace(p.compute, threads=2)), [(PLAIN, 0), ("kd", 0)]),
        (lambda p: replace(p, compare=replace(p.compare, measured_on="holdout")), [(PLAIN, 0), ("kd", 0)]),
        (lambda p: replace(p, compare=replace(p.compare, methods={"kd": METHODS["kd"](alpha=0.5)})), [("kd", 0)]),
        (lambda p: replace(p, compare=replace(p.compare, seeds=[0, 3])), [(PLAIN, 3), ("kd", 3)]),
        (lambda p: replace(p, judge=replace(p.judge, resamples=10)), []),
    ],
)
def test_a_changed_setting_makes_stale_what_it_changes(world, tmp_path, counted, change, again):
    before = settings(seeds=[0], steps=1)
    for params in (before, change(before)):
        counted.clear()
        place = arena(*world, params)
        for name in entrants(params):
            run_one(place, name, tmp_path / "out")
    assert counted == again


def test_another_teacher_makes_all_stale(world, tmp_path):
    split, _, _ = world
    params = settings(seeds=[0], steps=1)
    places = [arena(split, save(tmp_path / f"{n}", new_network(n)), None, params) for n in (5, 6)]
    run_one(places[0], PLAIN, tmp_path / "out")
    assert finished(places[0], PLAIN, entrants(params)[PLAIN], 0, tmp_path / "out")
    assert finished(places[1], PLAIN, entrants(params)[PLAIN], 0, tmp_path / "out") is None


def test_a_method_that_cannot_run_is_a_line_and_no_end(world, tmp_path, monkeypatch):
    real = tasks.trial._train

    def diverge(job, place, params):
        if job.name == "compare kd" and params.seed == 1:
            raise Diverged("loss is not finite at step 3")
        return real(job, place, params)

    monkeypatch.setattr(tasks.trial, "_train", diverge)
    out = compare(*world, params=settings(("kd", "ban"), steps=1), out=tmp_path / "out")
    rows = rows_of(out)
    assert (rows["kd"]["gain"], rows["kd"]["note"]) == (None, "seed 1: loss is not finite at step 3")
    assert len(rows["kd"]["accuracy"]) == 1
    assert rows["ban"]["gain"]
    assert list(rows) == [PLAIN, "ban", "kd"]


def test_what_fails_without_a_method_is_an_error(world, tmp_path):
    with pytest.raises(BadInput, match="Write start: scratch"):
        compare(*world, params=settings(start="teacher", network={"width": 6}), out=tmp_path / "out")


def test_labels_only_and_a_smaller_student(world, tmp_path):
    split, teacher, _ = world
    params = settings(seeds=[0], steps=1, pool_batch=0, network={"width": 3}, measured_on="holdout")
    place = arena(split, teacher, None, params)
    assert not len(place.pool)
    job = tasks.trial._job(place, "kd", METHODS["kd"]())
    assert (job.network.width, len(job.labeled), len(job.pool)) == (3, 12, 0)  # the hold-out is measured on
    (trial,) = run_one(place, "kd", tmp_path / "out")
    assert trial.images == 30


def test_a_network_of_few_bits_is_measured_as_such(world, tmp_path, monkeypatch):
    split, teacher, _ = world
    place, ask, asked = arena(split, teacher, None, settings(seeds=[0], steps=1)), tasks.trial.ask, []
    monkeypatch.setattr(tasks.trial, "ask", lambda table, net, *a, **b: asked.append(net) or ask(table, net, *a, **b))
    trial = tasks.trial.one(place, "few", METHODS["quantized_distillation"](bits=3), 0, tmp_path)
    assert trial.failed is None
    assert max(len(p.unique()) for p in asked[0].parameters() if p.ndim > 1) <= 7


def test_pseudo_labels_reach_the_methods_that_read_them(world, tmp_path):
    split, teacher, labels = world
    params = settings(("noisy_student",), seeds=[0], steps=2)
    plain, told = arena(split, teacher, None, params), arena(split, teacher, labels, params)
    assert not plain.pseudo.weight.any()
    assert told.pseudo.weight.any()
    keys = [run_one(place, "noisy_student", tmp_path / "out")[0].key for place in (plain, told)]
    assert keys[0] != keys[1]


def test_what_labels_call_out_of_distribution_no_method_sees(world, tmp_path):
    split, teacher, labels = world
    some = plant_labels(
        tmp_path / "labels", split, foreign=10, teacher=load_model(teacher / "model.safetensors")[1].sha256
    )
    place = arena(split, teacher, some, settings())
    np.testing.assert_array_equal(place.pool, arena(split, teacher, labels, settings()).pool[10:])
    assert len(place.pseudo.weight) == 50


def test_pseudo_labels_of_another_teacher_are_refused(world, tmp_path):
    split, _, labels = world
    other = save(tmp_path / "other", new_network(7))
    with pytest.raises(BadInput, match="written by another teacher"):
        arena(split, other, labels, settings())


def trial(name, right, seed=0, seconds=0.1):
    bits = np.packbits(np.array(right, bool))
    import base64

    return Trial(
        "k", name, name, seed, len(right), base64.b64encode(bits.tobytes()).decode(), seconds, 1_000_000, "cpu"
    )


def test_gain_and_cost_by_hand():
    plain = [trial(PLAIN, [1, 0, 0, 0]), trial(PLAIN, [1, 1, 0, 0], 1)]
    better = [trial("kd", [1, 1, 1, 0], seconds=0.3), trial("kd", [1, 1, 1, 0], 1, seconds=0.1)]
    found = row("kd", better, plain, settings())
    assert found.gain.estimate == pytest.approx(6 / 8 - 3 / 8)
    assert found.accuracy == [0.75, 0.75]
    assert found.cost == pytest.approx(2.0)
    assert (found.seconds_per_step, found.memory) == (pytest.approx(0.2), 1_000_000)
    assert better[0].answers.tolist() == [True, True, True, False]
    assert row("kd", [better[0], None], plain, settings()).note == "1 of 2 seeds are finished"


def test_images_of_a_group_are_drawn_together(world, tmp_path):
    """Ten frames of each image prove no more than the image; all of the test as one group is drawn as it is."""
    plain, better = [1, 0, 0, 0, 1, 1, 0, 1], [1, 1, 1, 0, 0, 1, 1, 1]
    frames, params = np.repeat(np.arange(8), 10), settings()

    def gain(places, units):
        said = ([trial(name, np.array(right)[places])] for name, right in (("kd", better), (PLAIN, plain)))
        return row("kd", *said, params, units=units).gain

    once = gain(np.arange(8), None)
    assert gain(frames, frames) == once
    assert gain(frames, None).low > once.low
    params = settings(seeds=[0], steps=1)
    compare(*world, params=replace(params, split=replace(params.split, groups="()")), out=tmp_path / "out")
    found = rows_of(tmp_path / "out")["kd"]["gain"]
    assert found["low"] == found["high"] == pytest.approx(found["estimate"])


def test_every_method_takes_part_where_none_is_named():
    params = small_params()
    assert params.compare.methods is None
    assert set(entrants(params)) == set(METHODS)
    assert next(iter(entrants(params))) == PLAIN


def test_results_of_two_methods_never_share_a_file(tmp_path):
    names = ("kd", "kd, temperature 8", "kd, temperature-8", "kd, temperature 8.0")
    assert len({path_of(tmp_path, name, 0) for name in names}) == 4


def test_a_table_before_plain_training_is_refused(world, tmp_path):
    with pytest.raises(BadInput, match="'supervised' for every seed"):
        tabulate(arena(*world, settings()), tmp_path / "out")


def test_through_the_command_line_without_dvc(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(make(tmp_path))
    content = read(Path("params.yaml").read_text())
    content["compare"] |= {"methods": ["kd", {"name": "kd", "temperature": 2}], "steps": 2}
    write(Path("params.yaml"), content)
    assert run(*PREPARE, TEACHER, *ROUND[:2]) == [0] * 6
    assert run("compare work/split work/teacher work/rounds/1/labels work/compare") == [0]
    assert set(rows_of(Path("work/compare"))) == {PLAIN, "kd", "kd, temperature 2"}
    assert run("compare work/split work/teacher work/without") == [0]  # LABELS may be left out
    assert run("compare work/split work/without") == [2]
    assert "compare SPLIT TEACHER [LABELS] OUT" in capsys.readouterr().err
    assert module.main("names") == 0
    assert json.loads(capsys.readouterr().out) == [PLAIN, "kd", "kd, temperature 2"]
    paths = ("work/split", "work/teacher", "work/rounds/1/labels", "work/compare")
    assert module.main("one", "kd", *paths) == module.main("table", *paths) == 0
    assert module.main("one", "dk", *paths) == 2
    assert "'dk' is not in this comparison" in capsys.readouterr().err
    shutil.rmtree("work/compare/results")
    assert module.main("table", *paths) == 2
    assert os.path.exists("work/compare/compare.md")
