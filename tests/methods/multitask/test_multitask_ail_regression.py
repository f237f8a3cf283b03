import pytest
import torch
from multi_fixtures import multi_net, saying_depth

from tutelage.methods.multitask.ail_regression import AILRegression
from tutelage.models.average import FrozenMulti
from tutelage.types import BadInput, Sizes


def values(terms):
    return {name: pytest.approx(term.item(), rel=1e-5) for name, term in terms.items()}


def test_imitation_counts_as_much_as_the_teacher_was_right():
    """Squared errors of the teacher 0 and 4: Phi is 1 and 0. The student is 1 from both labels, and 1 from both answers
    of the teacher. The third sensor was blind."""
    nets, batch = saying_depth(AILRegression(), [1.0, 1.0, 7.0], [0.0, 2.0, 9.0], [0.0, 0.0, None])
    assert values(AILRegression(alpha=0.25).loss(nets, batch)) == {"depth": 0.25, "imitation": 0.75 * 0.5}


def test_the_extremes_of_earlier_batches_are_remembered():
    """After errors of 0 and 4, one of 1 has Phi 3 / 4."""
    method = AILRegression(alpha=0.0)
    nets, batch = saying_depth(method, [1.0, 1.0], [0.0, 2.0], [0.0, 0.0])
    method.loss(nets, batch)
    _, batch = saying_depth(method, [3.0], [1.0], [0.0])
    assert values(method.loss(nets, batch)) == {"depth": 0.0, "imitation": 0.75 * 4}
    assert {name: value.item() for name, value in nets.extra.state_dict().items()} == {"low": 0.0, "high": 4.0}


def test_a_batch_without_depth_trains_nothing_and_is_forgotten():
    nets, batch = saying_depth(AILRegression(), [1.0], [0.0], [None])
    terms = AILRegression().loss(nets, batch)
    assert values(terms) == {"depth": 0.0, "imitation": 0.0}
    torch.stack(list(terms.values())).sum().backward()
    assert not nets.student.factor.grad.any()
    assert nets.extra.high == -torch.inf


def test_other_tasks_are_refused():
    sizes = Sizes(1, 1, 3, 1)
    with pytest.raises(BadInput, match=r"answers segmentation, depth, its teacher depth: .* Give the student tasks"):
        AILRegression().init(multi_net(("segmentation", "depth")), FrozenMulti(multi_net(("depth",))), sizes)
    with pytest.raises(BadInput, match=r"answers depth, its teacher detection"):
        AILRegression().init(multi_net(("depth",)), FrozenMulti(multi_net(("detection",))), sizes)
