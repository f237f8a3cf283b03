"""The stages of several tasks, from shared labels to a table; what a student is told, and by whom."""

import dataclasses
import json
import os
import re
import signal
import struct
import zlib
from pathlib import Path

import cv2
import multi_work
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from fresh import killed
from interrupted import interrupted
from multi_work import FOLDER, SHARES, SPLIT, params_of, prepare, taught
from small_work import contents

import tasks.multi_label as labelling
import tasks.multi_report as reporting
import tasks.multi_split as multi_splitting
from tasks.io import read_json
from tasks.multi_evaluate import Answer, measure, multi_evaluate
from tasks.multi_label import multi_label
from tasks.multi_lines import lines_of, notes, uneven
from tasks.multi_pictures import Opinion, pictured
from tasks.multi_report import _summary, multi_report
from tasks.multi_said import Maker, read_told, shard, write_manifest
from tasks.multi_split import multi_split, read_shares, shared_out
from tasks.multi_student import multi_student
from tasks.multi_teacher import multi_teacher
from tasks.multi_training import job_of, take_over, truth_of
from tasks.training import rows_of
from tasks.turn_params import PlanTurns
from tutelage.data.boxes import Found
from tutelage.data.manifest import classes_of, read_split
from tutelage.data.scenes import Annotations
from tutelage.models.multi import MultiNet
from tutelage.models.multi_files import load_multi
from tutelage.train.answers import Said
from tutelage.train.tscl import TSCL
from tutelage.types import TASKS, BadInput


@pytest.fixture
def params(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return prepare(tmp_path)


def evaluated(params, models):
    for name, model in models.items():
        multi_evaluate(SPLIT, SHARES, model, params=params, out=FOLDER / "evaluation" / name)


def test_from_shares_to_a_table(params):
    taught(params, *TASKS)
    union = multi_student(SPLIT, SHARES, FOLDER / "teachers", params=params, out=FOLDER / "union")
    student = multi_student(
        SPLIT, SHARES, FOLDER / "teachers", FOLDER / "labels", params=params, out=FOLDER / "student"
    )
    evaluated(params, {task: FOLDER / "teachers" / task for task in TASKS} | {"union": union, "student": student})
    report = multi_report(SPLIT, SHARES, FOLDER, params=params, out=FOLDER / "report")
    specialists = [load_multi(FOLDER / "teachers" / task / "model.safetensors")[1] for task in TASKS]
    assert [card.spec.tasks for card in specialists] == [(task,) for task in TASKS]
    told = read_json(report / "summary.json")
    assert told["specialists"]["parameters"] == sum(card.parameters for card in specialists)
    assert told["student"]["parameters"] < told["specialists"]["parameters"]
    assert told["student"]["operations"] < told["specialists"]["operations"]
    assert load_multi(student / "model.safetensors")[1].sha256 != load_multi(union / "model.safetensors")[1].sha256
    assert "specialists, together" in (report / "summary.md").read_text()
    assert read_json(FOLDER / "evaluation/student/metrics.json")["with_depth"] == 4
    html = (report / "report.html").read_text()
    assert all(f'<section id="{part}">' in html for part in ("lines", "measures", "scenes", "settings"))
    assert html.count("<img") == 2 * (1 + 2 * len(TASKS))
    assert "from what was said of classification, detection, segmentation, depth;" in html
    plain = re.sub(r"data:image/\w+;base64,[\w+/=]*", "", html)
    assert "None" not in plain
    assert not re.search(r"//|http|@import|<script|<link|<iframe", plain)


def test_each_task_has_its_own_images_and_only_its_own_labels(params):
    table = read_split(SPLIT)
    truth = truth_of(SPLIT, SHARES, table, params)
    seen = []
    for task in TASKS:
        job = job_of("job", params.multitask.teacher, (task,), table, truth, shares=SHARES, params=params)
        assert len(job.given.rows) == 2  # a quarter of eight
        for place in range(2):
            known = dataclasses.asdict(job.given(place))
            assert [name for name, value in known.items() if value is not None] == [task]
        seen += job.given.rows.tolist()
    assert sorted(seen) == sorted([*rows_of(table, "labelled"), *rows_of(table, "holdout")])
    depths = [row["depth"] != "" for row in read_shares(SHARES).to_pylist() if row["task"] not in ("depth", "")]
    assert not any(depths)


def test_a_depth_is_found_whatever_way_its_image_is_written(tmp_path, monkeypatch):
    """Windows writes .\\1.png, and some tools leave spaces; the images' ids have neither."""
    write = multi_work.write

    def otherwise(root, name, content):
        for image in content["images"]:
            image["file_name"] = f" .\\{image['file_name']} "
        write(root, name, content)

    monkeypatch.setattr(multi_work, "write", otherwise)
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path, ("depth",), params=params_of(("depth",)))
    assert all(row["depth"] for row in read_shares(SHARES).to_pylist() if row["task"] == "depth")


