import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
import yaml

from benchmarks import boxes, detection, domains, evidence, folds, mutations, overhead, planting, steps, turns
from tutelage.data.images import Images


def test_budgets_without_the_one_that_trains_the_oracle_are_refused_before_anything_runs(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["evidence", "--labels", "100", "200"])
    monkeypatch.setattr(evidence, "repro", lambda *_: pytest.fail("a stage has run"))
    with pytest.raises(SystemExit) as refused:
        evidence.main()
    assert refused.value.code == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "--labels is 100 200: 400 must be among them" in said
    assert said.endswith("Write --labels 400 100 200")


def test_a_recipe_of_evidence_takes_the_place_of_sections_and_the_oracle_is_trained_once(tmp_path):
    recipe = tmp_path / "wide.yaml"
    recipe.write_text("network: {name: small_resnet, width: 99}\ncompute: {workers: 3}\n")
    plain, wide = (evidence.params(evidence.Setting(100, 4, 2.0, one, oracle=False)) for one in (None, recipe))
    assert wide.pop("asked") == {"workers": 3}
    assert plain.pop("asked") == {}
    assert wide["network"] == {"name": "small_resnet", "width": 99}
    assert {name for name in plain if plain[name] != wide[name]} == {"network"}
    assert (wide["seed"], wide["split"]["labels_per_class"], wide["oracle"]["steps"]) == (4, 10, 1)
    assert evidence.params(evidence.Setting(400, 4))["oracle"]["steps"] == plain["baseline"]["steps"] / 2
    assert evidence.Setting(100, 4, 2.0, recipe).folder.name == "100-4-2-wide"


@pytest.mark.parametrize(
    ("asked", "found"),
    [([], [None, None]), (["a"], ["a", "a"]), (["100=b"], [None, "b"]), (["a", "100=b"], ["a", "b"])],
)
def test_a_recipe_is_for_all_budgets_or_for_one(asked, found):
    assert [evidence._recipe(asked, labels) for labels in (400, 100)] == [one and Path(one) for one in found]


def test_the_second_baseline_is_trained_again_where_the_first_one_was_made_otherwise(tmp_path, monkeypatch):
    ran = []

    def ends(folder, *command, quiet):
        ran.append(command[2])
        (folder / command[-1]).mkdir(parents=True)

    monkeypatch.setattr(evidence, "python", ends)

    def asked(steps, bins):
        lock = {
            "baseline": {"params": {"steps": steps}},
            "reference@baseline": {"params": {"bins": bins}},
            "teacher": ran,
        }
        (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"stages": lock}))
        ran.clear()
        evidence.strong_only(tmp_path, {"baseline": {"steps": steps}})
        return list(ran)

    both = ["baseline", "evaluate"]
    assert [asked(3, 15), asked(3, 15), asked(4, 15), asked(4, 10), asked(4, 10)] == [both, [], both, both, []]
    assert yaml.safe_load((tmp_path / "strong_only/params.yaml").read_text())["baseline"]["steps"] == 4


def test_rounds_of_evidence_are_those_of_the_params_in_the_order_of_their_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(evidence, "FOLDER", tmp_path)
    setting = evidence.Setting(100, 0)
    split, pool = setting.folder / "work/split", ["a", "b"]
    split.mkdir(parents=True)
    (setting.folder / "params.yaml").write_text("rounds: {'10': {}, '2': {}}")
    monkeypatch.setattr(evidence, "read_truth", lambda folder: {"a": 0, "b": 1})
    monkeypatch.setattr(
        evidence, "read_table", lambda *_: pa.table({"id": pool, "label": [0, 0], "kept": [True, True]})
    )
    for number in (2, 7, 10):  # 7 is of params that somebody has changed since
        folder = setting.folder / f"work/rounds/{number}/calibration"
        folder.mkdir(parents=True)
        (folder / "calibration.json").write_text('{"target_precision": 0.9, "classes": [{"name": "cat"}]}')
    assert [(found["round"], found["precision"]) for found in evidence.pseudo_labels(setting)] == [(2, 0.5), (10, 0.5)]


