"""From a split to several teachers in one file, to a student of theirs, and to labels that hide who gave them."""

from dataclasses import replace

import numpy as np
import pytest
from interrupted import interrupted
from small_work import CLASSES, SPEC, contents, make_split, new_network, save, small_params, train

import tasks.committee
from tasks.committee import committee
from tasks.committee_params import CommitteeParams, Member
from tasks.compact import compact
from tasks.compress_params import Link
from tasks.evaluate import evaluate
from tasks.io import read_json, write_json
from tasks.pate import pate
from tasks.training import NOTE, learned_from, rows_of
from tutelage.data.manifest import read_split, read_truth
from tutelage.methods.multi_teacher_avg import MultiTeacherAvg
from tutelage.models.backbone import NetworkSpec
from tutelage.models.committee import members_of
from tutelage.models.files import load_model, save_committee
from tutelage.train.pate import PATE
from tutelage.types import BadInput


def params_for(*members, steps=2, **settings):
    params = small_params()
    learn = replace(params.teacher, steps=steps, labelled_batch=4)
    wanted = CommitteeParams(members=list(members), train=learn, **settings)
    return replace(params, committee=wanted, compute=replace(params.compute, checkpoint_seconds=0.0))


@pytest.fixture
def split(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return make_split(tmp_path)


def test_members_are_trained_or_taken_and_a_student_hears_them(split, tmp_path):
    save(tmp_path / "there", train(new_network(5), split, 4))
    params = params_for(Member(number=2), Member(network={"width": 2}), Member(model="there"))
    out = committee(split, params=params, out=tmp_path / "committee")
    net, card = load_model(out / "model.safetensors")
    assert (card.members, card.classes, len(members_of(net))) == (4, CLASSES, 4)
    first, second, _, there = (dict(member.state_dict()) for member in members_of(net))
    assert any((first[name] != second[name]).any() for name in first)  # seeds differ
    given = load_model(tmp_path / "there/model.safetensors")[0].state_dict()
    assert all((there[name] == given[name]).all() for name in given)
    told = read_json(out / "committee.json")
    assert [one["images"] for one in told["members"]] == [12, 12, 12, None]
    link = Link(teacher=str(out), network={"width": 2})
    student = replace(params.compress.student, steps=2, labelled_batch=4, pool_batch=4, method=MultiTeacherAvg())
    params = replace(params, compress=replace(params.compress, chain={1: link}, last=1, student=student))
    taught = compact(split, out, params=params, out=tmp_path / "students/1")
    assert load_model(taught / "model.safetensors")[1].method.startswith("MultiTeacherAvg(")
    evaluated = evaluate(split, out, params=params, out=tmp_path / "evaluation")  # it answers as one
    assert read_json(evaluated / "metrics.json")["model"] == card.sha256
    starting = replace(params.compress, student=replace(student, start="teacher"), chain={1: replace(link, network={})})
    with pytest.raises(BadInput, match="the teacher is 4 networks, the first"):
        compact(split, out, params=replace(params, compress=starting), out=tmp_path / "other/1")


@pytest.mark.parametrize(
    ("notes", "trained", "known"),
    [
        ([], True, ["labelled"]),
        ([["holdout", "labelled"]], True, ["holdout", "labelled"]),
        ([["labelled"], ["pool"]], False, ["labelled", "pool"]),
        ([["labelled"], None], True, []),  # nobody knows whether all have left the hold-out alone
        ([["holdout"], None], False, ["holdout"]),  # but that one has not is known
    ],
)
def test_a_committee_has_learned_from_all_that_its_members_have(split, tmp_path, notes, trained, known):
    members = [Member()] * trained
    for number, roles in enumerate(notes):
        folder = save(tmp_path / f"there{number}", new_network(number))
        if roles is not None:
            write_json(folder / NOTE, roles)
        members.append(Member(model=str(folder)))
    out = committee(split, params=params_for(*members, steps=1), out=tmp_path / "committee")
    assert learned_from(out) == known
    assert (out / NOTE).exists() == bool(known)


def test_what_was_cut_off_goes_on_with_the_member_that_was_being_trained(split, tmp_path, monkeypatch):
    params = params_for(Member(number=2))
    whole = contents(committee(split, params=params, out=tmp_path / "whole"))
    with interrupted(3):
        committee(split, params=params, out=tmp_path / "cut")
    trained = []
    run = tasks.committee.run
    monkeypatch.setattr(tasks.committee, "run", lambda job, *rest: (trained.append(job.name), run(job, *rest)))
    assert contents(committee(split, params=params, out=tmp_path / "cut")) == whole
    assert trained == ["committee@2"]
    assert not list(tmp_path.glob(".tutelage/members/*"))


def test_members_see_images_of_one_size(tmp_path):
    nets = [new_network(1), new_network(1, NetworkSpec(width=4, image_size=16))]
    with pytest.raises(BadInput, match=r"images of \[12, 16\] pixels"):
        save_committee(tmp_path / "x", nets, classes=CLASSES, method="")
    assert SPEC.image_size == 12


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Member(model="work/teacher", number=2),
        lambda: params_for(Member(model="work/teacher"), disjoint=True),
        lambda: replace(params_for(Member()).committee, train=small_params().compress.student),
    ],
)
def test_settings_that_contradict_each_other_are_refused(wrong):
    with pytest.raises(ValueError, match=r"leave|learns from a teacher"):
        wrong()


