import torch
from multi_fixtures import multi_batch, multi_net, multi_nets, saying_depth

from tutelage.losses.maps import squared_rows
from tutelage.methods.multitask.aht_regression import AHTRegression
from tutelage.methods.multitask.ail_regression import AILRegression
from tutelage.types import Sizes


def test_hints_of_a_teacher_that_is_always_right_are_those_of_fitnets():
    """Errors of 0: Phi is 1."""
    method = AHTRegression()
    nets, batch = saying_depth(method, [1.0, 4.0], [2.0, 3.0], [2.0, 3.0])
    nets.extra.eval()
    terms = method.loss(nets, batch)
    student, teacher = (net(batch.labeled.images).pyramid for net in nets[:2])
    hints = squared_rows(nets.extra.adapters(student)["p2"], teacher["p2"], elements="mean")
    torch.testing.assert_close(terms["hint"], hints.mean())
    assert terms["depth"] == terms["imitation"] == 0


def test_hints_count_as_much_as_the_teacher_was_right():
    method = AHTRegression()
    nets, batch = saying_depth(method, [1.0, 4.0], [2.0, 3.0], [2.0, 5.0])  # Phi is 1 and 0
    nets.extra.eval()
    student, teacher = (net(batch.labeled.images).pyramid for net in nets[:2])
    hints = squared_rows(nets.extra.adapters(student)["p2"], teacher["p2"], elements="mean")
    torch.testing.assert_close(method.loss(nets, batch)["hint"], hints[0] / 2)


def test_all_but_the_head_learns_first_and_the_head_alone_second():
    method, batch = AHTRegression(first=0.5), multi_batch()
    for step, learning in ((29, "body"), (30, "heads")):
        nets = multi_nets(method)
        method.after_step(nets, step)  # of 60
        terms = method.loss(nets, batch)
        torch.stack(list(terms.values())).sum().backward()
        moved = {
            name.split(".")[0] for name, p in nets.student.named_parameters() if p.grad is not None and p.grad.any()
        }
        assert moved == {learning}


def test_the_second_stage_is_attentive_imitation():
    torch.manual_seed(1)
    student, batch = multi_net(("depth",)).eval(), multi_batch()
    method = AHTRegression(alpha=0.3)
    nets = multi_nets(method, student)
    other = AILRegression(alpha=0.3)
    alone = nets._replace(extra=other.init(nets.student, nets.teacher, Sizes(2, 0, 3, 60)))
    alone.extra.low.zero_()
    method.after_step(nets, 60)
    terms, expected = method.loss(nets, batch), other.loss(alone, batch)
    assert expected["imitation"] > 0
    assert terms["hint"] == 0
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value)
