"""Explaining Knowledge Distillation by Quantifying the Knowledge. Cheng, Rao, Chen, Zhang. CVPR 2020.
https://arxiv.org/abs/2003.03622

How much noise each place of an image can take before a network's features change. Places that take little are visual
concepts: the network has learned to look there. Defaults are those of the authors' code for residual networks.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from tutelage.methods.method import check
from tutelage.types import BadInput, Network

_LEAST, _MOST = 0.001, 1.0  # standard deviations of noise, in units of a pixel's range
_TAIL = 20  # iterations left when too little noise is answered with a larger reward for it


@dataclass(frozen=True, kw_only=True)
class NoiseSearch:
    """How the noise that an image can take is found."""

    layer: str = "embedding"  # what is to stay the same: embedding, logits, or the name of a stage
    grid: int = 16  # places in a row and in a column
    start: float = 0.01  # standard deviation of the first noise
    reward: float = 6.0  # lambda, of the entropy of the noise; 7 for VGG and AlexNet
    entropy: float = 2.8  # the kept noise is the one whose mean entropy is nearest to minus this, in nats
    draws: int = 96  # noisy copies of the image a step
    iterations: int = 80
    lr: float = 1e-4
    threshold: float = 0.2  # b: nats by which a concept is below the background
    seed: int = 0  # of the noise

    def __post_init__(self) -> None:
        check(
            self, weights=("reward",), positive=("grid", "start", "entropy", "draws", "iterations", "lr", "threshold")
        )


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What a network knows of n images at each of k moments of its training."""

    foreground: Float[Tensor, "k n"]  # concepts on the object
    background: Float[Tensor, "k n"]  # concepts beside it
    ratio: Float[Tensor, "k n"]  # of the first to both, 0 where there is none
    distance_mean: Float[Tensor, ""]  # weight distance at which an image has most concepts on the object: late or soon
    distance_std: Float[Tensor, ""]  # its deviation over images: one after the other, or all at once
    stability: Float[Tensor, ""]  # share of a network's concepts, of all moments, that it has at every moment


def quantify(
    moments: Sequence[Network],
    images: Float[Tensor, "n 3 h w"],
    objects: Bool[Tensor, "n h w"],
    *,
    search: NoiseSearch | None = None,
) -> Knowledge:
    """Knowledge of one network at several moments of its training, the untrained one first.

    `objects` says which pixels belong to the object. Raises BadInput where a network's features do not depend on an
    image, or where the weights of the moments do not fit.
    """
    search = search or NoiseSearch()
    on_object = on_grid(objects, search.grid)
    entropies = torch.stack(
        [torch.stack([pixel_entropy(kept_noise(net, image, search)) for image in images]) for net in moments]
    )
    concepts = torch.stack([visual_concepts(seen, on_object, threshold=search.threshold) for seen in entropies])
    foreground, background = ((concepts & where).sum((2, 3)).float() for where in (on_object, ~on_object))
    distance = weight_distances(moments)[foreground.argmax(0).cpu()]
    return Knowledge(
        foreground=foreground,
        background=background,
        ratio=foreground / (foreground + background).clamp_min(1),
        distance_mean=distance.mean(),
        distance_std=distance.std(correction=0),
        stability=stability(concepts),
    )


def kept_noise(net: Network, image: Float[Tensor, "3 h w"], search: NoiseSearch) -> Float[Tensor, "g g"]:
    """Of all noise that the search went through, the one with the wanted mean entropy."""
    tried = noise_path(net, image, search)
    return tried[(pixel_entropy(tried).mean((1, 2)) + search.entropy).abs().argmin()]


