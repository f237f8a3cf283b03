import dataclasses

import pytest
from project import ROOT

import tasks.__main__ as command
from tasks.fair import uneven
from tasks.params import load

PARAMS = load(ROOT / "params.yaml")


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
