import math

import pytest
import torch

from tutelage.methods.adamatch import AdaMatch
from tutelage.methods.fixmatch import FixMatch
from tutelage.methods.softmatch import SoftMatch

MIXED = {"cutmix": 1.0, "pseudo": 1.0}


@pytest.mark.parametrize("method", [FixMatch(**MIXED), AdaMatch(**MIXED, ramp=0.0), SoftMatch(**MIXED)])
def test_the_label_of_what_is_pasted_goes_along(method, echoing, saying):
    """An image of one pixel is wholly its own or its partner's, so each loss is one of theirs: ln 3 and ln 6."""
    labels = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    batch = saying(
        strong=[[0.0] * 3], labels=[0], pool_weak=9 * torch.tensor(labels),
        pool_strong=torch.tensor([[2.0, 2.0, 2.0], [4.0, 1.0, 1.0]]).log(), target=labels, weight=[1.0, 1.0],
    )  # fmt: skip
    found = []
    for seed in range(60):
        torch.manual_seed(seed)
        terms = {name: term.detach() for name, term in method.loss(echoing(method), batch).items()}
        torch.testing.assert_close(terms["consistency"], terms["pseudo"])
        found.append(round(float(terms["pseudo"]), 4))
    of = {number: round((number * math.log(3) + (2 - number) * math.log(6)) / 2, 4) for number in (0, 1, 2)}
    assert set(found) == set(of.values())
