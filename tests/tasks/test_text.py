import pytest

from tasks.text import change, percent, points


@pytest.mark.parametrize("share", [-0.0004, -0.0, 0.0, 0.0004])
def test_nothing_has_no_minus(share):
    assert (points(share), change(share), percent(share)) == ("0.0", "+0.0", "0.0 %")


def test_numbers_keep_their_sign_and_none_is_a_dash():
    assert (points(-0.0125, digits=2), change(-0.012), change(0.125), percent(-0.012)) == (
        "-1.25", "-1.2", "+12.5", "-1.2 %",
    )  # fmt: skip
    assert points(None) == percent(None) == "-"
