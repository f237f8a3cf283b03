"""Self-trained Deep Ordinal Regression for End-to-End Video Anomaly Detection. Pang, Yan, Shen, van den Hengel, Bai.
CVPR 2020. https://arxiv.org/abs/2003.06780

Nobody says which images are odd. Two detectors that are not trained rank them; a network learns to tell the top of the
ranking from its bottom and ranks them anew, for a few rounds. Images stand in for frames of a video.

    run = begin(settings, body, first_scores(features, settings, seed=0))
    for step in fit(settings, run, look, steps=..., batch=..., seed=0): ...
    scores = run.ranker(images)
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tutelage.data.batches import draw
from tutelage.losses.anomaly import ordinal_loss
from tutelage.methods.method import check
from tutelage.metrics.outliers import isolation, ranks, sampled_distance
from tutelage.models.backbone import Backbone, create
from tutelage.models.files import load_net, read_spec, write_weights
from tutelage.train.lessons import Resumable, check_finite
from tutelage.train.loop import Step
from tutelage.types import BadInput, Network

Look = Callable[[Int[np.ndarray, " n"]], Float[Tensor, "n 3 h w"]]  # the images of these places, where the run is


@dataclass(frozen=True, kw_only=True)
class VADOrdinal:
    """Whom to believe, and how long. Targets are from memory of the paper, unchecked."""

    __pydantic_config__ = {"extra": "forbid"}
    rounds: int = 5  # in each of which images are ranked anew and the scorer learns of them
    anomalous: float = 0.1  # a, share of the images, those ranked oddest, that are taken for anomalies
    usual: float = 0.2  # b, share of the images, those ranked least odd, that are taken for normal
    high: float = 1.0  # c1, the score to learn of an anomaly
    low: float = 0.0  # c2, of what is normal
    hidden: int = 100  # units of the scorer's hidden layer
    lr: float = 1e-3  # of Adam
    weight_decay: float = 5e-4  # of Adam
    sample: int = 20  # images that the first ranking measures distances to
    trees: int = 100  # of its isolation forest

    def __post_init__(self) -> None:
        check(self, positive=("rounds", "anomalous", "usual", "hidden", "lr", "sample", "trees"))
        check(self, shares=("anomalous", "usual"), weights=("high", "low", "weight_decay"))
        if self.anomalous + self.usual > 1:
            raise BadInput(
                f"anomalous is {self.anomalous} and usual {self.usual}: no image is both. Let them sum to 1 or less"
            )
        if self.high <= self.low:
            raise BadInput(f"high is {self.high} and low {self.low}: an anomaly scores more. Raise high")


def first_scores(features: Float[np.ndarray, "n d"], settings: VADOrdinal, *, seed: int) -> Float[np.ndarray, " n"]:
    """Mean rank of each image, 0 to 1, by two detectors on the features of a network that was trained before.

    Raises BadInput for fewer than two images.
    """
    if len(features) < 2:
        raise BadInput(f"{len(features)} image(s) are ranked: one is odd beside others only. Hand in more")
    random = np.random.default_rng(seed)
    near = sampled_distance(features, sample=settings.sample, draw=random)
    soon = isolation(features, trees=settings.trees, draw=random)
    scores: np.ndarray = 0.5 * (ranks(near) + ranks(soon))
    return scores


def pseudo_sets(
    scores: Float[np.ndarray, " n"], settings: VADOrdinal
) -> tuple[Int[np.ndarray, " a"], Int[np.ndarray, " b"]]:
    """Places of what is taken for anomalies and for normal, at least one each."""
    order = np.argsort(-scores, kind="stable")
    odd, usual = (max(1, int(share * len(scores))) for share in (settings.anomalous, settings.usual))
    return order[:odd], order[len(order) - usual :]


class Scorer(nn.Module):
    """A network, and two layers on its embedding that end in one number."""

    def __init__(self, body: Network, hidden: int):
        super().__init__()
        self.body = body
        self.head = nn.Sequential(nn.Linear(body.embedding_width, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        scores: Tensor = self.head(self.body(images).embedding)
        return scores[:, 0].float()


class Ranker(nn.Module):
    """The scorers of all rounds. How odd an image is: their mean."""

    def __init__(self, body: Network, settings: VADOrdinal):
        super().__init__()
        made = [Scorer(copy.deepcopy(body), settings.hidden) for _ in range(settings.rounds)]
        self.scorers, self.settings = nn.ModuleList(made), settings

    @torch.no_grad()
    def each(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "r n"]:
        """What the scorer of each round says."""
        self.eval()
        return torch.stack([scorer(images) for scorer in self.scorers])

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        return self.each(images).mean(0)


@dataclass
class Run(Resumable):
    """All that changes while training."""

    ranker: Ranker
    optimizer: torch.optim.Optimizer
    scores: Float[np.ndarray, " n"]  # that the round under way believes
    step: int = 0
    parts = ("ranker", "optimizer")

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "scores": torch.from_numpy(self.scores)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.scores = state["scores"].numpy()


def begin(settings: VADOrdinal, body: Network, scores: Float[np.ndarray, " n"]) -> Run:
    """A run at step 0. Every round begins with `body`, which stays as it is; heads are drawn from torch's state."""
    ranker = Ranker(body, settings).to(next(body.parameters()).device)
    optimizer = torch.optim.Adam(ranker.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    return Run(ranker, optimizer, scores)


def fit(settings: VADOrdinal, run: Run, look: Look, *, steps: int, batch: int, seed: int) -> Iterator[Step]:
    """From `run.step` on to `steps`, as many in each round, half of a `batch` being of either set.

    Raises BadInput where `steps` is no multiple of the rounds or `batch` has no halves, Diverged where a loss is not
    finite.
    """
    if batch < 2 or batch % 2:
        raise BadInput(f"a batch of {batch} has no two halves, one odd and one normal. Write an even labelled_batch")
    if steps % settings.rounds:
        raise BadInput(f"{steps} steps are no whole number of {settings.rounds} rounds. Write a multiple")
    own = steps // settings.rounds
    sets = pseudo_sets(run.scores, settings)
    while run.step < steps:
        number, begins = divmod(run.step, own)
        if number and not begins:
            run.scores = _scored(run.ranker.scorers[number - 1], look, len(run.scores), batch)
            sets = pseudo_sets(run.scores, settings)
        rows = [places[draw((seed, kind), len(places), batch // 2, run.step)] for kind, places in enumerate(sets)]
        images = look(np.concatenate(rows))
        targets = images.new_tensor([settings.high] * (batch // 2) + [settings.low] * (batch // 2))
        loss = ordinal_loss(run.ranker.train().scorers[number](images), targets)
        check_finite({"ordinal": loss}, step=run.step + 1)
        run.optimizer.zero_grad(set_to_none=True)  # the other rounds' scorers have no gradient and stay
        loss.backward()
        run.optimizer.step()
        run.step += 1
        yield Step(run.step, {"ordinal": loss.detach()})


@torch.no_grad()
def _scored(scorer: nn.Module, look: Look, number: int, batch: int) -> Float[np.ndarray, " n"]:
    scorer.eval()
    chunks = [np.arange(first, min(first + batch, number)) for first in range(0, number, batch)]
    scores: np.ndarray = torch.cat([scorer(look(chunk)).cpu() for chunk in chunks]).double().numpy()
    return scores


_TASK = "ranks of odd images"


def save_ranker(path: Path, ranker: Ranker, *, classes: list[str], method: str) -> None:
    """As files.save_model, for scorers on networks that `create` made. `classes` are those of the first teacher."""
    body = ranker.scorers[0].body
    assert isinstance(body, Backbone)
    about = {"classes": classes, "method": method, "task": _TASK}
    write_weights(path, ranker, about | {"spec": asdict(body.spec), "settings": asdict(ranker.settings)})


def load_ranker(path: Path) -> Ranker:
    """The ranker in eval mode. Raises BadInput for anything but a file that save_ranker wrote."""
    return load_net(path, _TASK, _make)[0]


def _make(about: dict[str, Any], classes: int) -> Ranker:
    return Ranker(create(read_spec(about["spec"]), classes, download=False), VADOrdinal(**about["settings"]))