def test_ways_to_adapt_are_compared_by_their_means_over_seeds():
    def run(*scores):
        source, baseline, way, oracle = ({"ap": score, "ap50": 1.0} for score in scores)
        lines = {"source": source, "baseline": baseline, "adapted": way, "oracle": oracle}
        return {"lines": lines, "candidates": {"adabn": way}}

    said = domains.markdown([run(0.1, 0.2, 0.35, 0.6), run(0.1, 0.4, 0.55, 0.6)]).splitlines()
    assert said[0] == "| network | AP | AP50 | of the gap |"
    assert [line for line in said if "adabn" in line] == [
        "| adabn | 45.0 % (35.0 % to 55.0 %) | 100.0 % (100.0 % to 100.0 %) | 50.0 % |"
    ]
    alone = run(0.1, 0.2, 0.35, 0.6)
    alone["lines"]["oracle"] = None
    assert "| oracle | - | - |" in domains.markdown([alone])


@pytest.mark.parametrize(
    ("recipe", "more", "said"),
    [
        ("docs/recipes/none.yaml", [], "is no YAML file with a section adapt_scenes"),
        ("docs/recipes/takd.yaml", [], "is no YAML file with a section adapt_scenes"),
        ("docs/recipes/adapt_plates.yaml", [], "has data of its own, 'plates'. Say where they lie: --root FOLDER"),
        ("docs/recipes/adapt_plates.yaml", ["--root", "nowhere"], "--root is nowhere, which is no folder"),
    ],
)
def test_recipes_without_their_data_are_refused_before_anything_runs(monkeypatch, capsys, recipe, more, said):
    monkeypatch.setattr("sys.argv", ["domains", str(domains.ROOT / recipe), *more])
    monkeypatch.setattr(domains, "repro", lambda *_: pytest.fail("a stage has run"))
    with pytest.raises(SystemExit) as refused:
        domains.main()
    assert refused.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_own_data_of_a_recipe_need_no_demo_and_other_sections_stay(tmp_path):
    recipe = domains.ROOT / "docs/recipes/adapt_plates.yaml"
    content = domains.params(recipe, 2, tmp_path)
    assert (content["seed"], content["fetch"]["dataset"]) == (2, "none")
    assert content["adapt_scenes"]["ingest"]["root"] == str(tmp_path)
    assert content["adapt_scenes"]["network"]["tasks"] == ["detection"]
    assert content["adapt_scenes"]["evaluate"] == {"batch": 32}


