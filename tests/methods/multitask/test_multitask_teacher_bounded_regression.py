import pytest
from multi_fixtures import saying_depth

from tutelage.methods.multitask.teacher_bounded_regression import TeacherBoundedRegression
from tutelage.types import BadInput


def test_squares_count_where_the_teacher_does_better():
    """Squared errors 1 and 9 against 4 and 4: half of the mean of 0 and 9. Huber of 1 and 3: 0.5 and 2.5."""
    method = TeacherBoundedRegression()
    nets, batch = saying_depth(method, [1.0, 3.0, 7.0], [2.0, 2.0, 9.0], [0.0, 0.0, None])
    terms = method.loss(nets, batch)
    assert terms["bounded"].item() == pytest.approx(2.25)
    assert terms["depth"].item() == pytest.approx(1.5)


@pytest.mark.parametrize(("margin", "bounded"), [(0.1, 0.0), (4.0, 0.5)])
def test_the_margin_says_how_much_better_is_enough(margin, bounded):
    method = TeacherBoundedRegression(margin=margin)  # better by 3
    nets, batch = saying_depth(method, [1.0], [2.0], [0.0])
    assert method.loss(nets, batch)["bounded"].item() == pytest.approx(bounded)


def test_a_wrong_number_is_refused():
    with pytest.raises(BadInput, match="margin of TeacherBoundedRegression is -1"):
        TeacherBoundedRegression(margin=-1.0)
