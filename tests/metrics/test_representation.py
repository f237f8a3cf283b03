import numpy as np
import torch

from tutelage.metrics.representation import dissimilarity, representational_similarity


def test_dissimilarities_by_hand():
    layer = torch.tensor([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [3.0, 2.0, 1.0], [1.0, -2.0, 1.0]])
    expected = torch.tensor([[0.0, 0.0, 2.0, 1.0], [0.0, 0.0, 2.0, 1.0], [2.0, 2.0, 0.0, 1.0], [1.0, 1.0, 1.0, 0.0]])
    torch.testing.assert_close(dissimilarity(layer), expected, atol=1e-6, rtol=0)


def test_it_is_the_correlation_of_the_upper_triangles():
    one, other = torch.randn(6, 4), torch.randn(6, 9)
    upper = np.triu_indices(6, 1)
    by_numpy = np.corrcoef((1 - np.corrcoef(one))[upper], (1 - np.corrcoef(other))[upper])[0, 1]
    torch.testing.assert_close(representational_similarity(one, other).item(), by_numpy, atol=1e-5, rtol=0)


def test_scale_and_order_of_units_do_not_matter():
    one = torch.randn(8, 5)
    torch.testing.assert_close(representational_similarity(one, 3 * one[:, [2, 0, 1, 4, 3]] + 1), torch.tensor(1.0))


def test_a_layer_that_sees_no_difference_is_like_nothing():
    assert representational_similarity(torch.randn(8, 5), torch.ones(8, 5)) == 0
