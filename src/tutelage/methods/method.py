"""What every teacher-student method is: hyperparameters, and three verbs."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Generic, Literal, NamedTuple, TypeVar, cast, get_args, get_origin

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tutelage.losses.cutmix import Pasted, pasted
from tutelage.models.heads import Freezing
from tutelage.models.tokens import Ask
from tutelage.multi_types import Multi, MultiBatch, MultiNets
from tutelage.types import (
    BadInput,
    Batch,
    Detector,
    DetectorNets,
    Losses,
    Nets,
    Network,
    Outputs,
    SceneBatch,
    Sizes,
    Tokens,
)

Net = TypeVar("Net", Network, Detector, Multi)  # what is trained
Together = TypeVar("Together", Nets, DetectorNets, MultiNets)  # all that a step needs of it
Fed = TypeVar("Fed", Batch, SceneBatch, MultiBatch)  # what a step sees


@dataclass(frozen=True, kw_only=True)
class Verbs(ABC, Generic[Net, Together, Fed]):
    """A value, fixed before any network exists. Subclasses are final: their fields are the whole config.

    Methods with `pool` have a field `unsupervised`, a factor on all that they learn from the pool. The guard lowers it.
    """

    teacher: ClassVar[Literal["given", "copy", "self"]] = "given"  # a checkpoint, a copy of the student, or none
    pool: ClassVar[bool] = True  # False: labelled images only, so no view of the pool is ever made
    trains: ClassVar[type[Any]]  # what kind of network, and what kind of batch it sees
    sees: ClassVar[type[Any]]
    only: ClassVar[str] = ""  # the one network, by name, that it trains; "": any
    __pydantic_config__ = {"extra": "forbid"}  # a misspelt hyperparameter is an error, not a default

    def init(self, student: Net, teacher: Net, sizes: Sizes) -> nn.Module:
        """Heads to train and buffers to remember beside the student. Most methods need none."""
        return nn.Identity()

    @abstractmethod
    def loss(self, nets: Together, batch: Fed) -> Losses:
        """The weighted terms of one step, by name. The engine adds them up. May write buffers of `extra`."""

    def after_step(self, nets: Together, step: int) -> None:
        """What moves without a gradient: clocks. Teachers stay as they are unless a method says otherwise.

        `step` counts the optimizer steps of the whole run from 1, also where the run was cut off and continued.
        """
        for part in nets.extra.modules():
            if isinstance(part, Clock | TwoStages):
                part.tick(step)


@dataclass(frozen=True, kw_only=True)
class Method(Verbs[Network, Nets, Batch]):
    """How a classifier learns."""

    trains = Network
    sees = Batch
    tokens: ClassVar[bool] = False  # True: it compares tokens, so both networks must be vision transformers

    def kept(self, net: Network) -> Network:
        """What of the network that was trained is judged and stored in the end: all of it, as it is."""
        return net


class Clock(nn.Module):
    """How far a run is, in a buffer, so that a run that continues goes on where it stopped."""

    step: Tensor

    def __init__(self, steps: int):
        super().__init__()
        self.steps = steps
        self.register_buffer("step", torch.zeros(()))

    def tick(self, step: int) -> None:
        """`step` optimizer steps have been taken."""
        self.step.fill_(step)

    def progress(self, share: float) -> Float[Tensor, ""]:
        """From 0 to 1 over the first `share` of the run, then 1; 1 from the start where `share` is 0."""
        if share * self.steps == 0:
            return torch.ones_like(self.step)
        return (self.step / (share * self.steps)).clamp(max=1)


class Paced(nn.Module):
    """What a method trains beside the student, and how far the run is.

    Both come out of one forward: where a process is one of several, that is all that its wrapper lets through.
    """

    def __init__(self, net: nn.Module, steps: int):
        super().__init__()
        self.net, self.clock = net, Clock(steps)

    def forward(self, *inputs: Any) -> tuple[Any, Float[Tensor, ""]]:
        """What `net` says of `inputs`, and the share of the run that is over."""
        return self.net(*inputs), self.clock.progress(1.0)


class TwoStages(Paced):
    """Paced, for methods whose second stage follows a first, which takes the share `first` of the run.

    What a `net` freezes is as the first stage left it, and as the first step did where that stage has none.
    """

    def __init__(self, net: nn.Module, steps: int, first: float):
        super().__init__(net, steps)
        self.first = first

    def forward(self, *inputs: Any) -> tuple[Any, Float[Tensor, ""]]:
        """What `net` says of `inputs`, and 1 in the second stage, 0 in the first."""
        said, progress = super().forward(*inputs)
        return said, (progress >= self.first).float()

    def tick(self, step: int) -> None:
        """`step` optimizer steps have been taken."""
        if isinstance(self.net, Freezing) and step <= max(1, self.first * self.clock.steps):
            self.net.freeze()


def transfer_set(batch: Batch, unsupervised: float) -> tuple[Float[Tensor, "n 3 h w"], Float[Tensor, " n"]]:
    """Strong views of the labelled images and then of the pool, and what each counts: 1, and `unsupervised`."""
    images = torch.cat([batch.labeled.strong, batch.unlabeled.strong])
    trust = torch.ones(len(images), device=images.device)
    trust[len(batch.labeled.strong) :] = unsupervised
    return images, trust


def answers(
    net: Network, images: Float[Tensor, "n 3 h w"], *, instead: Float[Tensor, "m 3 h w"]
) -> Float[Tensor, "n c"]:
    """Logits on `images`. Where there are none the forward runs on `instead` and its answer is dropped.

    So every process makes the same calls, and networks that cannot take an empty batch (ViT) never see one.
    """
    return net(images if len(images) else instead).logits[: len(images)]


class Guessed(NamedTuple):
    """What a network says of labelled images, of the pool's strong views, and, as a target, of its weak ones."""

    guess: Float[Tensor, "u c"]  # probabilities, without a graph
    weak: Float[Tensor, "n c"]
    strong: Float[Tensor, "n c"]
    noisy: Float[Tensor, "u c"]
    mine: Pasted  # the strong views that were answered
    seen: Pasted


