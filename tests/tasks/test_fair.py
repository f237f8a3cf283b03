import dataclasses
from operator import attrgetter

import pytest
from project import ROOT, known

import tasks.__main__ as command
from tasks.fair import uneven, uneven_choice, uneven_pair, uneven_scenes

PARAMS = known()


def longer(name, steps):
    return dataclasses.replace(PARAMS, **{name: dataclasses.replace(getattr(PARAMS, name), steps=steps)})


def test_the_committed_lines_are_trained_equally_long():
    assert uneven(PARAMS) == uneven(PARAMS.detection) == []


@pytest.mark.parametrize(
    ("name", "steps", "said"),
    [
        ("baseline", 1600, "some of the gain is longer training"),
        ("baseline", 1800, "it has had more training"),
        ("oracle", 1600, "it is no ceiling"),
    ],
)
def test_a_line_with_other_steps_is_named_with_the_steps_to_write(name, steps, said):
    (line,) = uneven(longer(name, steps))
    assert line.startswith(f"Unequal training: {name}.steps is {steps:,}, teacher and 1 student(s) have 1,700 steps")
    assert f"so {said}. Write 1700" in line


def test_students_of_all_rounds_count():
    rounds = dataclasses.replace(PARAMS.detection, last=2, rounds=PARAMS.detection.rounds | {
        1: dataclasses.replace(PARAMS.detection.rounds[1], holdout=False),
        2: dataclasses.replace(PARAMS.detection.rounds[1], teacher="work/detection/rounds/1/guard"),
    })  # fmt: skip
    (line,) = uneven(rounds, section="detection.")  # no oracle is asked, so none is unequal
    assert line.startswith("Unequal training: detection.baseline.steps")
    assert "have 1,800 steps together" in line
    oracle = dataclasses.replace(rounds, oracle=PARAMS.detection.baseline)
    assert [line.split(".steps")[0] for line in uneven(oracle)] == [
        "Unequal training: baseline", "Unequal training: oracle",
    ]  # fmt: skip


ROUNDS = ("round 1", "round 2", "round 3")


def test_who_descends_from_more_steps_than_the_source_trained_longer_is_named():
    """600 steps of the source and of `translated`, 200 of each round; the source trained longer has 1,200."""
    assert uneven_choice(PARAMS.adapt, "mic", "source_longer", ROUNDS) == []
    assert uneven_choice(PARAMS.adapt, "source", "source_longer", ROUNDS) == []  # nothing was adapted
    (line,) = uneven_choice(PARAMS.adapt, "round 3", "source_longer", ROUNDS)
    assert line == (
        "Unequal training: round 3 has 1,800 steps with those of all that it begins with, source_longer 1,200, so some "
        "of the gain is longer training. Write adapt.candidates.source_longer.steps: 1200 for a fair comparison"
    )
    assert "cycada has 1,400 steps" in uneven_choice(PARAMS.adapt, "cycada", "source_longer", ROUNDS)[0]
    scratch = dataclasses.replace(PARAMS.adapt, candidates=PARAMS.adapt.candidates | {
        "mic": dataclasses.replace(PARAMS.adapt.candidates["mic"], start="scratch"),
    })  # fmt: skip
    (line,) = uneven_choice(scratch, "mic", "source_longer", ROUNDS)
    assert line.endswith("source_longer 1,200, so it has had more training")  # and nothing to write makes them equal
    afresh = dataclasses.replace(PARAMS.adapt, student=dataclasses.replace(PARAMS.adapt.student, start="scratch"))
    assert "round 3 has 200 steps" in uneven_choice(afresh, "round 3", "source_longer", ROUNDS)[0]


def test_steps_of_a_student_that_the_guard_refused_are_in_no_later_one():
    """The second round goes on from `translated` where the guard of the first passed it on."""
    for kept, steps in ((["round 1", "round 2"], "1,600"), (["round 2"], "1,400")):
        (line,) = uneven_choice(PARAMS.adapt, "round 2", "source_longer", kept)
        assert f"round 2 has {steps} steps" in line


@pytest.mark.parametrize("section", ["compress", "detection.compress"])
def test_a_student_and_its_baseline_that_saw_other_labels_are_told(section):
    wanted = attrgetter(section)(PARAMS)
    alike = dataclasses.replace(wanted.baseline, steps=wanted.student.steps)

    def told(**changes):
        other = dataclasses.replace(alike, **changes)
        return uneven_pair(wanted.student, other, section=section, names=("student", "baseline"), whose="the teacher's")

    assert told() == []
    (line,) = told(steps=2501)
    assert line.startswith(
        f"Unequal training: {section}.baseline.steps is 2,501, {section}.student.steps {wanted.student.steps:,}, so "
        "not all of the difference is the teacher's."
    )
    batch = wanted.student.labelled_batch
    (line,) = told(labelled_batch=batch + 1)
    assert line.startswith(f"Unequal training: {section}.baseline.labelled_batch is {batch + 1},")
    assert line.endswith(f"Write {batch} for a fair comparison.")


@pytest.mark.parametrize("name", ["baseline", "oracle"])
def test_scenes_are_adapted_for_as_many_steps_as_what_is_beside_them(name):
    assert uneven_scenes(PARAMS.adapt_scenes) == []
    other = dataclasses.replace(getattr(PARAMS.adapt_scenes, name), steps=900)
    (line,) = uneven_scenes(dataclasses.replace(PARAMS.adapt_scenes, **{name: other}))
    assert line.startswith(
        f"Unequal training: adapt_scenes.{name}.steps is 900, source and adabn have 1,600 steps together, so "
    )
    assert uneven_scenes(dataclasses.replace(PARAMS.adapt_scenes, **{name: other}), ["source"]) == []  # it is not there
    way = dataclasses.replace(PARAMS.adapt_scenes.candidates["adabn"], start="scratch", steps=1600)
    assert uneven_scenes(dataclasses.replace(PARAMS.adapt_scenes, candidates={"adabn": way})) == []


def test_check_says_so(tmp_path, monkeypatch, capsys):
    text = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text.replace("baseline: {steps: 1700,", "baseline: {steps: 1699,"))
    monkeypatch.chdir(tmp_path)
    assert command.main(["check"]) == 0
    said = capsys.readouterr().out
    assert "params.yaml is valid\nUnequal training: baseline.steps is 1,699" in said


@pytest.mark.parametrize("given", [["other.yaml"], ["--help"]])
def test_check_takes_no_other_file(capsys, given):
    assert command.main(["check", *given]) == 2
    caught = capsys.readouterr()
    assert "Usage: python -m tasks check, which checks params.yaml here" in caught.err
    assert not caught.out
