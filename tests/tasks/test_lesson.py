"""Loops of their own, from a split to a model that other stages can load."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from small_work import CLASSES, ROLES, SPEC, contents, make_split, new_network, save, small_params, train

import tasks.carry
import tasks.lesson
import tasks.lesson_search
from tasks.compact import compact
from tasks.compress_params import Link
from tasks.evaluate import evaluate
from tasks.io import read_json
from tasks.lesson import TEACHERS, lesson
from tasks.lesson_params import LessonParams, parse_loop
from tasks.loops import LOOPS
from tasks.teaching import Teaching
from tasks.training import NOTE
from tutelage.data.batches import to_float
from tutelage.data.manifest import read_split
from tutelage.methods.quantized_distillation import QuantizedDistillation
from tutelage.methods.supervised import Supervised
from tutelage.metrics.classification import auroc
from tutelage.models.files import load_model, save_committee
from tutelage.train.uninformed_students import load_anomalies
from tutelage.train.vad_ordinal import load_ranker
from tutelage.types import BadInput

CANDIDATES = {"networks": [{"width": 2}, {"width": 3}, {"width": 30}], "parameters": 12000, "search_steps": 2}
LEARNERS = {
    "afd": {"critic_width": 2},
    "ckpt_nmt": {"every": 1},
    "kdfm": {},
    "kdgan": {"first": 0.3},
    "metadistil": {},
    "nas_student": CANDIDATES,
    "oracle_search": {"search_steps": 3, "search": {"parameters": 2000, "controller_lr": 0.05}},
    "rl_kd": {"alone": 0.3, "policy": 0.2},
    "sftn": {"student": {"width": 2, "image_size": 12}},
}
ANOMALIES = {"normal": ["blue <sky>"], "students": 2, "layer": "stage1:stage1", "lr": 0.01}


class Cut(Exception):
    pass


def params_for(name, steps=4, network=None, **fields):
    params = small_params()
    wanted = LessonParams(
        steps=steps, labelled_batch=6, network=network or {}, learn=parse_loop({"name": name, **fields})
    )
    compute = replace(params.compute, checkpoint_seconds=0.0)
    return replace(params, lesson=wanted, compute=compute, evaluate=replace(params.evaluate, batch=40))


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A split and a teacher of it, in the working directory."""
    monkeypatch.chdir(tmp_path)
    split = make_split(tmp_path)
    return split, save(tmp_path / "teacher", train(new_network(5), split, 4))


def cut_after(monkeypatch, steps):
    """Every loop ends in the middle of its run."""
    follow = tasks.carry._follow

    def dies(name, taken, *others, **more):
        def few():
            yield from islice(taken, steps)
            raise Cut

        return follow(name, few(), *others, **more)

    monkeypatch.setattr(tasks.carry, "_follow", dies)


def test_every_loop_has_a_teacher():
    assert set(TEACHERS) == set(LOOPS.values())


@pytest.mark.parametrize("name", LEARNERS)
def test_a_run_ends_as_a_model_that_is_the_same_where_it_was_cut(world, tmp_path, monkeypatch, name):
    split, teacher = world
    params = params_for(name, network={"width": 3}, **LEARNERS[name])
    whole = contents(lesson(split, teacher, params=params, out=tmp_path / "whole"))
    assert not list(tmp_path.glob(".tutelage/checkpoints/*"))
    with monkeypatch.context() as patch:
        cut_after(patch, 2)
        with pytest.raises(Cut):
            lesson(split, teacher, params=params, out=tmp_path / "cut")
    assert list(tmp_path.glob(".tutelage/checkpoints/*/run.pt"))
    assert contents(lesson(split, teacher, params=params, out=tmp_path / "cut")) == whole
    network, card = load_model(tmp_path / "cut/model.safetensors")
    assert card.spec.width == 3 or name == "nas_student"
    assert read_json(tmp_path / "cut" / NOTE) == ["labelled", "holdout"]
    assert sum(p.numel() for p in network.parameters()) == card.parameters
    evaluated = evaluate(split, tmp_path / "cut", params=params, out=tmp_path / "evaluation")
    assert read_json(evaluated / "metrics.json")["model"] == card.sha256


def test_a_search_takes_the_best_of_what_is_small_enough(world, tmp_path, monkeypatch):
    split, teacher = world
    params = params_for("nas_student", **CANDIDATES)
    found, searched = tasks.lesson_search.search, []

    def dies(settings, *others, **more):
        searched.append([spec.width for spec in settings.specs])
        yield from islice(found(settings, *others, **more), 1)
        if len(searched) == 1:
            raise Cut

    monkeypatch.setattr(tasks.lesson_search, "search", dies)
    with pytest.raises(Cut):
        lesson(split, teacher, params=params, out=tmp_path / "out")
    out = lesson(split, teacher, params=params, out=tmp_path / "out")
    assert searched == [[2, 3], [3]]  # 30 is too large, and what was rated is not rated again
    told = read_json(out / "search.json")
    scores = {one["spec"]["width"]: one["score"] for one in told["candidates"]}
    assert set(scores) == {2, 3}
    best = max(scores, key=lambda width: scores[width])
    assert told["chosen"]["width"] == load_model(out / "model.safetensors")[1].spec.width == best


