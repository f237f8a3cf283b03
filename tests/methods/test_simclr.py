import math

import torch

from tutelage.losses.contrast import nt_xent
from tutelage.methods.simclr import SimCLR


def test_the_two_views_of_the_pool_are_compared_through_the_head(echoing, saying):
    """Logits are embeddings in the echoing network; with a head that changes nothing the loss is NT-Xent of them."""
    method = SimCLR(label=2.0, strong=0.25, weight=3.0, unsupervised=0.5, temperature=0.5)
    nets = echoing(method)
    nets = nets._replace(extra=torch.nn.Identity())
    weak, strong = torch.tensor([[3.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), torch.tensor([[0.0, 0.0, 1.0], [0.0, 4.0, 0.0]])
    batch = saying(strong=[[1.0, 2.0, 3.0]], weak=[[0.0] * 3], labels=[0], pool_weak=weak, pool_strong=strong)
    terms = method.loss(nets, batch)
    torch.testing.assert_close(terms["contrast"], 1.5 * nt_xent(weak, strong, temperature=0.5))
    torch.testing.assert_close(terms["task"], torch.tensor(2 * (0.75 * math.log(3) + 0.25 * 2.407606)))