def test_a_depth_that_is_missing_is_named_with_the_json_that_names_it(params):
    path = Path("images/labelled.json")
    content = json.loads(path.read_text())
    content["images"][1]["depth"] = "gone.png"
    path.write_text(json.dumps(content))
    with pytest.raises(BadInput, match=r"images/labelled\.json: the depth of .* no such file"):
        multi_split(Path("images"), SPLIT, params=params, out=Path("again"))


def test_truth_is_what_the_files_say(params):
    table = read_split(SPLIT)
    truth, row = truth_of(SPLIT, SHARES, table, params), int(rows_of(table, "test")[0])
    # Boxes of 16 pixels a side, seen at 32: the dog (class 1, 1 2 6 5) is larger than the cat (class 0, 0 2 6 4).
    segments = truth.segments(row)
    assert segments[8, 4] == 1
    assert segments[13, 4] == 2  # below the cat
    assert segments[8, 13] == 2  # right of it
    assert segments[20, 20] == segments[2, 2] == 0
    assert truth.boxes(row).places.tolist() == [[0, 4, 12, 12], [2, 4, 14, 14]]
    assert truth.present(row).tolist() == [1, 1]
    assert truth.depth(row)[0, [0, -1]].tolist() == [1.0, 2.0]
    path = Path(truth.depths[row][0])
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BadInput, match="not the depth that was shared out"):
        truth.depth(row)


def test_what_is_beyond_the_image_is_nobodys_business(params):
    table = read_split(SPLIT)
    truth, row = truth_of(SPLIT, SHARES, table, params), int(rows_of(table, "test")[0])
    wide = dataclasses.replace(truth, sizes=np.full_like(truth.sizes, (16, 8)), masks={})
    assert (wide.segments(row)[:16] == 0).all()
    assert (wide.segments(row)[16:] == -1).all()


def test_what_is_said_of_a_class_that_nobody_looked_for_is_neither_right_nor_wrong(params):
    """One image, 32 x 32 pixels: the cat is marked, dogs were not looked for; a quarter of the rest is called one."""
    table = read_split(SPLIT)
    truth, row = truth_of(SPLIT, SHARES, table, params), int(rows_of(table, "test")[0])
    ends = np.minimum(1, np.arange(len(table) + 1) - row).clip(0) * 2
    cat, crowd = ([0, 2, 6, 6], [0, 0, 16, 16]), np.array([False, True])
    objects = Annotations(np.array(cat, np.float32), np.array([0, 1]), crowd, np.ones(2, np.float32), ends)
    shown = {row: [(0, False, truth.masks[row][0][2]), (1, True, truth.masks[row][0][2])]}
    other = dataclasses.replace(truth, objects=objects, masks=shown)
    assert other.searched(row).tolist() == [True, False]
    told = other.segments(row).astype(np.int16)
    told[16:, 16:] = 2
    said = [Answer(np.array([0.9, 0.9], np.float32), None, told, None)]

    def measured(task):
        return measure(task, other, np.array([row]), said, ["cat", "dog"], params.multitask.evaluate)

    assert measured("classification") == {"accuracy": 1.0, "single_classes": 1.0}
    assert measured("segmentation")["iou"] == {"background": 1.0, "cat": 1.0, "dog": None}
    told[16:, 16:] = 1  # cats were looked for: there is none
    assert measured("segmentation")["iou"]["cat"] < 0.5
    said[0] = said[0]._replace(classification=np.array([0.1, 0.1], np.float32))
    assert measured("classification") == {"accuracy": 0.0, "single_classes": 0.0}


