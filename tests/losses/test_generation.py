import math

import torch

from tutelage.losses.generation import negative_elbo


def test_value_by_hand():
    """Two pixels of three colours at 1/2: 6 ln 2. Codes N(1, 1) cost 1 / 2, codes N(0, e) cost (e - 2) / 2."""
    images, logits = torch.rand(2, 3, 1, 2), torch.zeros(2, 3, 1, 2)
    mean, log_variance = torch.tensor([[1.0, 0.0]] * 2), torch.tensor([[0.0, 1.0]] * 2)
    expected = 6 * math.log(2) + 0.5 + (math.e - 2) / 2
    torch.testing.assert_close(negative_elbo(images, logits, mean, log_variance), torch.tensor(expected))


def test_codes_of_the_prior_cost_nothing_and_right_pixels_little():
    images = torch.randint(2, (5, 3, 4, 4)).float()
    zeros = torch.zeros(5, 6)
    assert negative_elbo(images, 40 * images - 20, zeros, zeros) < 1e-5
    assert negative_elbo(images, 20 - 40 * images, zeros, zeros) > 20 * 48 - 1e-2
    assert negative_elbo(images, 40 * images - 20, zeros + 0.1, zeros) > 0.5 * 6 * 0.01 - 1e-5
    assert negative_elbo(images, 40 * images - 20, zeros, zeros - 0.1) > 0


def test_a_code_costs_half_its_squared_distance_from_zero():
    loss = negative_elbo(torch.ones(1, 3, 1, 1), torch.zeros(1, 3, 1, 1), torch.tensor([[2.0]]), torch.zeros(1, 1))
    torch.testing.assert_close(loss, torch.tensor(3 * math.log(2) + 2))
