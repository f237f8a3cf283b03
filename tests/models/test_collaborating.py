import torch
from tiny import cuttable

from tutelage.models.average import Frozen
from tutelage.models.collaborating import Collaborating
from tutelage.models.peers import behind


def test_branches_see_two_views_in_turn():
    net = cuttable(4).eval()
    together = Collaborating(net, 3, trunk=2, branches=3).eval()
    strong, weak = torch.rand(2, 5, 3, 8, 8)
    outputs = net(torch.cat([strong, weak]))
    said, ensemble, mean = together(outputs, outputs)
    views = [net(strong).features["stage2"], net(weak).features["stage2"]]
    second, third = together.branches.tails
    torch.testing.assert_close(said[0], net(strong).logits)
    torch.testing.assert_close(said[1], behind(second, views[1]).logits)
    torch.testing.assert_close(said[2], behind(third, views[0]).logits)
    embeddings = [net(strong).embedding, behind(second, views[1]).embedding, behind(third, views[0]).embedding]
    torch.testing.assert_close(ensemble, together.head(torch.cat(embeddings, dim=1)))
    torch.testing.assert_close(mean, said)  # at first an average is what it averages


def test_an_average_never_learns_and_normalises_by_what_it_averaged():
    net = cuttable(4)
    together = Collaborating(net, 3, trunk=2, branches=2).train()
    assert not together.mean.training
    assert together.branches.training
    outputs = net(torch.rand(10, 3, 8, 8))
    _, _, mean = together(outputs, Frozen(net)(torch.rand(10, 3, 8, 8)))
    assert not mean.requires_grad
    assert not any(p.requires_grad for p in together.mean.parameters())
