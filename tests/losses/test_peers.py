import pytest
import torch
import torch.nn.functional as F

from tutelage.losses.distillation import soft_label_kl
from tutelage.losses.peers import (
    all_learn,
    best_target,
    each_kl,
    fused_terms,
    general_weights,
    least_target,
    linear_weights,
    mixture,
    naive_target,
    others_kl,
    others_mean,
)

TWO = torch.tensor([[[2.0, 0.0]], [[0.0, 2.0]]])  # two networks, one image


def test_labels_are_learned_by_each_network_from_the_first_images():
    said = torch.tensor([[[0.0, 0.0], [9.0, 0.0]], [[0.0, 2.0], [0.0, 9.0]]])
    torch.testing.assert_close(all_learn(said, torch.tensor([0])), torch.tensor(0.693147 + 2.126928))
    both = said.clone()
    both[:, 1] /= 4.5  # logits 2 and 0: 0.126928 or 2.126928; of image 0 and 1 the labels are 0 and 1
    torch.testing.assert_close(
        all_learn(both, torch.tensor([0, 1])), torch.tensor((0.693147 + 2.126928 + 2.126928 + 0.126928) / 2)
    )


def test_two_networks_that_say_the_opposite():
    torch.testing.assert_close(others_kl(TWO, TWO, temperature=1.0), torch.full((2, 1), 1.523188))


def test_others_are_all_but_oneself_and_count_alike():
    said, told = torch.randn(3, 4, 5), torch.randn(3, 4, 5)
    rows = others_kl(said, told, temperature=3.0)
    for k, (i, j) in enumerate([(1, 2), (0, 2), (0, 1)]):
        wanted = (
            soft_label_kl(said[k], told[i], temperature=3.0) + soft_label_kl(said[k], told[j], temperature=3.0)
        ) / 2
        torch.testing.assert_close(rows[k].mean(), wanted)


def test_who_is_alone_has_nobody_to_learn_from():
    said = torch.randn(1, 4, 5, requires_grad=True)
    rows = others_kl(said, said, temperature=1.0)
    assert rows.requires_grad
    torch.testing.assert_close(rows, torch.zeros(1, 4))


def test_networks_that_agree_have_nothing_to_say_to_each_other():
    said = torch.randn(1, 4, 5).expand(3, 4, 5)
    torch.testing.assert_close(others_kl(said, said, temperature=3.0), torch.zeros(3, 4), atol=1e-6, rtol=0)


def test_no_gradient_reaches_who_is_listened_to():
    first, second = (torch.randn(1, 4, 5, requires_grad=True) for _ in range(2))
    said = torch.cat([first, second])
    others_kl(said, said, temperature=1.0)[0].sum().backward()
    assert first.grad.any()
    assert not second.grad.any()


def test_the_mean_of_the_others_is_of_probabilities():
    said = torch.randn(3, 4, 5)
    mean = others_mean(said, temperature=2.0)
    wanted = ((said[1] / 2).softmax(-1) + (said[2] / 2).softmax(-1)) / 2
    torch.testing.assert_close(mean[0], 2 * wanted.log())
    torch.testing.assert_close(others_mean(TWO, temperature=1.0).softmax(-1), TWO.flip(0).softmax(-1))


def test_classes_that_nobody_believes_in_stay_finite():
    said = torch.tensor([[[0.0, 200.0]], [[200.0, 0.0]]])
    assert others_mean(said, temperature=1.0).isfinite().all()


def test_all_may_be_told_the_same():
    said, told = torch.randn(3, 4, 5), torch.randn(4, 5)
    rows = each_kl(said, told, temperature=3.0)
    for ours, row in zip(said, rows, strict=True):
        torch.testing.assert_close(row.mean(), soft_label_kl(ours, told, temperature=3.0))


def test_divergences_of_fused_networks_count_trust_and_scale():
    """The second image half as much as the first, and all of it a quarter."""
    said, fused, heat = torch.randn(2, 2, 3), torch.randn(2, 3), {"temperature": 2.0}
    terms = fused_terms(
        said, fused, labels=torch.tensor([1]), trust=torch.tensor([1.0, 0.5]), scale=torch.tensor(0.25), **heat
    )
    told = each_kl(said, fused, **heat).sum(0)
    mean = each_kl(fused[None], said.mean(0), **heat)[0]
    torch.testing.assert_close(terms["distillation"], 0.25 * (told[0] + 0.5 * told[1]) / 1.5)
    torch.testing.assert_close(terms["ensemble"], 0.25 * (mean[0] + 0.5 * mean[1]) / 1.5)


def test_who_tells_learns_only_where_that_is_asked_for():
    said, told = torch.randn(2, 4, 5), torch.randn(4, 5, requires_grad=True)
    assert not each_kl(said, told, temperature=1.0).requires_grad
    each_kl(said, told, temperature=1.0, told_learns=True).sum().backward()
    assert told.grad.any()


def test_a_mixture_has_weights_of_each_image():
    said = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]])
    weights = torch.tensor([[1.0, 0.0], [0.25, 0.75]])
    torch.testing.assert_close(mixture(weights, said), torch.tensor([[1.0, 0.0], [0.25, 0.75]]))


