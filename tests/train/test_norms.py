"""Statistics of batch norm that are those of other images."""

import pytest
import torch
from torch import nn

from tutelage.train.norms import renorm
from tutelage.types import BadInput


def pixels(*values):
    """Images of one grey pixel."""
    return torch.tensor(values, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 3, 1, 1)


def test_mean_and_variance_are_those_of_the_images_by_hand():
    """Means 1 and 5, variances 2 and 8 (of two values n - 1 is 1): 3 and 5. What was there before is forgotten."""
    norm = nn.BatchNorm2d(3, momentum=0.3)
    norm.running_mean.fill_(100.0)
    norm.weight.data.fill_(7.0)
    renorm(nn.Sequential(norm).eval(), [pixels(0, 2), pixels(3, 7)])
    assert (norm.running_mean.tolist(), norm.running_var.tolist()) == ([3.0] * 3, [5.0] * 3)
    assert (norm.weight.tolist(), norm.bias.tolist(), norm.momentum, norm.training) == (
        [7.0] * 3,
        [0.0] * 3,
        0.3,
        False,
    )


def test_a_network_without_batch_norm_is_refused():
    with pytest.raises(BadInput, match="no batch norm"):
        renorm(nn.Sequential(nn.Conv2d(3, 1, 1)), [pixels(0, 2)])
