"""The stages of detection, from COCO JSON to a verdict, on small files; a pool's boxes whatever it was cut off by."""

import dataclasses

import pytest
from project import ROOT
from scene_work import coco_set

import tasks.box_label as box_labels
from tasks.box_calibrate import box_calibrate
from tasks.box_evaluate import box_evaluate
from tasks.box_judge import box_judge
from tasks.box_label import box_label
from tasks.box_report import box_report
from tasks.box_student import box_student
from tasks.detector import detector
from tasks.io import read_json
from tasks.params import load
from tasks.scenes_ingest import scenes_ingest
from tasks.scenes_split import scenes_split
from tutelage.models.files import load_detector
from tutelage.types import BadInput


def small(params, **changes):
    """The repository's params with runs of a few steps on small images."""
    found = params.detection
    runs = {
        name: dataclasses.replace(getattr(found, name), steps=4, labelled_batch=4)
        for name in ("teacher", "baseline", "oracle")
    }
    detection = dataclasses.replace(
        found,
        ingest=dataclasses.replace(found.ingest, root="images", labelled="labelled.json", pool="pool.json"),
        network=dataclasses.replace(found.network, width=8, channels=8, image_size=32, levels=(4, 8)),
        student=dataclasses.replace(found.student, steps=4, labelled_batch=2, pool_batch=2),
        calibrate=dataclasses.replace(found.calibrate, floor=0.0, rule="count"),
        label=dataclasses.replace(found.label, shard_size=3, batch=2),
        judge=dataclasses.replace(found.judge, resamples=20),
        **(runs | changes),
    )
    compute = dataclasses.replace(params.compute, workers=0, device="cpu", threads=1)
    return dataclasses.replace(params, detection=detection, compute=compute)


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A split of 8 labelled images, 7 of the pool and 4 of the test, and a teacher."""
    params = small(load(ROOT / "params.yaml"))
    monkeypatch.chdir(tmp_path)
    for name, number, start in (("labelled", 8, 0), ("pool", 7, 20), ("test", 4, 40)):
        coco_set(tmp_path / "images", name, number, start=start)
    folder = tmp_path / "work/detection"
    ingested = scenes_ingest(tmp_path / "images", params=params, out=folder / "ingest")
    scenes_split(ingested, params=params, out=folder / "split")
    detector(folder / "split", params=params, out=folder / "teacher")
    return params, folder


def labelled(params, folder, out):
    calibration = box_calibrate(folder / "split", folder / "teacher", params=params, out=folder / "calibration")
    return box_label(folder / "split", folder / "teacher", calibration, params=params, out=out)


def test_from_boxes_to_a_verdict(work):
    params, folder = work
    labels = labelled(params, folder, folder / "rounds/1/labels")
    student = box_student(folder / "split", folder / "teacher", labels, params=params, out=folder / "rounds/1/student")
    assert read_json(student / "learned_from.json") == ["labelled", "holdout"]
    for name in ("baseline", "oracle"):
        detector(folder / "split", params=params, out=folder / name)
    models = {"baseline": folder / "baseline", "oracle": folder / "oracle", "candidate": student}
    for name, model in models.items():
        box_evaluate(folder / "split", model, params=params, out=folder / "evaluation" / name)
    box_judge(
        folder / "split", student, folder / "baseline", folder / "evaluation", params=params, out=folder / "judge"
    )
    verdict = read_json(folder / "judge/verdict.json")
    winner = student if verdict["promote"] else folder / "baseline"
    kept = load_detector(folder / "judge/model.safetensors")[1]
    assert kept.sha256 == load_detector(winner / "model.safetensors")[1].sha256
    report = box_report(folder, params=params, out=folder / "report")
    assert "supervised only" in (report / "summary.md").read_text()


def test_a_pool_cut_off_in_labelling_has_the_same_bytes(work, monkeypatch):
    params, folder = work
    whole = labelled(params, folder, folder / "rounds/1/labels")
    find, asked = box_labels.find, []

    def dies(table, rows, *others, **more):
        asked.append(len(rows))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return find(table, rows, *others, **more)

    monkeypatch.setattr(box_labels, "find", dies)
    with pytest.raises(KeyboardInterrupt):
        labelled(params, folder, folder / "again/1/labels")
    assert not (folder / "again/1/labels").exists()
    continued = labelled(params, folder, folder / "again/1/labels")
    assert asked == [3, 3, 3, 1]  # the first shard was not labelled again
    shards = [sorted(path.glob("shard-*.parquet")) for path in (whole, continued)]
    assert len(shards[0]) == 3
    assert [p.read_bytes() for p in shards[0]] == [p.read_bytes() for p in shards[1]]


def test_boxes_of_another_teacher_are_refused(work):
    params, folder = work
    calibration = box_calibrate(folder / "split", folder / "teacher", params=params, out=folder / "calibration")
    detector(folder / "split", params=params, out=folder / "baseline")
    with pytest.raises(BadInput, match="made for another teacher"):
        box_label(folder / "split", folder / "baseline", calibration, params=params, out=folder / "labels")


def test_without_hidden_boxes_there_is_no_oracle(work):
    params, folder = work
    (folder / "split/known.parquet").unlink()
    with pytest.raises(BadInput, match=r"known\.parquet"):
        detector(folder / "split", params=params, out=folder / "oracle")