def test_least_logits_by_hand():
    said = torch.tensor([[[2.0, 0.0, 0.0]], [[1.0, 1.0, -1.0]]])
    told = least_target(said, torch.tensor([0]))
    torch.testing.assert_close(told, torch.tensor([[0.0, -2.0, -2.0]]))
    torch.testing.assert_close(told.softmax(-1), torch.tensor([[0.786986, 0.106507, 0.106507]]))


def test_least_logits_are_no_worse_than_any_network():
    said, labels = 3 * torch.randn(4, 20, 5), torch.randint(5, (20,))
    told = least_target(said, labels)
    assert (told.gather(1, labels[:, None]) == 0).all()
    lost = F.cross_entropy(told, labels, reduction="none")
    assert all((lost <= F.cross_entropy(one, labels, reduction="none") + 1e-6).all() for one in said)


def test_the_naive_target_is_the_network_that_is_right_of_each_image():
    said = torch.tensor([[[2.0, 0.0], [2.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]])
    torch.testing.assert_close(naive_target(said, torch.tensor([0, 1])), torch.tensor([[2.0, 0.0], [0.0, 1.0]]))


def test_linear_weights_of_networks_of_which_one_knows_all():
    said = torch.stack([torch.eye(3), -torch.eye(3)])
    torch.testing.assert_close(linear_weights(said, torch.arange(3)), torch.tensor([1.0, 0.0]), atol=1e-3, rtol=0)


def test_linear_weights_where_each_is_sure_of_one_image():
    """0 = slope of the cross entropy: by symmetry each has half."""
    said = torch.tensor([[[4.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 4.0]]])
    torch.testing.assert_close(linear_weights(said, torch.tensor([0, 1])), torch.tensor([0.5, 0.5]))


def test_a_linear_mixture_is_no_worse_than_any_network_nor_than_any_other_mixture():
    said, labels = 2 * torch.randn(2, 20, 5), torch.randint(5, (20,))
    weights = linear_weights(said, labels)
    assert weights.min() >= 0
    torch.testing.assert_close(weights.sum(), torch.tensor(1.0))
    best = F.cross_entropy(mixture(weights.expand(20, 2), said), labels)
    for share in torch.linspace(0, 1, 101):
        other = torch.stack([share, 1 - share]).expand(20, 2)
        assert best <= F.cross_entropy(mixture(other, said), labels) + 1e-3


def test_one_step_of_linear_weights_by_hand():
    """Slopes of the cross entropy at equal weights, over a quarter of the widest mean square of spreads."""
    said = torch.tensor([[[3.0, 1.0, 0.5], [0.5, 2.0, 1.0]], [[1.0, -1.0, 0.0], [0.0, 1.0, 4.0]]])
    p = [((said[0, i] + said[1, i]) / 2).softmax(-1) for i in range(2)]
    slopes = [((p[0] @ z[0] - z[0, 0]) + (p[1] @ z[1] - z[1, 2])) / 2 for z in said]
    bound = max((2.5**2 + 1.5**2) / 2, (2.0**2 + 4.0**2) / 2) / 4
    wanted = torch.stack([-slope / bound for slope in slopes]).softmax(0)
    torch.testing.assert_close(linear_weights(said, torch.tensor([0, 2]), steps=1), wanted)


def test_linear_weights_take_a_hundred_steps_and_stay_equal_where_nobody_says_anything():
    said, labels = torch.stack([torch.eye(3), 0.9 * torch.eye(3)]), torch.arange(3)  # the best is never reached
    found = [linear_weights(said, labels, **steps) for steps in ({}, {"steps": 100}, {"steps": 101})]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    torch.testing.assert_close(linear_weights(torch.zeros(3, 3, 4), labels), torch.full((3,), 1 / 3))


def test_four_ways_to_what_is_best():
    said, labels, covariance = torch.randn(2, 7, 4), torch.arange(7) % 4, torch.tensor([[0.04, 0.01], [0.01, 0.09]])
    wanted = {
        "min_logit": least_target(said, labels),
        "naive": naive_target(said, labels),
        "linear": torch.einsum("m,mnc->nc", linear_weights(said, labels), said),
        "general": torch.einsum("m,mnc->nc", general_weights(covariance), said),
    }
    for how, target in wanted.items():
        torch.testing.assert_close(best_target(said, labels, how, covariance=covariance), target)
    assert len({tuple(target.flatten().tolist()) for target in wanted.values()}) == 4


def test_a_network_that_never_erred_is_believed_up_to_a_millionth():
    weights = general_weights(torch.diag(torch.tensor([1.0, 0.0])))
    torch.testing.assert_close(weights, torch.tensor([5e-7, 1.0]), rtol=1e-3, atol=0)


def test_general_weights_by_hand():
    covariance = torch.tensor([[0.04, 0.01], [0.01, 0.09]])
    torch.testing.assert_close(general_weights(covariance), torch.tensor([0.727273, 0.272727]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("error", [0.0, 0.3])
def test_networks_that_err_alike_share_the_weight(error):
    torch.testing.assert_close(general_weights(torch.full((3, 3), error)), torch.full((3,), 1 / 3))