@pytest.fixture
def few_labels(tmp_path):
    """Four training images with a box each, one test image, and which of the four are labelled in each fold."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images/1.png").write_bytes(b"pixels")
    train = {
        "categories": [{"id": 1, "name": "cell"}],
        "images": [{"id": n, "file_name": f"{n}.png"} for n in (1, 2, 3, 4)],
        "annotations": [{"id": 10 * n, "image_id": n, "category_id": 1} for n in (1, 2, 3, 4)],
    }
    (tmp_path / "instances_train.json").write_text(json.dumps(train))
    (tmp_path / "instances_test.json").write_text(json.dumps({"images": [{"id": 9}]}))
    (tmp_path / "ssl_splits.json").write_text(json.dumps({"labelled": {"10": [[2], [3, 4]]}}))
    return tmp_path


def test_a_fold_shows_the_boxes_of_its_images_and_hides_all_others(few_labels, tmp_path):
    folds.write_fold(few_labels, {3, 4}, tmp_path / "out")
    parts = {name: json.loads((tmp_path / f"out/{name}.json").read_text()) for name in ("labelled", "pool", "test")}
    ids = {name: [image["id"] for image in part["images"]] for name, part in parts.items()}
    assert ids == {"labelled": [3, 4], "pool": [1, 2], "test": [9]}
    assert [one["id"] for one in parts["labelled"]["annotations"]] == [30, 40]
    assert [one["id"] for one in parts["pool"]["annotations"]] == [10, 20]
    assert parts["labelled"]["categories"] == parts["pool"]["categories"] == [{"id": 1, "name": "cell"}]
    assert (tmp_path / "out/images/1.png").read_bytes() == b"pixels"
    with pytest.raises(ValueError, match="has no image 7, which the split names"):
        folds.write_fold(few_labels, {3, 7}, tmp_path / "out")


@pytest.mark.parametrize(
    ("recipe", "more", "said"),
    [
        ("docs/recipes/takd.yaml", [], "is no YAML file with a section detection"),
        ("docs/recipes/bccd.yaml", ["--splits", "none.json"], "has no none.json. Name the folder that has it"),
        ("docs/recipes/bccd.yaml", ["--share", "20"], "--share is 20, but"),
        ("docs/recipes/bccd.yaml", ["--folds", "0", "2"], "--folds has 2, but"),
    ],
)
def test_folds_that_do_not_exist_are_refused_before_anything_runs(monkeypatch, capsys, few_labels, recipe, more, said):
    monkeypatch.setattr("sys.argv", ["folds", str(folds.ROOT / recipe), "--root", str(few_labels), *more])
    monkeypatch.setattr(folds, "repro", lambda *_: pytest.fail("a stage has run"))
    with pytest.raises(SystemExit) as refused:
        folds.main()
    assert refused.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("name", ["bccd"])
def test_in_a_fold_the_student_has_the_baselines_steps_and_labels_in_all(name):
    own = folds.params(folds.ROOT / f"docs/recipes/{name}.yaml", 2)
    asked = own["detection"]
    assert (own["seed"], asked["ingest"]["root"], asked["ingest"]["pool"]) == (2, "scenes", "pool.json")
    steps = {line: asked[line]["steps"] for line in ("teacher", "student", "baseline", "oracle")}
    assert steps["teacher"] + steps["student"] == steps["baseline"] == steps["oracle"]
    batches = {asked[line]["labelled_batch"] for line in steps}
    assert len(batches) == 1
    assert asked["rounds"]["1"]["holdout"] is True


def test_folds_are_told_by_their_mean_and_what_the_student_gains_in_each():
    def fold(verdict, **lines):
        found = {name: {"ap": score, "ap50": 2 * score} for name, score in lines.items()}
        return found | {"guard": verdict}

    said = folds.markdown(
        [0, 4],
        [
            fold("continue", baseline=0.2, candidate=0.25, oracle=0.4),
            fold("weaken", baseline=0.3, candidate=0.29, oracle=0.4),
        ],
    ).splitlines()
    assert "| supervised only | 25.0 (20.0 to 30.0) | 50.0 (40.0 to 60.0) |" in said
    assert "| student | 27.0 (25.0 to 29.0) | 54.0 (50.0 to 58.0) |" in said
    assert said[-2:] == ["| 0 | +5.0 | +10.0 | continue |", "| 4 | -1.0 | -2.0 | weaken |"]
    assert "| all labels | 40.0 (40.0 to 40.0) | 80.0 (80.0 to 80.0) |" in said
    some = [fold("continue", baseline=0.2, candidate=0.2), fold("stop", baseline=0.2, candidate=0.2, oracle=0.3)]
    assert "| all labels | - | - |" in folds.markdown([0, 1], some)


def test_what_a_fold_came_to_is_read_where_the_stages_write_it(tmp_path):
    (tmp_path / "params.yaml").write_text("detection: {last: 2}")
    work = tmp_path / "work/detection"
    lines = {"evaluation/baseline/metrics": 0.1, "evaluation/candidate/metrics": 0.2, "evaluation/oracle/metrics": 0.3}
    files = {name: {"ap": score} for name, score in lines.items()} | {"rounds/2/guard/guard": {"verdict": "stop"}}
    for name, content in files.items():
        (work / name).parent.mkdir(parents=True)
        (work / f"{name}.json").write_text(json.dumps(content))
    found = folds.results(tmp_path)
    assert found == {"baseline": {"ap": 0.1}, "candidate": {"ap": 0.2}, "oracle": {"ap": 0.3}, "guard": "stop"}
    (work / "evaluation/oracle/metrics.json").write_text('{"available": false, "reason": "none is asked"}')
    assert folds.results(tmp_path).keys() == {"baseline", "candidate", "guard"}
    outs = (folds.ROOT / "dvc.yaml").read_text()
    assert '"work/detection/rounds/${key}/guard"' in outs
    assert "work/detection/evaluation/${key}" in outs


def test_sides_take_turns_at_going_first_and_are_timed_by_the_unit(monkeypatch):
    now, order = [0.0], []
    monkeypatch.setattr(turns.time, "perf_counter", lambda: now[0])

    def side(name, seconds, units):
        def work():
            order.append(name)
            now[0] += seconds
            return units

        return work

    ours, theirs = side("ours", 3.0, 2), side("theirs", 6.0, 1)
    assert turns.take_turns(ours, theirs, turns=3) == [(1.5, 6.0)] * 3
    first = ["ours", "theirs"]
    assert order == first + first + first[::-1] + first  # the first turn is a warm-up
    assert overhead.ratio(ours, theirs, turns=3) == 4.0  # ours does 2 / 3 of a unit a second, theirs 1 / 6


@pytest.mark.parametrize(("labelled", "ends"), [(0.91, 0), (0.89, 1)])
def test_a_limit_that_is_not_met_fails_the_command_after_all_are_told(monkeypatch, capsys, labelled, ends):
    monkeypatch.setattr("sys.argv", ["overhead"])
    for name, found in (("training", 0.99), ("labelling", labelled), ("memory", 1.0)):
        monkeypatch.setattr(overhead, name, lambda found=found: found)
    assert overhead.main() == ends
    said = capsys.readouterr().out
    assert said.count("NOT MET") == ends
    assert "memory of labelling" in said


def test_both_sides_of_labelling_run_on_the_same_device(monkeypatch):
    asked, told_by, pool = [], overhead.told_by, overhead._pool

    def told(network, images, rules, compute):
        asked.append(compute)
        return told_by(network, images, rules, compute)

    monkeypatch.setattr(overhead, "told_by", told)
    monkeypatch.setattr(overhead, "_pool", lambda folder, _: pool(folder, 40))
    monkeypatch.setattr(overhead, "ratio", lambda ours, bare, turns: (ours(), bare()))
    assert overhead.labelling() == (40, 40)
    assert asked == [overhead.COMPUTE]


TOY = '''
"""A loss, and one that nobody tests."""

import numpy as np


def squared(student, teacher, temperature=2.0):
    """temperature ** 2 mean((student - teacher) ** 2)"""
    return temperature ** 2 * np.square(student - teacher).mean()


def idle(student, teacher):
    return np.abs(student - teacher).sum()
'''
TOY_TEST = """
import numpy as np
from toy_loss import idle, squared