def guessed(net: Network, batch: Batch, *, cutmix: float) -> Guessed:
    """Both views of both sets, with parts of others in a share `cutmix` of the strong ones, in two forwards.

    The weak pool view is a target only, so it runs without a graph, apart from the rest (FixMatch: all in one forward).
    Still in train mode: normalised by the statistics of its own batch, which enter the running ones. First, so that no
    buffer moves between the forward that has a graph and its backward.
    """
    (weak, strong, labels), pool = batch.labeled, batch.unlabeled
    with torch.no_grad():
        guess = answers(net, pool.weak, instead=weak).softmax(-1)
    mine, seen = (pasted(images, chance=cutmix) for images in (strong, pool.strong))
    logits = net(torch.cat([mine.images, weak, seen.images])).logits  # batch norm over all three
    on_strong, on_weak, noisy = logits.split([len(labels), len(labels), len(pool.strong)])
    return Guessed(guess, on_weak, on_strong, noisy, mine, seen)


def look(net: Network, images: Float[Tensor, "n 3 h w"], ask: Ask) -> tuple[Outputs, Tokens]:
    """What a vision transformer says of images, and what it computes on its way: see tutelage.models.backbone."""
    said: Outputs = cast(Any, net)(images, tokens=ask)
    assert said.tokens is not None
    return said, said.tokens


def check(
    method: Any, *, shares: tuple[str, ...] = (), weights: tuple[str, ...] = (), positive: tuple[str, ...] = ()
) -> None:
    """Raise BadInput for a share outside 0..1, a weight below 0, a number that is not positive, an unknown choice.

    `method` is a dataclass: a method, or the settings of a loop of its own.
    """
    defaults = {field.name: field.default for field in fields(method)}
    for field in fields(method):
        choices = get_args(field.type) if get_origin(field.type) is Literal else ()
        if choices and getattr(method, field.name) not in choices:
            raise BadInput(
                f"{field.name} of {type(method).__name__} is {getattr(method, field.name)!r}: "
                f"it must be one of {', '.join(choices)}. Leave it out for the default, {field.default}"
            )
    top = torch.finfo(torch.float32).max  # also refuses infinities, and comparisons refuse nan
    rules = (
        (shares, lambda x: 0 <= x <= 1, "a share, from 0 to 1"),
        (weights, lambda x: 0 <= x <= top, "a weight, 0 or more"),
        (positive, lambda x: 0 < x <= top, "above 0"),
    )
    for names, holds, rule in rules:
        for name in names:
            value = getattr(method, name)
            if value is not None and not holds(value):
                raise BadInput(
                    f"{name} of {type(method).__name__} is {value}: it must be {rule}. "
                    f"Leave it out for the default, {defaults[name]}"
                )
