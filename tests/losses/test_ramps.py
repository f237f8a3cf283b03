import pytest
import torch

from tutelage.losses.ramps import cosine_ramp, sigmoid_ramp


@pytest.mark.parametrize(("t", "value"), [(0, 0.0), (0.25, 0.1464466), (0.5, 0.5), (1, 1.0)])
def test_cosine(t, value):
    torch.testing.assert_close(cosine_ramp(torch.tensor(float(t))), torch.tensor(value), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("t", "value"), [(0, 0.006738), (0.25, 0.060055), (0.5, 0.286505), (1, 1.0)])
def test_sigmoid(t, value):
    torch.testing.assert_close(sigmoid_ramp(torch.tensor(float(t))), torch.tensor(value), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("t", "value"), [(0, 0.006738), (0.125, 0.060055), (0.25, 0.286505), (0.5, 1.0), (0.7, 1.0)])
def test_sigmoid_over_half_of_a_run(t, value):
    torch.testing.assert_close(sigmoid_ramp(torch.tensor(float(t)), over=0.5), torch.tensor(value), atol=1e-6, rtol=0)


def test_a_ramp_over_nothing_is_over():
    assert sigmoid_ramp(torch.tensor(0.0), over=0.0) == 1