def test_a_task_that_the_test_shows_nothing_of_is_refused():
    nothing = {"test": ["a", "b"], "unmasked": set(), "depths": {"b": "b.png"}}
    multi_splitting._check_test(**nothing, there={"b", "c"}, tasks=TASKS)
    multi_splitting._check_test(**nothing, there={"c"}, tasks=["depth"])
    with pytest.raises(BadInput, match="none of 2 test images has an object, so detection cannot be judged"):
        multi_splitting._check_test(**nothing, there={"c"}, tasks=TASKS)
    with pytest.raises(BadInput, match="none of 2 test images has a depth above 0"):
        multi_splitting._check_test(**nothing | {"depths": {"c": "c.png"}}, there={"b"}, tasks=TASKS)


def test_a_depth_of_zeros_teaches_nothing_and_an_empty_file_is_no_picture(params):
    table = read_split(SPLIT)
    paths = {row["id"]: Path(row["depth"]) for row in read_shares(SHARES).to_pylist() if row["depth"]}
    taught = [name for name in paths if name.startswith("labelled/")]
    for path in Path("images").glob("depth-labelled-*.png"):
        if path not in [paths[name] for name in taught[1:]]:
            cv2.imwrite(str(path), np.zeros((16, 16), np.uint16))
    paths[taught[1]].write_bytes(b"")
    out = multi_split(Path("images"), SPLIT, params=params, out=Path("again"))
    assert [row["id"] for row in read_shares(out).to_pylist() if row["task"] == "depth"] == taught[1:]
    assert "\n7 images have a depth that is 0 everywhere" in (out / "report.md").read_text()
    row = table["id"].to_pylist().index(taught[1])
    with pytest.raises(BadInput, match="is no 16-bit grey PNG"):
        truth_of(SPLIT, out, table, params).depth(row)


def test_a_depth_that_says_it_is_huge_is_refused_by_name_and_never_unpacked(params):
    """OpenCV refuses such a file with words of its own; a smaller one it would unpack."""
    path = min(Path("images").glob("depth-test-*.png"))
    whole = path.read_bytes()
    head = b"IHDR" + struct.pack(">II", 40_000, 40_000) + whole[24:29]
    path.write_bytes(whole[:12] + head + struct.pack(">I", zlib.crc32(head)) + whole[33:])
    out, table = multi_split(Path("images"), SPLIT, params=params, out=Path("again")), read_split(SPLIT)
    truth = truth_of(SPLIT, out, table, params)
    row = next(row for row, (depth, _) in truth.depths.items() if Path(depth).name == path.name)
    with pytest.raises(BadInput, match=rf"{path.name} is no 16-bit grey PNG of its image's 16 x 16 pixels"):
        truth.depth(row)


def test_images_are_shared_out_by_what_they_have():
    able = {"classification": set("abcdef"), "detection": set("abcdef"), "depth": set("ef")}
    assert shared_out("abcdef", able) == {
        "a": "classification", "b": "classification", "c": "detection", "d": "detection", "e": "depth", "f": "depth",
    }  # fmt: skip
    with pytest.raises(BadInput, match="'depth', but of 6 labelled images none"):
        shared_out("abcdef", able | {"depth": set()})


