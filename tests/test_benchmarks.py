import pytest

from benchmarks import evidence, overhead, turns


def test_budgets_without_the_one_that_trains_the_oracle_are_refused_before_anything_runs(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["evidence", "--labels", "100", "200"])
    monkeypatch.setattr(evidence, "_repro", lambda *_: pytest.fail("a stage has run"))
    with pytest.raises(SystemExit) as refused:
        evidence.main()
    assert refused.value.code == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "--labels is 100 200: 400 must be among them" in said
    assert said.endswith("Write --labels 400 100 200")


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
