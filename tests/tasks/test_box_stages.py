"""The stages of detection, from COCO JSON to a verdict, on small files; a pool's boxes whatever it was cut off by."""

import dataclasses
import math
import os
import re
import shutil
import signal
from functools import partial

import pytest
from box_work import labelled, named, prepare, small
from fresh import fresh, killed
from project import known
from scene_work import coco_set, write
from small_work import contents

import tasks.box_answers as box_answers
import tasks.box_calibrate as box_calibrates
import tasks.box_label as box_labels
import tasks.box_training as training
import tutelage.train.predict as predicting
from tasks.box_calibrate import box_calibrate
from tasks.box_evaluate import box_evaluate
from tasks.box_fuse import box_fuse
from tasks.box_guard import box_guard
from tasks.box_judge import box_judge
from tasks.box_label import box_label
from tasks.box_report import box_report
from tasks.box_student import box_student
from tasks.detector import detector
from tasks.io import read_json
from tasks.scenes_ingest import scenes_ingest
from tasks.scenes_split import scenes_split
from tutelage.data.scene_batches import SceneSource
from tutelage.methods.detection.kd import KD
from tutelage.models.files import load_detector
from tutelage.types import BadInput


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    root = tmp_path_factory.mktemp("prepared")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        return root, prepare(root)


@pytest.fixture
def work(prepared, tmp_path, monkeypatch):
    root, (params, folder) = prepared
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return params, tmp_path / folder.relative_to(root)


def judged(folder, candidate):
    """What the judge reads; nothing is in production."""
    return folder / "split", candidate, folder / "baseline", folder / "evaluation", folder / "champion"


def test_from_boxes_to_a_verdict(work):
    params, folder = work
    labels = named(params, folder, labelled(params, folder, folder / "rounds/1/labels"))
    student = box_student(folder / "split", folder / "teacher", labels, params=params, out=folder / "rounds/1/student")
    assert read_json(student / "learned_from.json") == ["labelled", "holdout"]
    guard = box_guard(
        folder / "split", folder / "teacher", labels, student, params=params, out=folder / "rounds/1/guard"
    )
    for name in ("baseline", "oracle"):
        detector(folder / "split", params=params, out=folder / name)
    models = {"baseline": folder / "baseline", "oracle": folder / "oracle", "candidate": guard}
    for name, model in models.items():
        box_evaluate(folder / "split", model, params=params, out=folder / "evaluation" / name)
    box_fuse(folder / "split", folder / "teacher", folder / "rounds", params=params, out=folder / "evaluation/fused")
    assert read_json(folder / "evaluation/fused/metrics.json") == {"available": False, "reason": "fuse.weights is null"}
    box_judge(*judged(folder, guard), params=params, out=folder / "judge")
    verdict = read_json(folder / "judge/verdict.json")
    winner = guard if verdict["promote"] else folder / "baseline"
    kept = load_detector(folder / "judge/model.safetensors")[1]
    assert kept.sha256 == load_detector(winner / "model.safetensors")[1].sha256
    report = box_report(folder, params=params, out=folder / "report")
    for part in ("supervised only", "with the detector's own names", "line,step,loss\nteacher,"):
        assert part in (report / "summary.md").read_text() + (report / "curves.csv").read_text()
    html = (report / "report.html").read_text()
    for part in ("lines", "classes", "curves", "errors", "boxes", "guard", "judge", "data", "settings"):
        assert f'<section id="{part}">' in html
    text = re.sub(r"<svg.*?</svg>", "", html, flags=re.DOTALL)
    assert "None" not in text  # nothing missing was printed
    assert text.count('class="card ') == 3
    assert html.count("<svg") == 4  # mean curves, curves of classes, errors, losses
    assert_works_offline(html)
    strips = ("<b>Surest</b>", "<b>At the threshold</b>", "<b>Kept by mistake</b>")
    assert all(
        part in html
        for part in (
            *strips,
            "Numbers are\ncalibrated scores.",
            "class. A classifier of crops named them; with the detector",
        )
    )
    guarded = read_json(guard / "guard.json")["signals"]["boxes"]["detail"]
    assert guarded in html
    assert contents(box_report(folder, params=params, out=folder / "again")) == contents(report)
    assert told_twice(params, folder).count("new since the round before") == 1