@pytest.mark.parametrize("task", TASKS)
def test_a_pool_has_the_same_bytes_after_a_kill(params, monkeypatch, task):
    taught(params, task)
    once, say, asked = FOLDER / "labels" / task, labelling.say, []
    again, teacher = FOLDER / "again" / task, FOLDER / "teachers" / task
    assert len(list(once.glob("shard-*.parquet"))) == 3

    def dies(*some):
        for place, each in enumerate(say(*some)):
            if place == 4:
                os.kill(os.getpid(), signal.SIGKILL)
            yield each

    monkeypatch.setattr(labelling, "say", dies)
    assert killed(lambda: multi_label(SPLIT, teacher, params=params, out=again)) == -signal.SIGKILL
    assert not again.exists()
    monkeypatch.setattr(
        labelling, "say", lambda table, parts, *some: asked.extend(map(len, parts)) or say(table, parts, *some)
    )
    assert contents(multi_label(SPLIT, teacher, params=params, out=again)) == contents(once)
    assert asked == [3, 1]  # the first shard was not labelled again


def test_a_student_that_is_cut_off_ends_with_the_same_weights(params):
    params = dataclasses.replace(params, compute=dataclasses.replace(params.compute, checkpoint_seconds=0.0))
    taught(params, "segmentation", "depth")
    params = dataclasses.replace(
        params, multitask=dataclasses.replace(params.multitask, tasks=["segmentation", "depth"])
    )

    def train(out):
        return multi_student(SPLIT, SHARES, FOLDER / "teachers", FOLDER / "labels", params=params, out=out / "student")

    with interrupted(2):
        train(FOLDER)
    assert len(list(Path(".tutelage/checkpoints").rglob("run.pt"))) == 1
    whole = (train(FOLDER) / "model.safetensors").read_bytes()
    assert (train(FOLDER / "other") / "model.safetensors").read_bytes() == whole


def test_a_network_begins_with_what_a_specialist_knows(params):
    taught(params, "depth")
    params = dataclasses.replace(params, multitask=dataclasses.replace(params.multitask, start="depth"))
    folder, classes = FOLDER / "teachers/depth", classes_of(read_split(SPLIT))
    teacher, _ = load_multi(folder / "model.safetensors")
    net = MultiNet(params.multitask.shaped(TASKS), len(classes))
    kept = net.heads["segmentation"].last.weight.clone()
    take_over(net, folder, classes)
    for mine, theirs in ((net.body, teacher.body), (net.heads["depth"], teacher.heads["depth"])):
        assert all(torch.equal(a, b) for a, b in zip(mine.parameters(), theirs.parameters(), strict=True))
    assert torch.equal(net.heads["segmentation"].last.weight, kept)
    with pytest.raises(BadInput, match=r"for the classes.*multitask\.start: null"):
        take_over(net, folder, classes[:1])
    begun = multi_student(SPLIT, SHARES, FOLDER / "teachers", params=params, out=FOLDER / "union")
    params = dataclasses.replace(params, multitask=dataclasses.replace(params.multitask, start=None))
    scratch = multi_student(SPLIT, SHARES, FOLDER / "teachers", params=params, out=FOLDER / "scratch/union")
    assert contents(begun) != contents(scratch)


def test_a_task_without_labels_is_left_out_and_the_rest_goes_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=r"4 test images.*leave segmentation out of multitask\.tasks"):
        prepare(tmp_path, masks=False)
    with pytest.raises(BadInput, match=r"4 test images.*leave depth out of multitask\.tasks"):
        prepare(tmp_path, depth=False)
    tasks = ("classification", "detection")
    params = prepare(tmp_path, tasks, masks=False, depth=False)
    taught(params, *tasks)
    student = multi_student(
        SPLIT, SHARES, FOLDER / "teachers", FOLDER / "labels", params=params, out=FOLDER / "student"
    )
    union = multi_student(SPLIT, SHARES, FOLDER / "teachers", params=params, out=FOLDER / "union")
    assert load_multi(student / "model.safetensors")[1].spec.tasks == tasks
    evaluated(params, {task: FOLDER / "teachers" / task for task in tasks} | {"union": union, "student": student})
    report = multi_report(SPLIT, SHARES, FOLDER, params=params, out=FOLDER / "report")
    assert list(read_json(report / "summary.json")["student"]["scores"]) == list(tasks)


