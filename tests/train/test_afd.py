import copy
import math

import pytest
import torch
from interrupted import continues
from tiny import Tiny
from torch import nn

from tutelage.losses.distillation import soft_label_kl
from tutelage.train.afd import AFD, begin, fit, fooling, judging
from tutelage.train.settings import Optimiser
from tutelage.types import BadInput, Diverged

SETTINGS = Optimiser(lr=0.1, warmup_steps=2)


class Sure(nn.Module):
    """A critic that says the same of everything."""

    def __init__(self, verdict):
        super().__init__()
        self.verdict = nn.Parameter(torch.tensor(verdict))

    def forward(self, maps):
        return self.verdict.expand(len(maps), 1, *maps.shape[2:])


class Mean(nn.Module):
    """A critic whose verdict is the mean over channels."""

    def forward(self, maps):
        return maps.mean(1, keepdim=True)


def start(method):
    torch.manual_seed(1)
    return begin(method, Tiny(4), SETTINGS)


def steps(method, run, batch, count, of=6):
    return list(fit(method, run, [batch] * count, SETTINGS, steps=of))


def test_a_critic_that_cannot_tell_loses_a_half():
    maps = [torch.rand(3, 4, 2, 2) for _ in range(3)]
    critics = nn.ModuleList(Sure(0.5) for _ in maps)
    torch.testing.assert_close(judging(critics, maps), torch.tensor(3 * 0.5))
    torch.testing.assert_close(fooling(critics, maps), torch.tensor(3 * 0.25))


def test_real_to_a_critic_is_the_map_before_it_in_the_ring():
    """Maps of ones, zeros and twos: (1 - real)^2 + own^2 is 1 + 1, 0 + 0 and 1 + 4."""
    maps = [torch.full((3, 4, 2, 2), value) for value in (1.0, 0.0, 2.0)]
    critics = nn.ModuleList(Mean() for _ in maps)
    torch.testing.assert_close(judging(critics, maps), torch.tensor(2.0 + 0.0 + 5.0))
    torch.testing.assert_close(fooling(critics, maps), torch.tensor(0.0 + 1.0 + 1.0))


def test_a_ring_has_a_critic_for_each_network_and_fooling_moves_that_network_alone():
    run = start(AFD(peers=2, critic_width=4))
    assert len(run.critics) == 3
    images, nets = torch.rand(5, 3, 8, 8), [run.student, *run.peers.nets]
    maps = [net(images).features["stage2"] for net in nets]
    fooling(nn.ModuleList([run.critics[1]]), [maps[1]]).backward()
    reached = [any(p.grad is not None for p in net.parameters()) for net in nets]
    assert reached == [False, True, False]
    assert nets[1].head.weight.grad is None


def test_terms_of_the_first_step(batch):
    method = AFD(peers=2, critic_width=4)
    run = start(method)
    nets, critics = (copy.deepcopy(x) for x in ([run.student, *run.peers.nets], run.critics))
    images, labels = batch.labeled.strong, batch.labeled.labels
    (step,) = steps(method, run, batch, 1)
    said = [net(images).logits for net in nets]
    torch.testing.assert_close(step.terms["task"], sum(nn.functional.cross_entropy(one, labels) for one in said))
    ring = [soft_label_kl(said[k], said[k - 1], temperature=3.0) for k in range(3)]
    torch.testing.assert_close(step.terms["distillation"], sum(ring))
    moved = [run.student, *run.peers.nets]
    assert not any(torch.equal(a.head.weight, b.head.weight) for a, b in zip(nets, moved, strict=True))
    assert not any(torch.equal(a[0].weight, b[0].weight) for a, b in zip(critics, run.critics, strict=True))


def test_maps_and_answers_have_optimizers_of_their_own(batch):
    """Without a rate for answers only maps move, and the classifiers, which are behind them, do not."""
    method = AFD(critic_width=4, adversarial_lr=0.01)
    torch.manual_seed(1)
    still = Optimiser(lr=1e-30, warmup_steps=1, weight_decay=0.0)
    run = begin(method, Tiny(4), still)
    head, first = run.student.head.weight.clone(), run.student.stage1[0].weight.clone()
    list(fit(method, run, [batch] * 3, still, steps=6))
    torch.testing.assert_close(run.student.head.weight, head, rtol=0, atol=1e-12)
    assert (run.student.stage1[0].weight - first).abs().max() > 0.005


def test_it_learns(batch):
    method = AFD(critic_width=4)
    found = steps(method, start(method), batch, 30, of=30)
    assert found[-1].terms["task"] < 0.7 * found[0].terms["task"]


def test_cut_and_continued_is_bit_equal_to_never_cut(batch, tmp_path):
    method = AFD(peers=2, critic_width=4)
    continues(
        lambda: start(method), lambda run, seen: fit(method, run, seen, SETTINGS, steps=6), [batch] * 6, 2, tmp_path
    )


def test_what_is_not_finite_is_an_error(batch):
    bad = batch._replace(labeled=batch.labeled._replace(strong=batch.labeled.strong * math.nan))
    with pytest.raises(Diverged, match="step 1"):
        steps(AFD(), start(AFD()), bad, 1)


def test_numbers_out_of_range_are_refused():
    with pytest.raises(BadInput, match="adversarial_lr of AFD"):
        AFD(adversarial_lr=0.0)