def told_twice(params, folder):
    """The page of a run whose second round is its first one again."""
    shutil.copytree(folder / "rounds/1", folder / "rounds/2")
    first = params.detection.rounds[1]
    rounds = {
        1: dataclasses.replace(first, holdout=False),
        2: dataclasses.replace(first, teacher="work/detection/rounds/1/guard"),
    }
    twice = dataclasses.replace(params, detection=dataclasses.replace(params.detection, rounds=rounds, last=2))
    return (box_report(folder, params=twice, out=folder / "twice") / "report.html").read_text()


def assert_works_offline(html):
    assert "http" not in html
    assert "//" not in re.sub(r"data:image/\w+;base64,[\w+/=]*", "", html)
    assert not re.search(r"@import|<script|<link|<iframe", html)


def with_workers(params, workers):
    return dataclasses.replace(params, compute=dataclasses.replace(params.compute, workers=workers))


def test_a_narrower_student_is_taught_by_kd_and_judged_by_its_size_and_time(work):
    params, folder = work
    found = params.detection
    taught = dataclasses.replace(found.student, method=KD(), start="scratch")
    narrow = dataclasses.replace(found.rounds[1], network={"width": 4})
    detection = dataclasses.replace(found, student=taught, rounds={1: narrow})
    params = dataclasses.replace(params, detection=detection)
    labels = labelled(params, folder, folder / "rounds/1/labels")
    student = box_student(folder / "split", folder / "teacher", labels, params=params, out=folder / "rounds/1/student")
    detector(folder / "split", params=params, out=folder / "baseline")
    cards = {}
    for name, model in (("candidate", student), ("baseline", folder / "baseline")):
        cards[name] = load_detector(model / "model.safetensors")[1]
        box_evaluate(folder / "split", model, params=params, out=folder / "evaluation" / name)
    assert (cards["candidate"].spec.width, cards["baseline"].spec.width) == (4, 8)
    assert cards["candidate"].method == str(KD())
    box_judge(*judged(folder, student), params=params, out=folder / "judge")
    checks = {check["name"]: check for check in read_json(folder / "judge/verdict.json")["checks"]}
    assert checks["size"]["candidate"] == cards["candidate"].parameters < checks["size"]["champion"]
    assert checks["latency"]["candidate"] < checks["latency"]["champion"]  # operations an image


def test_kd_cannot_begin_with_the_weights_of_a_wider_teacher(work):
    params, folder = work
    found = params.detection
    taught = dataclasses.replace(found.student, method=KD(), start="teacher")
    narrow = dataclasses.replace(found.network, width=4)  # since the teacher was trained
    params = dataclasses.replace(params, detection=dataclasses.replace(found, student=taught, network=narrow))
    labels = labelled(params, folder, folder / "rounds/1/labels")
    with pytest.raises(BadInput, match="Write start: scratch"):
        box_student(folder / "split", folder / "teacher", labels, params=params, out=folder / "rounds/1/student")


def labelled_by_workers(params, folder):
    """Labels by one worker and by two, and the numbers of workers that loaders were asked for."""
    started, loader = [], predicting.DataLoader
    with pytest.MonkeyPatch.context() as patch:
        # Images that lie decoded in memory are read without workers; these are read from their files.
        patch.setattr(box_answers.Images, "open", partial(box_answers.Images.open, cache_bytes=0))
        patch.setattr(
            predicting, "DataLoader", lambda *some, **more: started.append(more["num_workers"]) or loader(*some, **more)
        )
        made = [labelled(with_workers(params, n), folder, folder / f"by{n}/1/labels") for n in (1, 2)]
    return *made, set(started)