def test_depth_alone_takes_images_without_any_class(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=r"no category.*write tasks: \[depth\]"):
        prepare(tmp_path, classes=False)
    report = multi_report(SPLIT, SHARES, FOLDER, params=depth_alone(tmp_path), out=FOLDER / "report")
    assert list(read_json(report / "summary.json")["student"]["scores"]) == ["depth"]


def depth_alone(root):
    """All that a report of depth alone reads, in the working directory `root`: the params."""
    params = prepare(root, ("depth",), classes=False)
    taught(params, "depth")
    union = multi_student(SPLIT, SHARES, FOLDER / "teachers", params=params, out=FOLDER / "union")
    student = multi_student(
        SPLIT, SHARES, FOLDER / "teachers", FOLDER / "labels", params=params, out=FOLDER / "student"
    )
    evaluated(params, {"depth": FOLDER / "teachers/depth", "union": union, "student": student})
    return params


def test_what_the_clock_says_is_told_and_in_no_file(tmp_path, monkeypatch, capsys):
    """Two clean runs give the same bytes."""
    monkeypatch.chdir(tmp_path)
    params, clock = depth_alone(tmp_path), iter([[2.0, 1.0, 0.5], [2.0, 1.5, 1.0]])
    monkeypatch.setattr(reporting, "per_call", lambda _: next(clock))
    first, again = (
        contents(multi_report(SPLIT, SHARES, FOLDER, params=params, out=FOLDER / "report")) for _ in range(2)
    )
    assert first == again
    told = capsys.readouterr().out
    assert "in times of the specialists together: union 0.50, student 0.25\n" in told
    assert "union 0.75, student 0.50\n" in told


def test_wrong_names_and_missing_stores_are_refused(params):
    with pytest.raises(BadInput, match="names no task: call it after one of"):
        multi_teacher(SPLIT, SHARES, params=params, out=FOLDER / "teachers/poses")
    with pytest.raises(BadInput, match="names no network"):
        multi_student(SPLIT, SHARES, FOLDER / "teachers", params=params, out=FOLDER / "pupil")
    for name, labels in (("student", None), ("union", FOLDER)):
        with pytest.raises(BadInput, match="`union` takes none"):
            multi_student(SPLIT, SHARES, FOLDER / "teachers", labels, params=params, out=FOLDER / name)
    taught(params, "classification")
    with pytest.raises(BadInput, match=r"labels/detection holds no pseudo-labels.*multi_label@detection"):
        multi_student(SPLIT, SHARES, FOLDER / "teachers", FOLDER / "labels", params=params, out=FOLDER / "student")
    with pytest.raises(BadInput, match="has heads for classification, and"):
        multi_label(SPLIT, FOLDER / "teachers/classification", params=params, out=FOLDER / "labels/depth")


def test_a_student_that_hears_one_specialist_learns_the_other_tasks_from_labels_alone(params):
    taught(params, "classification")
    student = dataclasses.replace(params.multitask.student, hears=["classification"])
    params = dataclasses.replace(params, multitask=dataclasses.replace(params.multitask, student=student))
    out = multi_student(SPLIT, SHARES, FOLDER / "teachers", FOLDER / "labels", params=params, out=FOLDER / "student")
    terms = np.genfromtxt(out / "curve.csv", delimiter=",", names=True)
    heard = {task for task in TASKS if terms[f"pool_{task}"].any()}
    assert heard == {"classification"}
    assert all(terms[task].any() for task in TASKS)


