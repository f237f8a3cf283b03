"""DeepVID: Deep Visual Interpretation and Diagnosis for Image Classifiers via Knowledge Distillation. Wang, Gou, Zhang,
Yang, Shen. TVCG 2019. https://doi.org/10.1109/TVCG.2019.2903943

A student so small that it can be read: linear, and taught only what the teacher says around one image.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tutelage.losses.distillation import soft_label_kl
from tutelage.losses.generation import negative_elbo
from tutelage.methods.method import check
from tutelage.models.average import Frozen
from tutelage.types import BadInput, Network


@runtime_checkable
class Generator(Protocol):
    """What puts images into few numbers and back."""

    def encode(self, images: Float[Tensor, "n 3 h w"]) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]:
        """Mean and log variance of each image's code."""

    def decode(self, codes: Float[Tensor, "n d"]) -> Float[Tensor, "n 3 h w"]:
        """Images in 0..1."""


class VAE(nn.Module):
    """A variational autoencoder of dense layers, for small images."""

    def __init__(self, height: int, width: int, *, codes: int = 16, hidden: int = 256):
        super().__init__()
        pixels = 3 * height * width
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(pixels, hidden), nn.ReLU(), nn.Linear(hidden, 2 * codes))
        self.decoder = nn.Sequential(
            nn.Linear(codes, hidden), nn.ReLU(), nn.Linear(hidden, pixels), nn.Unflatten(1, (3, height, width))
        )

    def encode(self, images: Float[Tensor, "n 3 h w"]) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]:
        """Mean and log variance of each image's code."""
        mean, log_variance = self.encoder(images).chunk(2, dim=-1)
        return mean, log_variance

    def decode(self, codes: Float[Tensor, "n d"]) -> Float[Tensor, "n 3 h w"]:
        """Images in 0..1."""
        pixels: Tensor = self.decoder(codes).sigmoid()
        return pixels


def fit_vae(vae: VAE, batches: Iterable[Float[Tensor, "n 3 h w"]], *, lr: float = 1e-3) -> Iterator[Float[Tensor, ""]]:
    """Train with Adam, one step a batch of images in 0..1; yields the loss of each step, detached."""
    optimizer = torch.optim.Adam(vae.parameters(), lr=lr)
    for images in batches:
        mean, log_variance = vae.encode(images)
        loss = negative_elbo(images, vae.decoder(sample_codes(mean, log_variance)), mean, log_variance)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        yield loss.detach()


def sample_codes(mean: Float[Tensor, "n d"], log_variance: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """One code for each image, from torch's random state; gradients reach both arguments."""
    return mean + torch.randn_like(mean) * (log_variance / 2).exp()


@dataclass(frozen=True, kw_only=True)
class DeepVID:
    """How an image is explained. The paper's numbers are not known to us; these suit images of 28 pixels."""

    __pydantic_config__ = {"extra": "forbid"}
    neighbours: int = 1000  # images around the one explained
    spread: float = 1.0  # standard deviation of what is added to the image's code
    temperature: float = 4.0  # T of teacher and student
    decay: float = 1e-4  # of the student's squared weights: of all that fit, the smallest
    steps: int = 200  # of L-BFGS at most
    seed: int = 0

    def __post_init__(self) -> None:
        check(self, positive=("spread", "temperature"), weights=("decay",))
        if self.neighbours < 2 or self.steps < 1:
            raise BadInput(f"{self}: neighbours is at least 2, steps at least 1")


class Explanation(NamedTuple):
    """What a linear student, true to the teacher around one image, looks at."""

    weights: Float[Tensor, "c 3 h w"]  # a pixel's pull to each class; a shift of all classes means nothing: mean 0
    agreement: float  # share of the neighbours on which student and teacher name the same class
    neighbours: Float[Tensor, "n 3 h w"]


def explain(settings: DeepVID, generator: Generator, teacher: Network, image: Float[Tensor, "3 h w"]) -> Explanation:
    """Fit the student around `image`. Low agreement means that no linear student is true to this teacher there."""
    teacher = Frozen(teacher)
    near = neighbours(settings, generator, image)
    told = teacher(near).logits
    shifts = (near - image).flatten(1)  # so that the bias is what is said of the image itself
    weight, bias = _linear_student(settings, shifts, told)
    said = shifts @ weight.T + bias
    agreement = (said.argmax(-1) == told.argmax(-1)).float().mean().item()
    return Explanation(weight.reshape(-1, *image.shape), agreement, near)


@torch.no_grad()
def neighbours(settings: DeepVID, generator: Generator, image: Float[Tensor, "3 h w"]) -> Float[Tensor, "n 3 h w"]:
    """Images that differ from `image` as real ones do: its code, with noise, decoded."""
    mean, _ = generator.encode(image[None])
    noise = torch.randn(
        settings.neighbours, mean.shape[-1], generator=torch.Generator().manual_seed(settings.seed), dtype=mean.dtype
    )
    return generator.decode(mean + settings.spread * noise.to(mean.device))


def _linear_student(
    settings: DeepVID, shifts: Float[Tensor, "n d"], told: Float[Tensor, "n c"]
) -> tuple[Float[Tensor, "c d"], Float[Tensor, " c"]]:
    """Soft-label fit of a linear layer: convex. From the start, zero, no step moves the mean over classes."""
    weight = shifts.new_zeros(told.shape[1], shifts.shape[1]).requires_grad_()
    bias = shifts.new_zeros(told.shape[1]).requires_grad_()
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=settings.steps, line_search_fn="strong_wolfe")

    def closure() -> Float[Tensor, ""]:
        optimizer.zero_grad()
        loss = soft_label_kl(shifts @ weight.T + bias, told, temperature=settings.temperature)
        loss = loss + settings.decay * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return weight.detach(), bias.detach()