def noise_path(net: Network, image: Float[Tensor, "3 h w"], search: NoiseSearch) -> Float[Tensor, "i g g"]:
    """Deviations of noise for each place, before each of up to `search.iterations` steps of gradient descent on
    MSE(f(x + noise), f(x)) / (that of the first noise) - reward x mean entropy.

    As in the authors' code, the last steps are left out if the entropy has been above the wanted one by then, and have
    a reward half as large again if not. Raises BadInput where noise changes nothing of the layer, or the network does
    not have it.
    """
    net = copy.deepcopy(net).eval().requires_grad_(False)
    generator = torch.Generator(image.device).manual_seed(search.seed)
    sigma = torch.full((search.grid, search.grid), search.start, device=image.device, requires_grad=True)
    with torch.no_grad():
        wanted = _features(net, image[None], search.layer)
        unit = _change(net, image, sigma, wanted, search, generator)
    if unit == 0:
        raise BadInput(f"layer {search.layer!r} says the same of an image with and without noise. Drop the image")
    tried, reward = [sigma.detach().clone()], search.reward
    for step in range(1, search.iterations):
        if step == search.iterations - _TAIL:
            if max(pixel_entropy(each).mean() for each in tried) > -search.entropy:
                break
            reward *= 1.5
        loss = _change(net, image, sigma, wanted, search, generator) / unit - reward * pixel_entropy(sigma).mean()
        (slope,) = torch.autograd.grad(loss, sigma)
        with torch.no_grad():
            sigma.sub_(search.lr * slope).clamp_(_LEAST, _MOST)
        tried.append(sigma.detach().clone())
    return torch.stack(tried)


def pixel_entropy(sigma: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Nats of Gaussian noise with this deviation: log sigma + log(2 pi e) / 2."""
    return sigma.log() + 0.5 * math.log(2 * math.pi * math.e)


def on_grid(objects: Bool[Tensor, "n h w"], grid: int) -> Bool[Tensor, "n g g"]:
    """Whether the nearest pixel to each place is of the object."""
    return F.interpolate(objects[:, None].float(), size=grid, mode="nearest")[:, 0] > 0


def visual_concepts(
    entropy: Float[Tensor, "n g g"], on_object: Bool[Tensor, "n g g"], *, threshold: float
) -> Bool[Tensor, "n g g"]:
    """Places whose entropy is more than `threshold` below the background's, a mean over images of means over places."""
    places = (~on_object).sum((1, 2))
    means = (entropy * ~on_object).sum((1, 2)) / places.clamp_min(1)
    background = (means * (places > 0)).sum() / (places > 0).sum().clamp_min(1)
    return background - entropy > threshold


def weight_distances(moments: Sequence[Network]) -> Float[Tensor, " k"]:
    """How far training has come by each moment: the sum of ||w_k - w_k-1|| / ||w_0|| over all moments before.

    Raises BadInput where the moments are of different networks by their number of weights.
    """
    weights = [torch.cat([p.detach().flatten().cpu() for p in net.parameters()]) for net in moments]
    if len({len(each) for each in weights}) > 1:
        raise BadInput("the moments have different numbers of weights: take checkpoints of one network")
    steps = [(new - old).norm() / weights[0].norm() for old, new in pairwise(weights)]
    return torch.stack([torch.zeros(()), *steps]).cumsum(0)


def stability(concepts: Bool[Tensor, "k n g g"]) -> Float[Tensor, ""]:
    """Concepts that are there at all moments over those that are there at some; mean over images that have any."""
    always, ever = (chosen.sum((1, 2)).float() for chosen in (concepts.all(0), concepts.any(0)))
    return (always / ever.clamp_min(1)).sum() / (ever > 0).sum().clamp_min(1)


def _change(
    net: Network, image: Tensor, sigma: Tensor, wanted: Tensor, search: NoiseSearch, generator: torch.Generator
) -> Float[Tensor, ""]:
    noise = torch.randn((search.draws, *image.shape), generator=generator, device=image.device)
    scale = F.interpolate(sigma[None, None], size=image.shape[1:], mode="nearest")
    said = _features(net, image + scale * noise, search.layer)
    return (said - wanted).square().mean()


def _features(net: Network, images: Tensor, layer: str) -> Tensor:
    outputs = net(images)
    known = {"embedding": outputs.embedding, "logits": outputs.logits, **outputs.features}
    if layer not in known:
        raise BadInput(f"layer is {layer!r}, which the network does not have. It has {', '.join(known)}")
    return known[layer].float().relu()
