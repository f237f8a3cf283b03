import torch

from tutelage.losses.contrast import memory_rows, nt_xent, pair_similarities


def test_by_hand():
    """Two others, all alike: e^s / (e^s + 2 e^s) = 1/3, so ln 3 + 2 ln 1.5."""
    rows = memory_rows(torch.full((2, 1, 3), 0.7), tau=0.1)
    torch.testing.assert_close(rows, torch.full((2, 1), 1.909543))


def test_is_the_papers_with_its_constant_which_is_no_part_of_the_graph():
    similar, images, tau = (2 * torch.rand(4, 6) - 1).requires_grad_(), 50, 0.2
    p = (similar / tau).exp()
    p = p / (p.detach().mean() * images)
    noise = 5 / images
    wanted = -(p[:, 0] / (p[:, 0] + noise)).log() - (noise / (p[:, 1:] + noise)).log().sum(-1)
    found = memory_rows(similar, tau=tau)
    torch.testing.assert_close(found, wanted)
    slopes = (torch.autograd.grad(rows.sum(), similar)[0] for rows in (found, wanted))
    torch.testing.assert_close(*slopes)


def test_pairs_of_branches_have_constants_of_their_own():
    similar = torch.rand(3, 4, 6)
    rows = memory_rows(similar, tau=0.1)
    for own, row in zip(similar, rows, strict=True):
        torch.testing.assert_close(memory_rows(own, tau=0.1), row)


def test_small_temperatures_overflow_nothing():
    """e^100 is no float32. Two others, all alike: as by hand, whatever tau is."""
    similar = torch.ones(2, 1, 3, requires_grad=True)
    rows = memory_rows(similar, tau=0.01)
    torch.testing.assert_close(rows, torch.full((2, 1), 1.909543))
    assert torch.autograd.grad(rows.sum(), similar)[0].isfinite().all()


def test_falls_as_the_own_memory_is_more_alike():
    similar = torch.zeros(1, 5, requires_grad=True)
    memory_rows(similar, tau=0.1).sum().backward()
    assert similar.grad[0, 0] < 0
    assert (similar.grad[0, 1:] > 0).all()


def test_no_image_costs_nothing():
    similar = torch.zeros(2, 0, 5, requires_grad=True)
    memory_rows(similar, tau=0.1).sum().backward()
    assert similar.grad.shape == (2, 0, 5)


def test_every_ordered_pair_of_views_is_compared():
    seen = torch.tensor([[[1.0, 2.0]], [[3.0, 0.0]], [[0.0, 1.0]]])  # three views of one image
    told = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]], [[[1.0, 1.0], [2.0, 0.0]]], [[[0.0, 3.0], [1.0, 0.0]]]])
    wanted = [[3.0, 0.0], [0.0, 1.0], [3.0, 2.0], [1.0, 0.0], [6.0, 1.0], [0.0, 3.0]]
    torch.testing.assert_close(pair_similarities(seen, told), torch.tensor(wanted)[:, None])


def test_products_keep_their_digits_under_autocast():
    seen, told = torch.rand(2, 3, 8), torch.rand(2, 3, 5, 8)
    with torch.autocast("cpu", torch.bfloat16):
        low = pair_similarities(seen, told)
    torch.testing.assert_close(low, pair_similarities(seen, told), rtol=0, atol=0)


def test_nt_xent_by_hand():
    """Views of one image are alike, those of two at a right angle: e^2 / (e^2 + 2) at temperature 0.5."""
    one = torch.tensor([[3.0, 0.0], [0.0, 2.0]])
    torch.testing.assert_close(nt_xent(one, 5 * one, temperature=0.5), torch.tensor(2.0).exp().add(2).log() - 2)


def test_nt_xent_is_the_same_for_both_orders_and_falls_as_views_agree():
    one, other = torch.randn(2, 6, 8)
    torch.testing.assert_close(nt_xent(one, other, temperature=0.2), nt_xent(other, one, temperature=0.2))
    assert nt_xent(one, one, temperature=0.2) < nt_xent(one, other, temperature=0.2)


def test_nt_xent_of_nothing_is_a_zero_in_the_graph():
    nothing = torch.zeros(0, 8, requires_grad=True)
    cost = nt_xent(nothing, nothing, temperature=0.2)
    cost.backward()
    assert cost == 0
    assert nothing.grad is not None
