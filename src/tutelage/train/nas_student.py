"""Two ways to search a student for a teacher that stays as it is; the survey does not say which it means.

Teacher Guided Architecture Search. Bashivan, Tensen, DiCarlo. ICCV 2019. https://arxiv.org/abs/1808.01405: train each
candidate a little, and keep the one that sees images most as the teacher does.
Blockwisely Supervised Neural Architecture Search with Knowledge Distillation. Li, Peng, Yuan, Wang, Liang, Lin, Chang.
CVPR 2020. https://arxiv.org/abs/1911.13053: train candidates for each stage of the teacher alone, and join the best.

Both are simplified: candidates are a list that is gone through, not drawn by a search of their own, and candidates for
a stage share no weights. `python -m tasks lesson` searches in the first way; the second is for who writes candidates.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor, nn

from tutelage.methods.kd import KD
from tutelage.methods.method import Method
from tutelage.metrics.representation import representational_similarity
from tutelage.models.average import Frozen
from tutelage.models.backbone import NetworkSpec, create
from tutelage.models.files import count_parameters
from tutelage.models.pairs import stage_pairs
from tutelage.models.tails import tail
from tutelage.train.loop import begin, fit
from tutelage.train.settings import Optimiser
from tutelage.types import BadInput, Batch, Network, Outputs, Sizes


@dataclass(frozen=True, kw_only=True)
class Search:
    """A search among specs that are given."""

    __pydantic_config__ = {"extra": "forbid"}
    specs: tuple[NetworkSpec, ...]  # the candidates
    parameters: int  # a candidate with more is not even trained
    method: Method = field(default_factory=KD)  # how each is trained
    steps: int = 200  # of training; few, for only their order counts
    seed: int = 0  # every candidate starts from it

    def __post_init__(self) -> None:
        if not self.specs or self.steps < 0:
            raise BadInput("a search needs at least one spec, and 0 or more steps")


@dataclass(frozen=True, slots=True)
class Rated:
    """A candidate, its number of parameters, and how it compares with the teacher: the more, the better."""

    spec: NetworkSpec
    parameters: int
    score: float


def search(
    settings: Search, teacher: Network, batches: Callable[[], Iterable[Batch]], probe: Float[Tensor, "n 3 h w"], *,
    sizes: Sizes, accelerator: Accelerator,
) -> Iterator[Rated]:  # fmt: skip
    """Each candidate that is small enough, rated; `max(..., key=lambda rated: rated.score)` is the student to train.

    `batches()` starts the same batches anew, `probe` are images to compare on, best not trained on. A rating depends
    on nothing that came before it, so a search that was cut goes on with the specs that are left. Raises BadInput
    where no candidate is small enough. Torch's random state stays as it was.
    """
    counts = fitting(settings, sizes.classes)
    for spec in counts:
        with torch.random.fork_rng():
            torch.manual_seed(settings.seed)
            student = create(spec, sizes.classes)
            run = begin(settings.method, student, teacher, sizes._replace(steps=settings.steps), Optimiser())
            few = itertools.islice(batches(), settings.steps)
            for _ in fit(settings.method, run, few, Optimiser(), steps=settings.steps, accelerator=accelerator):
                pass
        alike = likeness(student, run.nets.teacher, probe.to(accelerator.device))
        yield Rated(spec, counts[spec], alike.item())


def fitting(settings: Search, classes: int) -> dict[NetworkSpec, int]:
    """The candidates that are small enough, with their parameters. Raises BadInput where none is."""
    with torch.random.fork_rng():
        counts = {spec: count_parameters(create(spec, classes, download=False)) for spec in settings.specs}
    small = {spec: count for spec, count in counts.items() if count <= settings.parameters}
    if not small:
        raise BadInput(
            f"parameters is {settings.parameters}, and the smallest candidate has {min(counts.values())}. Raise it, or "
            "add smaller specs"
        )
    return small


def likeness(student: Network, teacher: Network, probe: Float[Tensor, "n 3 h w"]) -> Float[Tensor, ""]:
    """Mean representational similarity of paired stages and of the embeddings, in eval mode."""
    ours, theirs = (Frozen(net)(probe) for net in (student, teacher))
    layers = [(ours.features[one], theirs.features[other]) for one, other in stage_pairs(student, teacher)]
    layers.append((ours.embedding, theirs.embedding))
    return torch.stack([representational_similarity(*(x.flatten(1).float() for x in pair)) for pair in layers]).mean()


@dataclass(frozen=True, slots=True)
class Blocks:
    """Candidates for one stage of a teacher, and what each lost when it imitated that stage."""

    candidates: Sequence[nn.Module]  # map before the stage (the first: images) to map behind it
    losses: Float[Tensor, " k"]  # relative: 0 is the teacher's own map, 1 its mean


def fit_stage(
    teacher: Network, stage: int, candidates: Sequence[nn.Module], images: Iterable[Float[Tensor, "n 3 h w"]], *,
    lr: float = 2e-3,
) -> Iterator[Float[Tensor, " k"]]:  # fmt: skip
    """Train all candidates for stage number `stage`, from 1, side by side; yields their losses after each batch.

    Each is fed the teacher's own map before the stage, so stages are searched apart and in any order.
    """
    frozen = Frozen(teacher)
    parameters = [p for candidate in candidates for p in candidate.parameters()]
    # A candidate may have nothing to learn, identity for one; an optimizer must have something.
    optimizer = torch.optim.Adam(parameters or [nn.Parameter(torch.zeros(()))], lr=lr)
    for batch in images:
        before, wanted = _around(frozen, stage, batch)
        losses = torch.stack([relative_error(candidate.train()(before), wanted) for candidate in candidates])
        if losses.requires_grad:
            optimizer.zero_grad(set_to_none=True)
            losses.sum().backward()
            optimizer.step()
        yield losses.detach()


@torch.no_grad()
def rate_stage(
    teacher: Network, stage: int, candidates: Sequence[nn.Module], images: Iterable[Float[Tensor, "n 3 h w"]]
) -> Blocks:
    """The candidates with their losses on `images` that none was trained on, in eval mode."""
    frozen, losses = Frozen(teacher), []
    for batch in images:
        before, wanted = _around(frozen, stage, batch)
        losses.append(torch.stack([relative_error(c.eval()(before), wanted) for c in candidates]))
    return Blocks(candidates, torch.stack(losses).mean(0))


def relative_error(maps: Float[Tensor, "n c h w"], wanted: Float[Tensor, "n c h w"]) -> Float[Tensor, ""]:
    """Mean squared error over the variance of what is wanted: stages with large numbers count no more than others."""
    return (maps - wanted).square().mean() / wanted.var(correction=0).clamp_min(torch.finfo(wanted.dtype).tiny)


def choose(stages: Sequence[Blocks], parameters: int) -> tuple[int, ...]:
    """The place of the candidate to take in each stage: the least sum of losses among all choices that fit.

    All are gone through: k candidates for s stages are k^s choices. Raises BadInput where none fits.
    """
    sizes = [[count_parameters(candidate) for candidate in blocks.candidates] for blocks in stages]
    losses = [blocks.losses.tolist() for blocks in stages]
    ways = itertools.product(*(range(len(blocks.candidates)) for blocks in stages))
    fitting = [way for way in ways if _total(sizes, way) <= parameters]
    if not fitting:
        least = sum(min(of_stage) for of_stage in sizes)
        raise BadInput(f"parameters is {parameters}, and the smallest student has {least}. Raise it, or add candidates")
    return min(fitting, key=lambda way: (_total(losses, way), _total(sizes, way)))


class Joined(Network):
    """A student of one chosen block a stage, with the teacher's classifier behind them."""

    def __init__(self, teacher: Network, blocks: Sequence[nn.Module]):
        super().__init__()
        self.widths = dict(teacher.widths)
        self.embedding_width = list(self.widths.values())[-1]  # the mean of the last stage's map
        self.blocks = nn.ModuleList(blocks)
        self.last = tail(teacher, len(blocks))

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> Outputs:
        maps, features = images, {}
        for name, block in zip(self.widths, self.blocks, strict=True):
            features[name] = maps = block(maps)
        return Outputs(self.last(maps).float(), maps.mean((2, 3)).float(), features)


def _around(teacher: Frozen, stage: int, images: Tensor) -> tuple[Tensor, Tensor]:
    maps = [images, *teacher(images).features.values()]
    return maps[stage - 1].float(), maps[stage].float()


def _total(numbers: Sequence[Sequence[int | float]], way: tuple[int, ...]) -> int | float:
    return sum(of_stage[place] for of_stage, place in zip(numbers, way, strict=True))
