import math

import pytest
import torch
from tiny import Tiny
from torch import nn

from tutelage.analysis.quantify_knowledge import (
    NoiseSearch,
    kept_noise,
    noise_path,
    on_grid,
    pixel_entropy,
    quantify,
    stability,
    visual_concepts,
    weight_distances,
)
from tutelage.types import BadInput, Network, Outputs

QUICK = NoiseSearch(grid=4, draws=8, iterations=30)


class RightHalf(Network):
    """Answers with the mean of each colour of the right half of an image."""

    def __init__(self):
        super().__init__()
        self.widths, self.embedding_width = {}, 3
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, images):
        seen = self.gain * images[..., images.shape[-1] // 2 :].mean((2, 3))
        return Outputs(seen, seen, {})


class Blind(RightHalf):
    def forward(self, images):
        said = self.gain * torch.ones(len(images), 3)
        return Outputs(said, said, {})


@pytest.fixture
def image():
    return torch.rand(3, 8, 8)


def test_entropy_of_unit_noise():
    torch.testing.assert_close(pixel_entropy(torch.tensor(1.0)), torch.tensor(1.418939))
    torch.testing.assert_close(pixel_entropy(torch.tensor(math.e)), torch.tensor(2.418939))


def test_what_a_network_ignores_takes_more_noise(image):
    noise = noise_path(RightHalf(), image, QUICK)[-1]
    assert noise[:, :2].min() > 1.5 * noise[:, 2:].max()


def test_without_a_reward_noise_falls_to_the_floor(image):
    noise = noise_path(RightHalf(), image, NoiseSearch(grid=2, draws=64, iterations=40, reward=0.0))
    torch.testing.assert_close(noise[0], torch.full((2, 2), 0.01))
    torch.testing.assert_close(noise[-1][:, 1], torch.full((2,), 0.001))
    torch.testing.assert_close(noise[-1][:, 0], torch.full((2,), 0.01))  # nothing moves what is ignored


def test_the_first_step_is_that_of_the_formula(image):
    """Where nothing is seen the slope is that of the reward: -reward / (places x sigma)."""
    search = NoiseSearch(grid=2, draws=4, iterations=2, reward=3.0, lr=1e-4)
    moved = noise_path(RightHalf(), image, search)[1] - 0.01
    torch.testing.assert_close(moved[:, 0], torch.full((2,), 1e-4 * 3 / (4 * 0.01)))


def test_the_change_is_counted_in_units_of_the_first(image):
    """MSE grows with sigma^2, so at first the slopes of all places sum to 2 / sigma, but for chance."""
    search = NoiseSearch(grid=1, draws=4000, iterations=2, reward=0.0, lr=1e-6)
    moved = noise_path(RightHalf(), image, search)[1] - 0.01
    torch.testing.assert_close(moved, torch.full((1, 1), -1e-6 * 2 / 0.01), rtol=0.1, atol=0)


def test_the_kept_noise_has_the_wanted_entropy(image):
    search = NoiseSearch(grid=2, draws=8, iterations=60, lr=2e-5)
    tried = pixel_entropy(noise_path(RightHalf(), image, search)).mean((1, 2))
    kept = pixel_entropy(kept_noise(RightHalf(), image, search)).mean()
    assert tried[0] < -3 < -2.8 < tried.max()
    torch.testing.assert_close((kept + 2.8).abs(), (tried + 2.8).abs().min())


def test_the_search_ends_early_or_grows_its_reward(image):
    wild = NoiseSearch(grid=2, draws=4, iterations=40, lr=1e-4)
    assert len(noise_path(RightHalf(), image, wild)) == 20
    slow = NoiseSearch(grid=2, draws=4, iterations=40, lr=1e-6)
    path = noise_path(RightHalf(), image, slow)[:, 0, 0].double()  # an ignored place: its slope is the reward's alone
    assert len(path) == 40
    steps = path.diff() * path[:-1]
    torch.testing.assert_close(steps[19:] / steps[0], torch.full((20,), 1.5, dtype=torch.double), rtol=0.02, atol=0)
    torch.testing.assert_close(steps[:19] / steps[0], torch.ones(19, dtype=torch.double), rtol=0.02, atol=0)


def test_a_network_that_sees_nothing_and_a_layer_that_is_not_there_are_named(image):
    with pytest.raises(BadInput, match="with and without noise"):
        noise_path(Blind(), image, QUICK)
    dead = RightHalf()
    nn.init.constant_(dead.gain, -1.0)  # below zero a feature says nothing: the authors look behind a ReLU
    with pytest.raises(BadInput, match="with and without noise"):
        noise_path(dead, image, QUICK)
    with pytest.raises(BadInput, match=r"layer is 'stage9'.*stage1"):
        noise_path(Tiny(4), image, NoiseSearch(layer="stage9"))
    with pytest.raises(BadInput, match="lr of NoiseSearch is 0"):
        NoiseSearch(lr=0.0)


@pytest.mark.parametrize("layer", ["embedding", "logits", "stage1"])
def test_any_layer_of_any_network_and_the_network_is_left_as_it_was(image, layer):
    net = Tiny(4)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    path = noise_path(net, image, NoiseSearch(grid=2, draws=4, iterations=3, layer=layer))
    assert path.shape == (3, 2, 2)
    assert net.training
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    torch.testing.assert_close(dict(net.state_dict()), before, rtol=0, atol=0)


def test_concepts_are_below_the_background_by_more_than_the_threshold():
    entropy = torch.tensor([[[0.0, 0.0], [-0.5, -0.1]], [[1.0, 0.0], [0.5, 1.0]]])
    on_object = torch.tensor([[[False, False], [True, True]], [[False, True], [True, False]]])
    # Backgrounds 0 and 1, their mean 0.5: concepts are below 0.3.
    found = visual_concepts(entropy, on_object, threshold=0.2)
    assert found.tolist() == [[[True, True], [True, True]], [[False, True], [False, False]]]
    found = visual_concepts(entropy, on_object, threshold=0.55)
    assert found.tolist() == [[[False, False], [True, True]], [[False, False], [False, False]]]


def test_objects_on_a_grid():
    objects = torch.zeros(1, 8, 8, dtype=torch.bool)
    objects[0, 4:, :4] = True
    assert on_grid(objects, 2).tolist() == [[[False, False], [True, False]]]


def test_distance_of_weights_adds_up_all_steps():
    nets = [RightHalf() for _ in range(3)]
    for net, value in zip(nets, (2.0, 5.0, 1.0), strict=True):
        nn.init.constant_(net.gain, value)
    torch.testing.assert_close(weight_distances(nets), torch.tensor([0.0, 1.5, 3.5]))
    with pytest.raises(BadInput, match="different numbers"):
        weight_distances([Tiny(4), Tiny(6)])


def test_stability_by_hand():
    concepts = torch.zeros(2, 3, 2, 2, dtype=torch.bool)
    concepts[:, 0, 0, 0] = concepts[0, 0, 1, 1] = True  # 1 of 2
    concepts[1, 1] = True  # 0 of 4; the third image has none
    torch.testing.assert_close(stability(concepts), torch.tensor(0.25))


def test_knowledge_of_a_network_that_looks_at_the_object():
    images, objects = torch.rand(2, 3, 8, 8), torch.zeros(2, 8, 8, dtype=torch.bool)
    objects[..., 4:] = True
    nets = [RightHalf(), RightHalf()]
    nn.init.constant_(nets[1].gain, 3.0)
    known = quantify(nets, images, objects, search=QUICK)
    assert (known.foreground == 8).all()
    assert (known.background == 0).all()
    assert (known.ratio == 1).all()
    assert known.stability == 1
    assert known.distance_mean == known.distance_std == 0  # as many at the first moment as ever
    other = quantify(nets[:1], images, ~objects, search=QUICK)  # what it looks at is now the background
    assert (other.ratio == 0).all()
