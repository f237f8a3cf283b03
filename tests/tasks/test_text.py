import pytest

from tasks.text import aligned, change, duration, percent, points


@pytest.mark.parametrize("share", [-0.0004, -0.0, 0.0, 0.0004])
def test_nothing_has_no_minus(share):
    assert (points(share), change(share), percent(share)) == ("0.0", "+0.0", "0.0 %")


def test_numbers_keep_their_sign_and_none_is_a_dash():
    assert (points(-0.0125, digits=2), change(-0.012), change(0.125), percent(-0.012)) == (
        "-1.25", "-1.2", "+12.5", "-1.2 %",
    )  # fmt: skip
    assert points(None) == percent(None) == "-"


def test_seconds_are_told_in_two_units_at_most():
    told = {0.42: "0.4 s", 9.9: "9.9 s", 45.4: "45 s", 59.6: "1 min 0 s", 83.0: "1 min 23 s", 7_499.0: "2 h 4 min"}
    assert [duration(seconds) for seconds in told] == list(told.values())


def test_columns_are_as_wide_as_their_longest_cell():
    assert aligned(["a", "b"], [["long", "1"], ["c", ""]]) == "a     b\nlong  1\nc"
