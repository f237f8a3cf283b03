import math

import pytest

from tutelage.metrics.strings import complexity, edits, exact_match, faithfulness, similarity, symbol_error_rate
from tutelage.types import BadInput


def test_edits_by_hand():
    assert edits([1, 2, 3], [1, 2, 3]) == 0
    assert edits([], [1, 2]) == edits([1, 2], []) == 2
    assert edits([1, 2, 3, 3, 4, 5], [6, 2, 3, 3, 2, 5, 7]) == 3  # kitten, sitting
    assert similarity([1, 2], [1, 3]) == 0.5
    assert similarity([1, 2], [1]) == similarity([1], [1, 2]) == 0.5
    assert similarity([], []) == 1


def test_rates_by_hand():
    said, wanted = [[1, 2], [3]], [[1, 2], [4, 4, 4]]
    assert symbol_error_rate(wanted, said) == 3 / 5
    assert exact_match(wanted, said) == 0.5
    with pytest.raises(BadInput, match="no symbol is wanted"):
        symbol_error_rate([[]], [[1]])


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
