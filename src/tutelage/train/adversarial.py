"""What loops share in which critics judge what a network makes of two domains."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from tutelage.data.batches import on_device
from tutelage.losses.adversarial import Form, critic_loss
from tutelage.multi_types import Annotated, MultiBatch
from tutelage.train.lessons import descend
from tutelage.train.settings import Optimiser
from tutelage.types import IGNORE, Batch, Outputs


class Pair(NamedTuple):
    """What one step sees of a labelled source and a target without labels."""

    source: Float[Tensor, "b 3 h w"]
    labels: Int[Tensor, "b ..."]  # of images [b] or of pixels [b h w]; IGNORE where there is none
    target: Float[Tensor, "u 3 h w"]
    pseudo: Int[Tensor, "u ..."]  # what a former round said of the target; IGNORE where nothing
    ids: Int[Tensor, " u"]  # place of each target image in the pool


def pairs(batches: Iterable[Batch], *, device: torch.device) -> Iterator[Pair]:
    """Classification: labelled images in both views are the source, weak views of the pool the target."""
    for batch in batches:
        weak, strong, labels = (on_device(x, device) for x in batch.labeled)
        target, ids = (on_device(x, device) for x in (batch.unlabeled.weak, batch.unlabeled.ids))
        yield Pair(torch.cat([weak, strong]), torch.cat([labels, labels]), target, torch.full_like(ids, IGNORE), ids)


def dense_pairs(batches: Iterable[MultiBatch], *, device: torch.device) -> Iterator[Pair]:
    """Segmentation: images that people annotated are the source, those of the pool the target. A pixel is labelled
    where somebody, of the pool a model, gave its class and it is trusted."""
    for batch in batches:
        (source, labels), (target, pseudo) = (_classes_of_pixels(part, device) for part in batch)
        yield Pair(source, labels, target, pseudo, torch.zeros(len(target), dtype=torch.int64, device=device))


def translated_pairs(seen: Iterable[Pair], generator: nn.Module) -> Iterator[Pair]:
    """Pairs whose source a generator has made look like the target; its labels stay."""
    generator.eval()
    for pair in seen:
        with torch.no_grad():
            made = generator(pair.source)
        yield pair._replace(source=made)


def _classes_of_pixels(part: Annotated, device: torch.device) -> tuple[Tensor, Tensor]:
    images, given = on_device(part.images, device), part.truth.segmentation
    labels = torch.full((len(images), *images.shape[2:]), IGNORE, device=device)
    labels[given.rows] = torch.where(given.weight > 0, given.target, IGNORE).to(device)
    return images, labels


def main_logits(network: nn.Module, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c ..."]:
    """Of a classifier, or the main ones of a network that answers at several levels, as adaptsegnet's."""
    outputs = network(images)
    logits: Tensor = outputs.logits if isinstance(outputs, Outputs) else outputs[0]
    return logits


def known_cross_entropy(logits: Float[Tensor, "n c ..."], labels: Int[Tensor, "n ..."]) -> Float[Tensor, ""]:
    """Mean over the images or pixels whose label is known; zero, in the graph, where none is."""
    total = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum")
    return total / (labels != IGNORE).sum().clamp_min(1)


def train_critic(
    critic: nn.Module, optimizer: torch.optim.Optimizer, real: Tensor, other: Tensor, *, form: Form,
    settings: Optimiser, step: int,
) -> Float[Tensor, ""]:  # fmt: skip
    """One step of a critic alone, whoever made `real` and `other`. Returns its loss; Diverged if not finite."""
    loss = critic_loss(critic(real.detach()), critic(other.detach()), form=form)
    return descend(optimizer, {"critic": loss}, settings, step=step)["critic"]


class Still:
    """Within it no parameter of `modules` collects a gradient; it still passes one through to what they are given."""

    def __init__(self, *modules: nn.Module):
        self.parameters = [p for module in modules for p in module.parameters() if p.requires_grad]

    def __enter__(self) -> None:
        for parameter in self.parameters:
            parameter.requires_grad_(False)

    def __exit__(self, *_: object) -> None:
        for parameter in self.parameters:
            parameter.requires_grad_(True)
