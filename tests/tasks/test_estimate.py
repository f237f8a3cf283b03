"""What a run will take, before it is run."""

import os
import pickle
import re
import shutil
from dataclasses import replace
from functools import partial
from itertools import count, repeat
from multiprocessing import get_start_method

import pytest
from project import ROOT
from small_work import contents, make_split, new_network, plant_labels, save, small_params

import tutelage.train.cost as cost
import tutelage.train.predict as predicting
from tasks import compress_workload, pace, workload
from tasks.__main__ import main
from tasks.calibrate import calibrate
from tasks.estimate import apart, estimate, longest, spent
from tasks.evaluate import evaluate
from tasks.graph import Stage, stages
from tasks.guard import guard
from tasks.pace import SECONDS, TRIED, Pace, sample
from tasks.pseudo_label import pseudo_label
from tasks.workload import Work
from tutelage.data.manifest import TRUTH, read_split, write_split
from tutelage.methods import METHODS
from tutelage.models.backbone import NetworkSpec
from tutelage.train.cost import Timed, Took, timed
from tutelage.train.metadistil import MetaDistil
from tutelage.types import BadInput

PACE = Pace(begin=2.0, first=0.5, again=0.25, waited=0.4, tried=20, memory=10**9)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A checkout with a split: the repository's dvc.yaml and params.yaml."""
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    make_split(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def works(params, *names):
    """By stage."""
    world, known = workload.world(params), {**workload.STAGES, **compress_workload.STAGES}
    return {name: known[name.partition("@")[0]](world, name.partition("@")[2]) for name in names}


def amounts(params, *names):
    return {name: [(one.unit, one.amount) for one in found] for name, found in works(params, *names).items()}


def rows(lines):
    """The table: cells by stage."""
    return {cells[0]: cells for cells in (re.split("  +", line) for line in lines[0].splitlines())}


def test_steps_and_images_of_each_stage(place):
    """12 labelled images, 30 held out, 60 of the pool and 90 of the test."""
    names = [stage.name for stage in stages(place) if stage.name.partition("@")[0] in workload.STAGES]
    found = amounts(small_params(1), *names)
    assert found == {
        "teacher": [("step", 500)], "baseline": [("step", 1700)], "oracle": [("step", 1700)],
        "calibrate@1": [("image", 30 + 60)], "pseudo_label@1": [("image", 60)], "student@1": [("step", 1200)],
        "evaluate@1": [("image", 90)], "guard@1": [("image", 90), ("image", 90)],
        **{f"reference@{name}": [("image", 90)] for name in ("teacher", "baseline", "oracle", "candidate")},
        "judge": [], "report": [],
    }  # fmt: skip


def test_steps_and_images_of_compression(place):
    names = [stage.name for stage in stages(place) if stage.name.partition("@")[0] in compress_workload.STAGES]
    found = works(small_params(1), *names)
    assert {name: [(one.unit, one.amount) for one in each] for name, each in found.items()} == {
        "alone@teacher": [("step", 2600)], "alone@baseline": [("step", 4000)], "compact@1": [("step", 4000)],
        **{f"compact_evaluate@{name}": [("image", 90)] for name in ("teacher", "student", "baseline")},
        "export@teacher": [("image", 4 * 90)], "export@student": [("image", 4 * 90)], "compact_judge": [],
    }  # fmt: skip
    (link,), (large,), (small,) = (found[name] for name in ("compact@1", "export@teacher", "export@student"))
    assert re.findall("width=([0-9]+)", link.kind) == ["16", "64"]  # a student, and who teaches it
    assert ("width=64" in large.kind, "width=16" in small.kind) == (True, True)
    told = estimate("compact_judge", params=small_params(1), try_out=lambda work: PACE)
    assert rows(told).keys() >= {*names}


def test_a_chain_may_begin_with_any_model(place):
    params, chain = small_params(1), small_params(1).compress.chain

    def of(link):
        return replace(params, compress=replace(params.compress, chain={1: link}))

    judged = of(replace(chain[1], teacher="work/judge"))
    assert re.findall("width=([0-9]+)", works(judged, "compact@1")["compact@1"][0].kind) == ["16", "4"]
    mine = of(replace(chain[1], teacher="mine"))
    with pytest.raises(BadInput, match=r"compress.chain.1.teacher is mine, which is not there.* work/judge"):
        works(mine, "compact@1")
    save(place / "mine", new_network(1, NetworkSpec(width=6, image_size=16)))
    assert "width=6" in works(mine, "compact@1")["compact@1"][0].kind
    loop = of(replace(chain[1], learn=MetaDistil()))
    with pytest.raises(BadInput, match=r"compress.chain.1 is taught by MetaDistil, a loop whose steps"):
        works(loop, "compact@1")


def test_images_whose_distance_is_asked_are_counted(place):
    params = small_params(1)
    params = replace(params, calibrate=replace(params.calibrate, in_distribution=0.9))
    assert amounts(params, "calibrate@1") == {"calibrate@1": [("image", 2 * (30 + 60) + 12)]}


def test_steps_that_meet_new_images_and_what_of_them_is_kept(place):
    """Of 32 a step, 102 images with labels are met after 4 steps; of 32 + 16, 12 after 1 and 60 of the pool after 4."""
    params = small_params(1)
    params = replace(params, student=replace(params.student, pool_batch=16))
    found = works(params, "oracle", "student@1", "pseudo_label@1")
    (oracle,), (student,), (labelling,) = found.values()
    assert (oracle.first, oracle.kept) == (4, 102 * 12 * 12 * 3)
    assert (student.first, student.kept) == (4, 72 * 12 * 12 * 3)  # the hold-out is not trained on
    assert (labelling.first, labelling.kept) == (60, 0)  # each image is read once, and none is kept


def test_what_has_nothing_to_learn_from_takes_nothing(place):
    split = place / "work/split"
    table = read_split(split)
    write_split(split, table.filter([role != "pool" for role in table["role"].to_pylist()]), TRUTH.empty_table())
    found = amounts(small_params(1), "oracle", "reference@oracle", "student@1", "pseudo_label@1", "calibrate@1")
    assert found == {**{name: [] for name in found}, "calibrate@1": [("image", 30)]}


def test_stages_ask_about_as_many_images_as_was_said(place, monkeypatch):
    """The real stages, counted."""
    params, read = small_params(1), []
    real = predicting.batches_of

    def counted(images, chunks, **kwargs):
        read.append(sum(map(len, chunks)))
        return real(images, chunks, **kwargs)

    monkeypatch.setattr(predicting, "batches_of", counted)
    split, out = workload.SPLIT, place / "out/1"
    teacher, student = (save(place / name, new_network(seed)) for seed, name in enumerate(("teacher", "student")))
    calibrate(split, teacher, params=params, out=out / "calibration")
    pseudo_label(split, teacher, out / "calibration", params=params, out=out / "labels")
    evaluate(split, teacher, params=params, out=out / "evaluation")
    guard(split, teacher, plant_labels(place / "labels", split), student, params=params, out=out / "guard")
    told = amounts(params, "calibrate@1", "pseudo_label@1", "evaluate@1", "guard@1")
    assert sum(read) == sum(amount for each in told.values() for _, amount in each)
    assert read[2:] == [amount for each in list(told.values())[1:] for _, amount in each]  # calibrate asks twice


def test_the_sum_and_the_longest_path_by_hand(place):
    """A process begins in 2 s, a step or image takes 0.25 s, or 0.5 s where it meets new images."""
    lines = estimate("reference", params=small_params(1), price=3600.0, try_out=lambda _: PACE)
    assert {name: cells[1:] for name, cells in rows(lines).items()} == {
        "stage": ["what it does", "each takes", "in all", "memory"],
        "teacher": ["500 steps", "250 ms", "2 min 7 s", "1.00 GB"],  # 2 + 0.5 + 499 x 0.25
        "baseline": ["1,700 steps", "250 ms", "7 min 8 s", "1.00 GB"],  # 2 + 2 x 0.5 + 1698 x 0.25
        "oracle": ["1,700 steps", "251 ms", "7 min 8 s", "1.00 GB"],  # 2 + 4 x 0.5 + 1696 x 0.25
        "calibrate@1": ["90 images", "500 ms", "47 s", "1.00 GB"],
        "pseudo_label@1": ["60 images", "500 ms", "32 s", "1.00 GB"],
        "student@1": ["1,200 steps", "250 ms", "5 min 2 s", "1.00 GB"],
        "guard@1": ["90 images and 90 images", "500 ms, 500 ms", "1 min 32 s", "1.00 GB"],
        **{
            f"reference@{name}": ["90 images", "500 ms", "47 s", "1.00 GB"]
            for name in ("teacher", "baseline", "oracle", "candidate")
        },
    }
    said = "\n".join(lines)
    assert "27 min 24 s one after another, as `dvc repro reference` runs them" in said
    path = "teacher, calibrate@1, pseudo_label@1, student@1, guard@1, reference@candidate"
    assert f"10 min 48 s along the longest path ({path})" in said
    assert "1644.00 one after another, 647.50 at best" in said
    assert "oracle is 26 % of the time. Less takes: less of oracle.steps (1,700) and oracle.labelled_batch (32)" in said
    assert "oracle waits for its images for 40 % of that: more compute.workers (0)" in said
    assert "student@1 is" not in said  # 18 %


def test_one_of_each_kind_is_tried_that_with_most_new_images(place):
    tried = []

    def try_out(work):
        tried.append(work)
        return PACE

    estimate("report", params=small_params(1), try_out=try_out)
    assert {(work.amount, work.first) for work in tried if work.unit == "step"} == {(1200, 1), (1700, 4)}
    assert len(tried) == len({work.kind for work in tried}) == 4


def test_new_images_cost_more_and_are_counted_once():
    work = Work(kind="", unit="step", amount=10, first=4, kept=0, measure=partial(int), knobs=())
    assert spent(work, PACE) == 4 * 0.5 + 6 * 0.25


def test_the_longest_path_is_not_the_one_with_most_stages():
    a, b, c, d = (Stage(name, "", (), ()) for name in "abcd")
    wanted = {a: [], b: [a], c: [b], d: [a, c]}
    assert longest(wanted, {a: 1.0, b: 1.0, c: 1.0, d: 1.0}) == [a, b, c, d]
    wanted = {a: [], b: [], c: [b], d: [a, c]}
    assert longest(wanted, {a: 3.0, b: 1.0, c: 1.0, d: 1.0}) == [a, d]
    assert longest(wanted, {b: 5.0}) == [b]


def test_seconds_of_a_step_are_of_it_and_of_waiting_for_it(monkeypatch):
    """A clock that moves by one each time it is read: a batch is waited for from one reading to the next."""
    monkeypatch.setattr(cost.time, "perf_counter", partial(next, count(0.0)))
    feed = Timed(repeat("batch", 3))
    taken = list(timed(feed, feed))
    assert taken == [Took(3.0, 1.0)] * 3


def test_a_few_are_tried_after_a_few_to_warm_up_and_fewer_where_they_are_slow():
    tried = sample((Took(float(number) / 1000) for number in count()), 5)
    assert [round(1000 * took.seconds) for took in tried] == list(range(5, 5 + TRIED))
    slow = iter([Took(SECONDS)] * 4)
    assert sample(slow, 5) == [Took(SECONDS)]
    assert len(list(slow)) == 2


@pytest.fixture
def fewer(monkeypatch):
    monkeypatch.setattr(pace, "TRIED", 3)


def test_a_few_real_steps_and_answers_that_leave_nothing_behind(place, fewer):
    params, before = small_params(1), contents(place)
    found = works(params, "teacher", "student@1", "pseudo_label@1", "evaluate@1")
    for name, (work,) in found.items():
        measured = pickle.loads(pickle.dumps(work.measure))()  # as another process does it
        assert 0 < measured.tried <= 3, name
        assert min(measured.first, measured.again) > 0
        assert measured.memory > 10**8
    assert contents(place) == before


def test_a_student_is_taught_by_the_network_of_the_round_before(place, fewer):
    params = small_params(2)
    params.rounds[1].network["width"] = 8
    params = replace(params, student=replace(params.student, method=METHODS["kd"](), start="scratch"))
    (first,), (second,) = works(params, "student@1", "student@2").values()
    assert re.findall("width=(.)", first.kind) == ["8", "4"]
    assert re.findall("width=(.)", second.kind) == ["4", "8"]
    assert second.measure().tried  # kd refuses to begin without a teacher


def process():
    """Which one this is, and how those start that make batches for it."""
    return os.getpid(), get_start_method()  # itself it would be sent with what it knows here


def test_a_process_of_its_own_whose_death_is_told():
    work = Work(kind="a large network", unit="step", amount=1, first=1, kept=0, measure=process, knobs=())
    number, way = apart(work)
    assert number != os.getpid()
    assert way == get_start_method()
    with pytest.raises(BadInput, match="a large network: the process was killed"):
        apart(replace(work, measure=partial(os._exit, 9)))


def test_refusals(place, capsys):
    with pytest.raises(BadInput, match="'adapt_report' is not a target that can be estimated; there are: teacher, "):
        estimate("adapt_report", params=small_params(1))
    assert main(["estimate", "reprot"]) == 2
    assert "'reprot' is not a target" in capsys.readouterr().err
    assert main(["estimate", "--price", "-1"]) == 2
    assert "--price is -1: it is what an hour" in capsys.readouterr().err
    shutil.rmtree(place / "work/split")
    assert main(["estimate"]) == 2
    assert "Run `dvc repro doctor`" in capsys.readouterr().err
    assert main(["estimate", "box_report"]) == 2
    assert "Run `dvc repro scenes_split`" in capsys.readouterr().err
    written = (place / "params.yaml").read_text()
    (place / "params.yaml").write_text(written.replace("seed: 0", "sede: 0"))
    assert main(["estimate"]) == 2
    assert "seed" in capsys.readouterr().err