def test_what_was_grown_is_in_the_card(world, tmp_path):
    split, teacher = world
    out = lesson(split, teacher, params=params_for("oracle_search", **LEARNERS["oracle_search"]), out=tmp_path / "out")
    card = load_model(out / "model.safetensors")[1]
    assert [list(layer) for layer in card.spec.added] == read_json(out / "search.json")["added"]
    assert len(card.spec.added) == 3


def test_no_image_of_a_lesson_is_in_a_quiz(world):
    split, teacher = world
    params, table = params_for("metadistil"), read_split(split)
    teaching = Teaching(
        name="lesson", wanted=params.lesson, network=SPEC, table=table, params=params,
        weights=teacher / "model.safetensors",
    )  # fmt: skip
    jobs = [teaching.job(Supervised(), SPEC, (role,)) for role in ("labelled", "holdout")]
    assert [{table["role"][int(row)].as_py() for row in job.labeled} for job in jobs] == [{"labelled"}, {"holdout"}]
    (one,) = teaching.lessons(start=2, stop=3)
    (again,) = islice(teaching.lessons(start=1, stop=3), 1, 2)
    seen, repeated = (to_float(lesson.quiz, torch.device("cpu")) for lesson in (one, again))
    assert all(torch.equal(a, b) for a, b in zip(seen, repeated, strict=True))


