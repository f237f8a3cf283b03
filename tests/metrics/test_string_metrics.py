import math

import pytest

from tutelage.metrics.strings import complexity, edits, exact_match, faithfulness, similarity, symbol_error_rate
from tutelage.types import BadInput


def test_edits_by_hand():
    assert edits([1, 2, 3], [1, 2, 3]) == 0
    assert edits([], [1, 2]) == edits([1, 2], []) == 2
    assert edits([1, 2, 3, 3, 4, 5], [6, 2, 3, 3, 2, 5, 7]) == 3  # kitten, sitting
    assert similarity([1, 2], [1, 3]) == 0.5
    assert similarity([1, 2, 3, 4], [1]) == similarity([1], [1, 2, 3, 4]) == 0.25
    assert similarity([], []) == 1


def test_rates_by_hand():
    said, wanted = [[1, 2], [3]], [[1, 2], [4, 4, 4]]
    assert symbol_error_rate(wanted, said) == 3 / 5
    assert exact_match([*wanted, [7]], [*said, [8]]) == pytest.approx(1 / 3)
    with pytest.raises(BadInput, match="no symbol is wanted"):
        symbol_error_rate([[]], [[1]])


@pytest.mark.parametrize("measure", [symbol_error_rate, exact_match, complexity])
def test_no_string_is_left_over(measure):
    for many, few in (([[1], [2]], [[1]]), ([[1]], [[1], [2]])):
        with pytest.raises(ValueError, match="zip"):
            measure(many, few)


def test_a_string_that_ends_early_is_unfaithful_by_hand():
    """A thing is written as 1 and as nothing, and always as 1 once distilled: ln of 1/2 over nearly 0 and 1."""
    tiny, rest = 1e-3 / 2.002, 2.001 / 2.002
    wanted = 0.5 * math.log(0.5 / tiny) + 0.5 * math.log(0.5 / rest)
    assert faithfulness([[0, 0]], [[1]], [[1, 1]]) == pytest.approx(wanted)


def test_a_mapping_without_choice_has_no_complexity_and_real_strings_are_faithful():
    things = [[0, 1, 0], [1, 1]]
    assert complexity(things, [[5, 3, 5], [3, 3]]) == 0
    for strings in (things, [[1, 0, 0], [1, 1]]):
        assert faithfulness(things, strings, strings) == 0


def test_complexity_and_faithfulness_by_hand():
    """Thing 0 is written as 0 or 1 alike, thing 1 as 1: entropies ln 2 and 0. Distilled strings write one each."""
    things, real = [[0, 0, 1]], [[0, 1, 1]]
    assert complexity(things, real) == pytest.approx(math.log(2) / 2)
    assert complexity(things, things) == 0
    half = faithfulness(things, real, [[0, 0, 1]])  # log(0.5 / 1) and log(0.5 / tiny), both half, over two things
    tiny = 1e-3 / 2.002
    wanted = 0.5 * math.log(0.5 / (2.001 / 2.002)) + 0.5 * math.log(0.5 / tiny)
    assert half == pytest.approx(wanted / 2, rel=1e-3)
    assert faithfulness(things, real, [[0, 1, 1]]) == 0
    assert complexity([[0, 0]], [[1]]) == pytest.approx(math.log(2))  # once a symbol, once nothing
    assert complexity([[0, 0]], [[]]) == 0
    assert complexity([[0], [0]], [[5, 1], [5, 2]]) == 0  # what is written after the last thing stands for none
    with pytest.raises(BadInput, match="nothing to measure"):
        complexity([[]], [[]])
