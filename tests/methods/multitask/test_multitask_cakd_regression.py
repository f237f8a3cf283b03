import pytest
import torch
from multi_fixtures import saying_depth

from tutelage.methods.multitask.cakd_regression import CAKDRegression


def test_labels_and_imitation_by_hand():
    """1 and 3 from the labels, 1 and 2 from the teacher; the third sensor was blind."""
    method = CAKDRegression(imitation=0.5)
    nets, batch = saying_depth(method, [1.0, 3.0, 7.0], [2.0, 5.0, 9.0], [0.0, 0.0, None])
    terms = method.loss(nets, batch)
    assert terms["depth"].item() == pytest.approx((1 + 9) / 2)
    assert terms["imitation"].item() == pytest.approx(0.5 * (1 + 4) / 2)


def seen(extra, *features):
    """`extra` asked about features [n, 8], the student's first."""
    return extra(*({"p2": x[:, :, None, None]} for x in features))


def test_features_that_equal_the_teachers_leave_no_contrast_as_tau_falls():
    features = torch.eye(8)[:3]
    losses = []
    for temperature in (1.0, 0.1, 0.01):
        method = CAKDRegression(adversarial=0.0, contrast=2.0, temperature=temperature)
        nets, batch = saying_depth(method, [1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [0.0, 0.0, 0.0])

        class Same(torch.nn.Module):
            def forward(self, student, teacher):
                return features, features, torch.zeros(3, 1), torch.zeros(3, 1)

        losses.append(method.loss(nets._replace(extra=Same()), batch)["contrast"].item())
    e = torch.e
    assert losses[0] == pytest.approx(2 * torch.tensor((e + 2) / e).log().item())
    assert losses[0] > losses[1] > losses[2]
    assert losses[2] < 1e-6


def test_the_critic_descends_what_the_student_ascends():
    method = CAKDRegression(imitation=0.0, adversarial=1.0, contrast=0.0)
    nets, batch = saying_depth(method, [1.0, 2.0], [4.0, 3.0], [0.0, 0.0])
    before = method.loss(nets, batch)["adversarial"]
    before.backward()
    for parameters, change in ((nets.student.parameters(), 1), (nets.extra.critic.parameters(), -1)):
        moved = list(parameters)
        with torch.no_grad():
            for p in moved:
                p.sub_(0.01 * p.grad)
        after = method.loss(nets, batch)["adversarial"]
        assert (after - before).sign() == change
        with torch.no_grad():
            for p in moved:
                p.add_(0.01 * p.grad)


def test_features_are_means_over_positions():
    method = CAKDRegression()
    nets, _ = saying_depth(method, [1.0], [1.0], [0.0])
    ours, theirs, _, _ = seen(nets.extra, torch.ones(2, 8), torch.arange(16.0).view(2, 8))
    assert torch.equal(theirs, torch.arange(16.0).view(2, 8))
    torch.testing.assert_close(ours, nets.extra.adapter(torch.ones(2, 8)))