def test_without_a_hold_out_there_is_no_quiz(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    split = make_split(tmp_path, ROLES | {"holdout": 0})
    teacher = save(tmp_path / "teacher", new_network(5))
    with pytest.raises(BadInput, match=r"no hold-out, which MetaDistil learns from\. Raise split\.holdout"):
        lesson(split, teacher, params=params_for("metadistil"), out=tmp_path / "out")


def test_a_link_of_the_chain_is_trained_by_its_loop(world, tmp_path):
    split, teacher = world
    params = params_for("metadistil")
    link = Link(teacher=str(teacher), network={"width": 2}, learn=parse_loop({"name": "metadistil", "alpha": 0.5}))
    student = replace(params.compress.student, steps=3, labelled_batch=6)
    params = replace(params, compress=replace(params.compress, chain={1: link}, last=1, student=student))
    out = compact(split, teacher, params=params, out=tmp_path / "students/1")
    card = load_model(out / "model.safetensors")[1]
    assert (card.spec.width, card.method[:21]) == (2, "MetaDistil(alpha=0.5,")


def test_a_link_of_few_bits_ends_as_a_network_of_few_bits(world, tmp_path):
    split, teacher = world
    params = small_params()
    student = replace(params.compress.student, steps=2, labelled_batch=6, method=QuantizedDistillation(bits=3))
    link = Link(teacher=str(teacher), network={"width": 2})
    params = replace(params, compress=replace(params.compress, chain={1: link}, last=1, student=student))
    net, _ = load_model(compact(split, teacher, params=params, out=tmp_path / "students/1") / "model.safetensors")
    assert max(len(p.unique()) for p in net.parameters() if p.ndim > 1) <= 7


@pytest.fixture
def anomalies(world, tmp_path):
    split, teacher = world
    params = params_for("uninformed_students", steps=40, **ANOMALIES)
    params = replace(params, evaluate=replace(params.evaluate, batch=4))  # fewer than a step learns from
    return params, lesson(split, teacher, params=params, out=tmp_path / "anomalies")


def test_maps_tell_images_of_other_classes_from_normal_ones(world, anomalies, tmp_path, monkeypatch):
    (split, teacher), (params, out) = world, anomalies
    table = read_split(split)
    test = [(name, label) for name, role, label in zip(*(table[c].to_pylist() for c in ("id", "role", "label")),
            strict=True) if role == "test"]  # fmt: skip
    maps, told = pq.read_table(out / "maps.parquet"), read_json(out / "anomalies.json")
    assert maps["id"].to_pylist() == [name for name, _ in test]
    assert set(maps["height"].to_pylist()) == set(maps["width"].to_pylist()) == {12}
    pixels = np.array(maps["map"].to_pylist(), np.float32)
    odd = np.array([label != 0 for _, label in test])
    assert told["auroc"]["largest"] == auroc(pixels.max(axis=1), odd)
    assert told["auroc"]["mean"] == pytest.approx(auroc(pixels.mean(axis=1), odd), abs=1e-3)
    assert told["auroc"]["largest"] > 0.9  # blue, against green and red
    assert told["classes"]["blue <sky>"]["mean"] < 1 < told["classes"]["green|grass"]["mean"]
    assert "Area under the ROC curve" in (out / "report.md").read_text()
    assert (out / "curve.csv").read_text().splitlines()[-1].startswith("40,")
    assert load_anomalies(out / "model.safetensors").layer == "stage1:stage1"
    with pytest.raises(BadInput, match="a model for maps of anomalies, and one for classification is needed"):
        load_model(out / "model.safetensors")
    with monkeypatch.context() as patch:
        cut_after(patch, 15)
        with pytest.raises(Cut):
            lesson(split, teacher, params=params, out=tmp_path / "cut")
    assert contents(lesson(split, teacher, params=params, out=tmp_path / "cut")) == contents(out)


def test_where_all_is_normal_nothing_is_measured(world, tmp_path):
    split, teacher = world
    params = params_for("uninformed_students", **ANOMALIES | {"normal": None})
    out = lesson(split, teacher, params=params, out=tmp_path / "out")
    assert read_json(out / "anomalies.json")["auroc"] is None
    assert "images of one kind only" in (out / "report.md").read_text()
    wrong = params_for("uninformed_students", **ANOMALIES | {"normal": ["blue"]})
    with pytest.raises(BadInput, match="normal names 'blue', which is no class"):
        lesson(split, teacher, params=wrong, out=tmp_path / "out")


@pytest.mark.parametrize(
    ("roles", "members", "message"),
    [
        ({}, 2, "a committee of 2 networks, and one is needed here"),
        ({"holdout": 0}, 1, "no holdout image is of a normal class"),
        ({"test": 0}, 1, "no test image to map"),
    ],
)
def test_what_has_no_anomalies_to_find_is_refused_before_it_is_trained(tmp_path, monkeypatch, roles, members, message):
    monkeypatch.chdir(tmp_path)
    split, teacher = make_split(tmp_path, ROLES | roles), save(tmp_path / "teacher", new_network(5))
    if members > 1:
        nets = [new_network(seed) for seed in range(members)]
        save_committee(teacher / "model.safetensors", nets, classes=CLASSES, method="Supervised()")
    with pytest.raises(BadInput, match=message):
        lesson(split, teacher, params=params_for("uninformed_students", **ANOMALIES), out=tmp_path / "out")
    assert not (tmp_path / ".tutelage").exists()


@pytest.mark.parametrize(
    "learn", [{"name": "nas_student"} | CANDIDATES, {"name": "oracle_search"}, {"name": "uninformed_students"}]
)
def test_what_makes_its_own_networks_begins_with_no_teachers_weights(learn):
    made, compress = parse_loop(learn), small_params().compress
    with pytest.raises(BadInput, match=rf"start is 'teacher', but {learn['name']} makes .*start: scratch"):
        LessonParams(steps=2, labelled_batch=2, start="teacher", learn=made)
    if learn["name"] != "uninformed_students":
        link, student = Link(teacher="work/judge", network={}, learn=made), replace(compress.student, start="teacher")
        with pytest.raises(BadInput, match=rf"student\.start is 'teacher', but {learn['name']}"):
            replace(compress, student=student, chain={1: link}, last=1)


def test_images_of_pool_and_test_are_ranked_without_labels(world, tmp_path, monkeypatch):
    split, teacher = world
    learn = {"rounds": 2, "anomalous": 0.2, "usual": 0.3, "hidden": 8, "lr": 0.01, "trees": 10}
    params = params_for("vad_ordinal", steps=8, network={"width": 3}, normal=["blue <sky>"], learn=learn)
    out = lesson(split, teacher, params=params, out=tmp_path / "ranks")
    table, scores, told = read_split(split), pq.read_table(out / "scores.parquet"), read_json(out / "anomalies.json")
    pairs = list(zip(table["id"].to_pylist(), table["role"].to_pylist(), strict=True))
    wanted = [pair for role in ("pool", "test") for pair in pairs if pair[1] == role]
    assert list(zip(scores["id"].to_pylist(), scores["role"].to_pylist(), strict=True)) == wanted
    test = scores.filter(pc.equal(scores["role"], "test"))["score"].to_numpy()
    labels = table.filter(pc.equal(table["role"], "test"))["label"].to_numpy()
    assert told["auroc"]["mean of the rounds"] == pytest.approx(auroc(test, labels != 0))
    assert set(told["auroc"]) == {"round 1", "round 2", "mean of the rounds"}
    assert told["classes"]["blue <sky>"]["score"] == pytest.approx(test[labels == 0].mean(), rel=1e-5)
    assert load_ranker(out / "model.safetensors").settings.rounds == 2
    assert "The oddest images of the pool" in (out / "report.md").read_text()
    with monkeypatch.context() as patch:
        cut_after(patch, 5)
        with pytest.raises(Cut):
            lesson(split, teacher, params=params, out=tmp_path / "cut")
    assert contents(lesson(split, teacher, params=params, out=tmp_path / "cut")) == contents(out)


def test_a_best_checkpoint_is_judged_by_images_that_it_does_not_train_on(world, tmp_path, monkeypatch):
    split, teacher = world
    seen = []
    predict = tasks.lesson.predict
    monkeypatch.setattr(
        tasks.lesson,
        "predict",
        lambda net, images, rows, **more: (seen.append(rows), predict(net, images, rows, **more))[1],
    )
    lesson(split, teacher, params=params_for("ckpt_nmt", every=2), out=tmp_path / "out")
    held = np.flatnonzero(np.array(read_split(split)["role"].to_pylist()) == "holdout")
    assert len(seen) == 1  # after step 2; after step 4 nothing would learn from it
    assert (seen[0] == held).all()