def test_a_student_is_told_of_sure_boxes_and_hears_nothing_where_none_is_sure(params):
    table = read_split(SPLIT)
    truth, pool = truth_of(SPLIT, SHARES, table, params), rows_of(table, "pool")
    ids = table["id"].take(pool).to_pylist()
    label = dataclasses.replace(params.multitask.label, box_score=0.5, box_doubt=0.2)
    places = np.array([[0, 0, 4, 4], [4, 4, 8, 8], [8, 8, 12, 12]], np.float32)
    sure, unsure = (Found(places, np.array([0, 1, 1]), np.array(s, np.float32)) for s in ([0.9, 0.3, 0.1], [0.4] * 3))
    chance = np.array([0.75, 0.5], np.float32)
    said = [Said(chance, sure if n == 0 else unsure, None, None) for n in range(len(ids))]
    for task in ("classification", "detection"):
        folder = FOLDER / "labels" / task
        folder.mkdir(parents=True)
        maker = Maker(task, "someone", ["cat", "dog"])
        pq.write_table(shard(ids, said, maker, label), folder / "shard-00000.parquet")
        write_manifest(folder, maker)
    told = read_told(FOLDER / "labels", ["classification", "detection"], ids, truth, pool)
    first, second = told(0), told(1)
    assert first.classification.target.tolist() == [0.75, 0.5]  # each class has its own probability
    assert first.detection.boxes.places.tolist() == [[0, 0, 8, 8], [8, 8, 16, 16]]  # at 32 pixels, not 16
    assert first.detection.boxes.weight.tolist() == [1, 0]  # the doubtful one is neither an object nor background
    assert second.detection is None
    assert first.segmentation is None
    assert first.depth is None


def told_of_dense(params, truth, segments, depth):
    """What a student is told of the first image of the pool, of which teachers say this for every pixel."""
    table = read_split(SPLIT)
    pool = rows_of(table, "pool")
    ids = table["id"].take(pool).to_pylist()
    for task in ("segmentation", "depth"):
        folder, maker = FOLDER / "labels" / task, Maker(task, "someone", ["cat", "dog"])
        folder.mkdir(parents=True)
        said = [Said(None, None, segments, depth)] * len(ids)
        pq.write_table(shard(ids, said, maker, params.multitask.label), folder / "shard-00000.parquet")
        write_manifest(folder, maker)
    return read_told(FOLDER / "labels", ["segmentation", "depth"], ids, truth, pool)(0)


def test_of_what_is_beyond_an_image_no_teacher_tells_anything(params):
    """It never learned what is there, and is sure of something all the same."""
    truth = truth_of(SPLIT, SHARES, read_split(SPLIT), params)
    low = dataclasses.replace(truth, sizes=np.full_like(truth.sizes, (16, 8)))  # half as high as wide
    known = told_of_dense(params, low, np.eye(3, dtype=np.float32)[1][:, None, None].repeat(32, 1).repeat(32, 2),
                          np.full((32, 32), 2.0, np.float32))  # fmt: skip
    assert (known.segmentation.target[:16] == 1).all()
    assert (known.depth.target[:16] == 2).all()
    assert (known.segmentation.target[16:] == -1).all()
    for dense in (known.segmentation, known.depth):
        assert dense.weight.all(1).tolist() == [True] * 16 + [False] * 16
        assert not dense.weight[16:].any()


def test_where_no_depth_is_told_a_picture_is_grey_not_near():
    depth = np.array([[0.0, 1.0], [2.0, 0.0]], np.float32)
    said = Opinion(2, None, None, None, depth)
    seen = pictured("depth", np.zeros((2, 2, 3), np.uint8), said, [], colour="kept", far=2.0)
    assert (seen[0, 0] == 200).all()
    assert (seen[1, 1] == 200).all()
    assert len({*seen[0, 1].tolist()}) > 1
    assert len({*seen[1, 0].tolist()}) > 1