def test_a_pool_has_the_same_bytes_by_one_worker_by_two_and_after_a_kill(work, monkeypatch):
    params, folder = work
    one, two, started = fresh(labelled_by_workers, params, folder)
    assert started == {1, 2}
    assert read_json(one / "manifest.json")["kept"] > 0
    assert len(list(one.glob("shard-*.parquet"))) == 3
    assert contents(one) == contents(two)

    find_each, asked = box_labels.find_each, []

    def watched(table, parts, *others, **more):
        for part, found in zip(parts, find_each(table, parts, *others, **more), strict=True):
            asked.append(len(part))
            yield found

    def dies(*some, **more):
        for found in watched(*some, **more):
            if len(asked) == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            yield found

    again = folder / "again/1/labels"
    monkeypatch.setattr(box_labels, "find_each", dies)
    assert killed(lambda: labelled(params, folder, again)) == -signal.SIGKILL
    assert not again.exists()
    monkeypatch.setattr(box_labels, "find_each", watched)
    assert contents(labelled(params, folder, again)) == contents(one)
    assert asked == [3, 1]  # the first shard was not labelled again


def test_the_images_of_all_shards_are_opened_once(work, monkeypatch):
    """To open a table takes time for each of its rows, which all shards would take again."""
    params, folder = work
    box_calibrate(folder / "split", folder / "teacher", params=params, out=folder / "calibration")
    opened, plain = [], box_answers.Images.open
    monkeypatch.setattr(box_answers.Images, "open", lambda *some, **more: opened.append(1) or plain(*some, **more))
    labels = box_label(
        folder / "split", folder / "teacher", folder / "calibration", params=params, out=folder / "1/labels"
    )
    assert len(list(labels.glob("shard-*.parquet"))) == 3
    assert len(opened) == 1


def test_views_that_the_method_does_not_read_are_not_made(work, monkeypatch):
    """The student of the demo learns by stac from boxes that were written before, and of labels in both views."""
    params, folder = work
    labels, sources = named(params, folder, labelled(params, folder, folder / "rounds/1/labels")), []
    monkeypatch.setattr(training, "SceneSource", lambda **fields: sources.append(SceneSource(**fields)) or sources[-1])
    student = box_student(folder / "split", folder / "teacher", labels, params=params, out=folder / "rounds/1/student")
    assert [source.unread for source in sources] == [{"pool.weak"}]
    assert [(source.whole.views.scale, source.whole.views.translate) for source in sources] == [(0, 0)]
    with pytest.raises(BadInput, match="was written by another teacher"):
        box_student(folder / "split", student, labels, params=params, out=folder / "other/rounds/1/student")


def test_boxes_of_another_teacher_are_refused(work):
    params, folder = work
    calibration = box_calibrate(folder / "split", folder / "teacher", params=params, out=folder / "calibration")
    detector(folder / "split", params=params, out=folder / "baseline")
    noted = {name: read_json(folder / f"{name}/learned_from.json") for name in ("teacher", "baseline")}
    assert noted == {"teacher": ["labelled"], "baseline": ["labelled", "holdout"]}
    with pytest.raises(BadInput, match="made for another model"):
        box_label(folder / "split", folder / "baseline", calibration, params=params, out=folder / "labels")
    (calibration / "calibration.json").write_text('{"scale": 1.0, "looks": 1, "rule": "count", "classes": []}')
    with pytest.raises(BadInput, match=r"calibration.json is no calibration of boxes \(KeyError: 'shift'\)"):
        box_label(folder / "split", folder / "teacher", calibration, params=params, out=folder / "labels")


def test_a_teacher_that_looks_in_all_ways_is_calibrated_and_asked_in_all_of_them(work):
    params, folder = work
    wanted = params.detection
    more = dataclasses.replace(
        params,
        detection=dataclasses.replace(
            wanted,
            views=dataclasses.replace(wanted.views, turn=True),
            label=dataclasses.replace(wanted.label, orientations=True),
        ),
    )
    one, eight = (labelled(each, folder, folder / f"{name}/labels") for name, each in (("one", params), ("all", more)))
    assert read_json(folder / "all/calibration/calibration.json")["looks"] == 8
    assert "each seen in 8 ways" in (folder / "all/calibration/report.md").read_text()
    assert contents(one) != contents(eight)
    with pytest.raises(BadInput, match=r"made with 8 ways to look at an image, detection\.label asks for 1"):
        box_label(folder / "split", folder / "teacher", folder / "all/calibration", params=params, out=folder / "none")