def test_the_student_of_a_vote_sees_no_private_image(split, tmp_path):
    params = params_for(Member(number=3), disjoint=True)
    params = replace(params, pate=PATE(queries=20, scale=0.0))
    out = committee(split, params=params, out=tmp_path / "committee")
    assert [one["images"] for one in read_json(out / "committee.json")["members"]] == [4, 4, 4]
    voted = pate(split, out, params=params, out=tmp_path / "pate")
    before, after = read_split(split), read_split(voted)
    roles = {name: role for name, role in zip(before["id"].to_pylist(), before["role"].to_pylist(), strict=True)}
    kept = {name: role for name, role in zip(after["id"].to_pylist(), after["role"].to_pylist(), strict=True)}
    assert {roles[name] for name in kept} == {"pool", "test"}
    assert {name for name, role in kept.items() if role == "test"} == {n for n, role in roles.items() if role == "test"}
    asked = {name for name, role in kept.items() if role == "labelled"}
    assert len(asked) == 20
    assert set(read_truth(voted)) == set(read_truth(split)) - asked
    told = read_json(voted / "pate.json")
    assert (told["teachers"], told["epsilon"]["moments"]) == (3, None)
    labels = after["label"].take(rows_of(after, "labelled")).to_pylist()
    names = after["id"].take(rows_of(after, "labelled")).to_pylist()
    truth = read_truth(split)
    assert told["right"] == np.mean([truth[name] == label for name, label in zip(names, labels, strict=True)])
    noisy = pate(split, out, params=replace(params, pate=PATE(queries=20, scale=1e6)), out=tmp_path / "noisy")
    assert read_split(noisy)["label"].to_pylist() != after["label"].to_pylist()
    assert contents(pate(split, out, params=params, out=tmp_path / "again")) == contents(voted)


def test_a_vote_needs_disjoint_shares_and_enough_images(split, tmp_path):
    params = params_for(Member(number=2))
    with pytest.raises(BadInput, match="no committee of disjoint shares"):
        pate(split, committee(split, params=params, out=tmp_path / "c"), params=params, out=tmp_path / "p")
    params = params_for(Member(number=2), disjoint=True)
    with pytest.raises(BadInput, match="queries is 100, and the pool has 60 images"):
        pate(split, committee(split, params=params, out=tmp_path / "d"), params=params, out=tmp_path / "p")