def test_depth_that_a_store_cannot_keep_is_told_and_an_image_of_nothing_else_is_not_kept(params, capsys):
    """16 bits in millimetres end at 65.535 m."""
    truth = truth_of(SPLIT, SHARES, read_split(SPLIT), params)
    classes, depth = np.full((3, 32, 32), 1 / 3, np.float32), np.full((32, 32), 66.0, np.float32)
    known = told_of_dense(params, truth, classes, depth)
    assert known.depth is None
    assert known.segmentation is not None
    assert read_json(FOLDER / "labels/depth/manifest.json")["kept"] == 0
    depth[:8] = 65.0
    list(labelling._watched([Said(None, None, None, depth), Said(classes, None, None, None)], params.multitask.label))
    told = capsys.readouterr().out
    assert "75.00 % of the pixels are farther than 65.535, which multitask.label.unit 1000 cannot keep" in told
    list(labelling._watched([Said(None, None, None, np.minimum(depth, 65.0))], params.multitask.label))
    assert not capsys.readouterr().out


def test_normalised_scores_are_shares_of_the_specialists():
    both = ["detection", "depth"]
    metrics = {
        "detection": {"scores": {"detection": 0.2}, "parameters": 10, "operations": 100},
        "depth": {"scores": {"depth": 0.8}, "parameters": 20, "operations": 300},
        "union": {"scores": {"detection": 0.0, "depth": 0.8}, "parameters": 12, "operations": 150},
        "student": {"scores": {"detection": 0.3, "depth": 0.4}, "parameters": 12, "operations": 150},
    }
    lines = lines_of(metrics, both)
    assert [lines[name].mean for name in ("specialists", "union", "student")] == pytest.approx([1.0, 0.5, 1.0])
    assert (lines["specialists"].parameters, lines["specialists"].operations) == (30, 400)
    metrics["detection"]["scores"]["detection"] = 0.0
    assert lines_of(metrics, both)["student"].mean is None


def test_a_union_that_was_trained_for_another_time_is_told():
    params = params_of()
    assert uneven(params.multitask) == []
    union = dataclasses.replace(params.multitask.union, steps=2500)
    (told,) = uneven(dataclasses.replace(params.multitask, union=union))
    assert told.startswith("Unequal training: multitask.union.steps is 2,500, multitask.student.steps 3, so")
    assert _summary({}, [], [told]).endswith(f"\n{told}\n")


def test_a_hold_out_that_one_of_both_learns_is_told():
    """A student in turns is scored there, so it does not."""
    params = params_of()
    turns = PlanTurns(every=100, learn=TSCL())
    student = dataclasses.replace(params.multitask.student, turns=turns, steps=300)
    union = dataclasses.replace(params.multitask.union, steps=300)
    in_turns = dataclasses.replace(params.multitask, student=student, union=union)
    assert uneven(in_turns) == [
        "Unequal training: multitask.union learns from the hold-out, multitask.student does not, so not all of the "
        "difference is the specialists'. Write multitask.union.holdout: false for a fair comparison."
    ]
    assert uneven(dataclasses.replace(in_turns, union=dataclasses.replace(union, holdout=False))) == []
    other = dataclasses.replace(params.multitask.union, holdout=False)
    (told,) = uneven(dataclasses.replace(params.multitask, union=other))
    assert "multitask.student learns from the hold-out, multitask.union does not" in told
    assert "Write multitask.union.holdout: true" in told


def test_a_depth_that_few_test_images_have_is_told():
    student = {"scores": {"depth": 0.5}, "images": 4, "with_depth": 4}
    assert notes({"student": student}, params_of().multitask) == []
    (told,) = notes({"student": student | {"with_depth": 3}}, params_of().multitask)
    assert told == "Depth is measured on 3 of 4 test images: the others have none."
    assert notes({"student": student | {"scores": {}, "with_depth": 0}}, params_of().multitask) == []


def test_params_name_tasks_once():
    found = params_of().multitask
    for tasks in ([], ["depth", "depth"]):
        with pytest.raises(ValueError, match="each once"):
            dataclasses.replace(found, tasks=tasks)