def test_objects_are_counted_in_all_labelled_images_not_only_in_those_held_out(work, monkeypatch):
    params, folder = work
    wanted = dataclasses.replace(params.detection.calibrate, rule="count")
    params, counted = dataclasses.replace(params, detection=dataclasses.replace(params.detection, calibrate=wanted)), []
    count = box_calibrates.objects_an_image
    monkeypatch.setattr(
        box_calibrates, "objects_an_image", lambda given, known: counted.append(len(given)) or count(given, known)
    )
    box_calibrate(folder / "split", folder / "teacher", params=params, out=folder / "calibration")
    assert counted == [8]


def test_boxes_are_counted_without_a_holdout_but_no_precision_is_promised(tmp_path, monkeypatch):
    """Where few images have boxes, the teacher may have them all."""
    monkeypatch.chdir(tmp_path)
    found = known().detection
    params, folder = prepare(tmp_path, split=found.split, calibrate=found.calibrate)
    (folder / "teacher/learned_from.json").write_text('["labelled", "holdout"]')  # of a hold-out without an image
    wanted = dataclasses.replace(found.calibrate, rule="precision")
    asked = dataclasses.replace(params, detection=dataclasses.replace(params.detection, calibrate=wanted))
    with pytest.raises(BadInput, match=r"no holdout image.*Set detection\.split\.holdout, or another detection\.calib"):
        box_calibrate(folder / "split", folder / "teacher", params=asked, out=folder / "calibration")
    labels = named(params, folder, labelled(params, folder, folder / "rounds/1/labels"))
    rules = read_json(folder / "rounds/1/calibration/calibration.json")
    assert (rules["scale"], rules["shift"]) == (1.0, 0.0)
    assert "There is no hold-out" in (folder / "rounds/1/calibration/report.md").read_text()
    student = box_student(folder / "split", folder / "teacher", labels, params=params, out=folder / "rounds/1/student")
    guard = box_guard(folder / "split", folder / "teacher", labels, student, params=params, out=folder / "guard")
    signals = read_json(guard / "guard.json")["signals"]
    assert signals["drop"]["detail"] == "the hold-out has no object: no AP50 was compared"


@pytest.mark.parametrize("kind", ["fcos", "retinanet", "faster_rcnn"])
def test_an_image_with_400_objects_and_one_with_none_both_train(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    content = coco_set(tmp_path / "images", "labelled", 2, bare=(0, 1))
    content["annotations"] = [
        {"id": n, "image_id": 0, "category_id": 10 + 10 * (n % 2), "bbox": [n % 20 / 2, n // 20 / 2, 4 + n % 3, 5]}
        for n in range(400)
    ]
    write(tmp_path / "images", "labelled", content)
    for name, start in (("pool", 20), ("test", 40)):
        coco_set(tmp_path / "images", name, 2, start=start)
    params = small(known())
    found = params.detection
    detection = dataclasses.replace(
        found, network=dataclasses.replace(found.network, kind=kind),
        split=dataclasses.replace(found.split, holdout=0.0),
        calibrate=dataclasses.replace(found.calibrate, rule="count"),
        baseline=dataclasses.replace(found.baseline, labelled_batch=2, steps=2),
    )  # fmt: skip
    params, seen = dataclasses.replace(params, detection=detection), []
    source = SceneSource.__getitem__
    monkeypatch.setattr(SceneSource, "__getitem__", lambda self, step: seen.append(source(self, step)) or seen[-1])
    ingested = scenes_ingest(tmp_path / "images", params=params, out=tmp_path / "ingest")
    split = scenes_split(ingested, params=params, out=tmp_path / "split")
    detector(split, params=params, out=tmp_path / "baseline")
    for batch in seen:
        assert sorted(len(boxes.labels) for boxes in batch.labeled.weak_boxes) == [0, 400]
    losses = [float(row.split(",")[1]) for row in (tmp_path / "baseline/curve.csv").read_text().splitlines()[1:]]
    assert len(losses) == 2
    assert all(math.isfinite(loss) and loss > 0 for loss in losses)


def test_without_hidden_boxes_there_is_no_oracle(work):
    params, folder = work
    (folder / "split/known.parquet").unlink()
    with pytest.raises(BadInput, match=r"known\.parquet"):
        detector(folder / "split", params=params, out=folder / "oracle")
