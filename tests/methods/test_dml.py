import torch

from tutelage.methods.dml import DML


def test_values(echoing, say, saying):
    """Both say the opposite: KL of [2, 0, 0] and [0, 2, 0], each way. The pool image counts half."""
    p = torch.tensor([2.0, 0.0, 0.0]).softmax(-1)
    apart = 2 * (p[0] - p[1])
    method = DML(unsupervised=0.5, weight=2.0)
    nets = echoing(method)
    nets.extra.nets[0].column = 1
    batch = saying(
        strong=say([[2.0, 0.0, 0.0]], [[0.0, 2.0, 0.0]]),
        labels=[0],
        pool_strong=say([[1.0, 2.0, 3.0]], [[1.0, 2.0, 3.0]]),
    )
    terms = method.loss(nets, batch)
    torch.testing.assert_close(terms["mutual"], 2.0 * 2 * apart / 1.5)
    torch.testing.assert_close(terms["task"], -p[0].log() - p[1].log())


def test_three_networks_of_which_two_say_the_same(echoing, say, saying):
    """For each of the two the mean of the others is half itself."""
    batch = saying(strong=say([[2.0, 0.0, 0.0]], [[0.0, 2.0, 0.0]]), labels=[0])
    p, q = torch.tensor([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]]).softmax(-1)
    apart, half = (p * (p / q).log()).sum(), (p + q) / 2
    wanted = {"each": apart + 2 * apart / 2, "mean": apart + 2 * (half * (half / p).log()).sum()}
    for form, value in wanted.items():
        method = DML(peers=2, form=form)
        nets = echoing(method)
        nets.extra.nets[1].column = 1
        torch.testing.assert_close(method.loss(nets, batch)["mutual"], value)
