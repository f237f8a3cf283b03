import copy
import math
from dataclasses import replace

import pytest
import torch
from interrupted import continues
from tiny import Tiny
from torch import nn

from tutelage.models.average import Frozen
from tutelage.train.adversarial import Pair, pairs
from tutelage.train.cyclegan import CycleGAN, begin, cycle_loss, fit, perceptual_loss, semantic_loss
from tutelage.train.settings import Optimiser
from tutelage.types import BadInput

SETTINGS, CPU = Optimiser(), torch.device("cpu")
SMALL = CycleGAN(width=2, blocks=1, critic_width=2, history=3, semantic=1.0, perceptual=0.1, rebuilt=10.0)


class Same(nn.Module):
    def __init__(self):
        super().__init__()
        self.still = nn.Parameter(torch.zeros(()))

    def forward(self, images):
        return images + 0 * self.still


def start(method=SMALL):
    torch.manual_seed(3)
    return begin(method, size=8, device=CPU)


def watcher():
    with torch.random.fork_rng():
        torch.manual_seed(5)
        net = Tiny(3)
        nn.init.normal_(net.head.weight, std=3.0)
    return Frozen(net)


def steps(run, seen, number, *, method=SMALL, of=6):
    return list(fit(method, run, [seen] * number, watcher(), SETTINGS, steps=of))


@pytest.fixture
def pair(batch) -> Pair:
    return next(pairs([batch], device=CPU))


def test_the_rate_is_never_below_nothing(pair):
    """Nothing stops a run at its last step by itself."""
    run = start()
    rates = [run.optimizer.param_groups[0]["lr"] for _ in fit(SMALL, run, [pair] * 4, watcher(), SETTINGS, steps=2)]
    assert rates == [SMALL.lr, SMALL.lr, 0, 0]


def test_generators_that_change_nothing(pair):
    """The cycle costs nothing, and the semantic term is the cross entropy of the watcher with its own first choice."""
    run = start()
    run.generators.there, run.generators.back = Same(), Same()
    for critic in (run.critics.there, run.critics.back):
        nn.init.zeros_(critic[-1].weight)
        nn.init.zeros_(critic[-1].bias)
    run.optimizer = torch.optim.SGD(run.generators.parameters(), lr=0.1)
    (step,) = steps(run, pair, 1)
    said = [watcher()(images).logits for images in (pair.source, pair.target)]
    own = sum(nn.functional.cross_entropy(logits, logits.argmax(1)) for logits in said)
    zero = torch.tensor(0.0)
    expected = {"fooling": torch.tensor(2.0), "cycle": zero, "identity": zero, "semantic": own, "perceptual": zero,
                "rebuilt": zero, "critic_there": torch.tensor(0.5), "critic_back": torch.tensor(0.5)}  # fmt: skip
    torch.testing.assert_close(step.terms, expected)


def test_losses_by_hand():
    assert cycle_loss(torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), -0.25)) == 0.25
    told = torch.tensor([[5.0, 0.0]])
    torch.testing.assert_close(semantic_loss(told, torch.tensor([[0.0, math.log(3)]])), torch.tensor(math.log(4)))
    one, other = torch.tensor([[1.0, -1.0]]), torch.tensor([[-4.0, 6.0]])  # normalised 1, -1 and -1, 1
    torch.testing.assert_close(perceptual_loss(one, other), torch.tensor(4.0), atol=1e-3, rtol=0)
    maps = torch.randn(2, 3, 4, 4)
    assert perceptual_loss(maps, 7 * maps + 2) < 1e-3  # instance norm sees neither scale nor place
    assert perceptual_loss(maps, maps.flip(3)) > 0.1


def test_gradients_reach_generators_through_the_watcher_which_stays(pair):
    method = replace(SMALL, cycle=0.0, identity=0.0, perceptual=0.0, rebuilt=0.0)
    runs = [start(method) for _ in range(2)]
    for run, weight in zip(runs, (0.0, 50.0), strict=True):
        steps(run, pair, 1, method=replace(method, semantic=weight))
    assert not torch.equal(*(run.generators.there.last.weight for run in runs))
    assert not torch.equal(*(run.generators.back.last.weight for run in runs))
    torch.testing.assert_close(runs[0].critics.state_dict(), runs[0].critics.state_dict())


def test_a_generators_step_leaves_the_critics(pair):
    run = start()
    before = copy.deepcopy(run.critics.state_dict())
    run.critic_optimizer = torch.optim.SGD(run.critics.parameters(), lr=1.0)
    next(iter(fit(replace(SMALL, lr=1e-30), run, [pair], watcher(), SETTINGS, steps=6)))
    torch.testing.assert_close(run.critics.state_dict(), before, atol=1e-9, rtol=0)
    assert all(p.requires_grad for p in run.critics.parameters())


def test_it_learns_the_colour_of_the_target(pair):
    """The source is dark and the target bright: what is made of the source becomes brighter."""
    seen = pair._replace(source=0.3 * pair.source, target=0.7 + 0.3 * pair.target)
    method = CycleGAN(width=2, blocks=1, critic_width=4, identity=0.0, cycle=1.0, lr=1e-2)
    run = start(method)
    with torch.no_grad():
        before = run.generators.there(seen.source).mean()
    steps(run, seen, 25, method=method, of=25)
    with torch.no_grad():
        after = run.generators.there(seen.source).mean()
    assert after > before + 0.2


def test_cut_and_continued_is_bit_equal_to_never_cut(pair, tmp_path):
    follow = lambda run, seen: fit(SMALL, run, seen, watcher(), SETTINGS, steps=6)  # noqa: E731
    continues(start, follow, [pair] * 6, 2, tmp_path)


def test_constant_images_stay_finite(pair):
    flat = pair._replace(source=torch.zeros_like(pair.source), target=torch.ones_like(pair.target))
    run = start()
    steps(run, flat, 6)
    for part in (run.generators, run.critics):
        assert all(x.isfinite().all() for x in part.state_dict().values())


def test_labels_are_never_read(pair):
    runs = []
    for labels in (pair.labels, pair.labels.flip(0)):
        runs.append(start())
        steps(runs[-1], pair._replace(labels=labels), 2)
    torch.testing.assert_close(runs[0].generators.state_dict(), runs[1].generators.state_dict(), rtol=0, atol=0)


def test_numbers_out_of_range_are_refused():
    with pytest.raises(BadInput, match="cycle of CycleGAN is -1"):
        CycleGAN(cycle=-1.0)