def test_squared_by_hand():
    assert squared(np.array([1.0, 3.0]), np.array([0.0, 1.0])) == 4.0 * 2.5


def test_idle_is_a_number():
    assert idle(np.ones(2), np.zeros(2)) is not None
"""


def test_an_error_in_a_loss_is_caught_by_a_value_and_survives_a_test_without_one(tmp_path):
    (tmp_path / "toy_loss.py").write_text(TOY)
    (tmp_path / "test_toy.py").write_text(TOY_TEST)
    (tmp_path / "conftest.py").write_text("def pytest_xdist_auto_num_workers():\n    return 2\n")  # as ours has
    planted = (
        "from pathlib import Path\n"
        "from benchmarks.mutations import Target, run, table, unexplained, unseen\n"
        "found = run([Target('toy_loss', Path('toy_loss.py'), Path('test_toy.py').resolve())])\n"
        "print('\\n'.join([*table(found), *unexplained(found, {}), *unseen(found, {})]))\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", planted], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(mutations.ROOT), str(mutations.ROOT / "src")])},
    )  # fmt: skip
    lines = child.stdout.splitlines()
    of_squared = next(line for line in lines if line.startswith("toy_loss.squared"))
    assert "missing T^2 1/1" in of_squared
    assert "reduction 1/1" in of_squared
    assert "sign 1/1" in of_squared
    total = "np.abs(student - teacher).sum() -> np.abs(student - teacher).mean()"
    assert f"SURVIVED line 13, reduction: toy_loss.idle: {total}" in lines
    assert "UNSEEN KIND in toy_loss.idle: reduction" in lines
    assert (tmp_path / "toy_loss.py").read_text() == TOY  # nothing is written
    assert [line for line in lines if line.startswith("UNSEEN KIND in toy_loss.squared")] == [
        "UNSEEN KIND in toy_loss.squared: swapped arguments"  # and rightly: they may change places
    ]


def test_reasons_are_for_survivors_only():
    def outcome(before, *, caught):
        return mutations.Outcome("toy", planting.Mutant("loss", "sign", 3, before, "b", ""), caught)

    known = {"toy.loss: equal -> b": "equal", "toy.loss: seen -> b": "equal"}
    found = [outcome("equal", caught=False), outcome("seen", caught=True), outcome("new", caught=False)]
    assert list(mutations.unexplained(found, known)) == [
        "SURVIVED line 3, sign: toy.loss: new -> b",
        "NOT A SURVIVOR, take it out of benchmarks/survivors.py: toy.loss: seen -> b",
    ]
    assert list(mutations.unseen([outcome("equal", caught=False)], known)) == []  # no test can see that kind
    assert list(mutations.unseen([outcome("new", caught=False)], known)) == ["UNSEEN KIND in toy.loss: sign"]


def test_a_dear_method_without_a_reason_fails_and_one_with_a_reason_is_named(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["steps"])
    monkeypatch.setattr(steps, "EXCEPTIONS", {"rkd": "all triples"})
    for found, status in (({"kd": 1.0, "rkd": 2.0}, 0), ({"kd": 1.0, "sp": 1.31, "rkd": 2.0}, 1)):
        monkeypatch.setattr(steps, "measure", lambda *_, found=found: (found, []))
        assert steps.main() == status
    said = capsys.readouterr().out
    assert "rkd                        2.00  all triples" in said
    assert "sp                         1.31  NO REASON IS KNOWN" in said


def test_the_processors_seconds_do_not_see_waiting(monkeypatch):
    monkeypatch.setattr(turns.time, "perf_counter", iter(range(0, 10_000, 1000)).__next__)
    monkeypatch.setattr(turns.time, "process_time", iter(range(100)).__next__)
    assert turns.take_turns(lambda: 2, lambda: 1, turns=1, processor=True) == [(0.5, 1.0)]


def test_without_detectron2_the_benchmark_of_detection_says_what_it_measures_instead(monkeypatch, capsys):
    asked = []

    def side(kind, *_, real):
        asked.append((kind, real))
        return [(2.0, 4.0), (1.0, 3.0), (2.0, 2.0)]

    monkeypatch.setattr("sys.argv", ["detection", "--kind", "retinanet", "--batch", "8", "--turns", "3"])
    monkeypatch.setattr(detection.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(detection, "training", side)
    monkeypatch.setattr(detection, "labelling", side)
    assert detection.main() == 0
    said = capsys.readouterr().out
    assert "detectron2 is not installed: against torchvision's nearest network instead" in said
    assert "retinanet: training over torchvision: 2.00; 4.00 and 2.67 images/s" in said  # 8 images in 2 s and in 3 s
    assert "retinanet: labelling over torchvision: 2.00; 0.50 and 0.33 images/s" in said
    assert asked == [("retinanet", False)] * 2


def test_both_sides_of_the_benchmark_of_detection_get_the_same_images_and_boxes(tmp_path):
    scene = detection.noise(4, 32)
    batch = detection.scene_batch(scene).labeled
    assert torch.equal(torch.cat([batch.weak, batch.strong]), scene.images)
    assert [id(one) for one in (*batch.weak_boxes, *batch.strong_boxes)] == [id(one) for one in scene.boxes]
    for one in scene.boxes:
        assert (one.places[:, 2:] > one.places[:, :2]).all()
        assert one.places.max() <= 32
    images = Images.open(detection.files(tmp_path, 3, 32), 32, letterbox=True)
    assert images.many(np.arange(3)).shape == (3, 32, 32, 3)
    assert len(list(tmp_path.glob("*.jpg"))) == 3


def test_longer_runs_of_boxes_are_longer_in_every_network_and_leave_the_params_alone():
    names = ("teacher", "baseline", "oracle", "student")
    content = {"detection": {name: {"steps": 10} for name in names} | {"names": {"train": {"steps": 5}}}}
    made = boxes.params(content, 3, 2.5)
    assert made["seed"] == 3
    assert [made["detection"][name]["steps"] for name in names] == [25] * 4
    assert made["detection"]["names"]["train"]["steps"] == 12
    assert content["detection"]["teacher"]["steps"] == 10
    alone = {"detection": content["detection"] | {"oracle": None}}
    assert boxes.params(alone, 0, 2.0)["detection"]["oracle"] is None
    assert boxes.params(alone, 0, 2.0, oracle=True)["detection"]["oracle"] == {"steps": 20}
    assert boxes.params({"detection": content["detection"] | {"names": None}}, 0, 2.0)["detection"]["names"] is None


def test_the_interval_of_a_mean_gain_is_narrower_than_those_of_its_seeds():
    gains = [{"ap": 0.03, "low": 0.0, "high": 0.07}, {"ap": 0.01, "low": -0.03, "high": 0.04}]
    # mean 2.0; below: 5 / 2 of a 3-4-5 triangle; above: the same
    assert boxes.told(gains) == "Gain of AP, mean of 2: +2.0 (95 %: -0.5 to +4.5)"


@pytest.mark.parametrize("name", ["bccd", "bccd_detectron2"])
def test_a_teacher_has_all_labels_where_no_calibration_is_read_and_is_not_unlearned(name):
    """A burn-in would copy a student of few steps over the teacher that it begins with."""
    wanted = yaml.safe_load((folds.ROOT / f"docs/recipes/{name}.yaml").read_text())["detection"]
    learn = wanted["student"]["method"]
    assert wanted["student"]["start"] == "teacher"
    assert learn["burn_in"] == 0
    assert wanted["split"]["holdout"] == 0
