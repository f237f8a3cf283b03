"""Towards Oracle Knowledge Distillation with Neural Architecture Search. Kang, Mun, Han. AAAI 2020.
https://arxiv.org/abs/1911.13019

A student grows until it has room for what several teachers say: a controller picks what to add behind each stage of a
backbone, and learns from how well the student with it does. Weights are shared by all that is picked, as in ENAS (Pham
et al., 2018, https://arxiv.org/abs/1802.03268). What was picked in the end is trained from scratch, by the method
oracle_kd_nas and tutelage.train.loop: `create(replace(spec, added=best(run)), classes)`.

Built from descriptions: where added layers attach, and the reward's penalty (Tan et al., MnasNet, CVPR 2019,
https://arxiv.org/abs/1807.11626), are our reading. The controller's numbers are those of ENAS.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from tutelage.losses.distillation import oracle_rows
from tutelage.methods.method import check
from tutelage.methods.oracle_kd_nas import OracleKDNAS
from tutelage.models.average import Frozen
from tutelage.models.backbone import Backbone
from tutelage.models.committee import each_said
from tutelage.models.grown import OPERATIONS, Architecture, Layer, grow
from tutelage.models.tails import stages
from tutelage.train.lessons import Lesson, Resumable, descend, ready
from tutelage.train.loop import Step, schedule, set_rate, sgd
from tutelage.train.settings import Optimiser
from tutelage.types import BadInput, Network, Outputs


class Grown(Network):
    """A backbone with `depth` layers more behind each stage. Without `architecture` it can be any: the search's."""

    def __init__(self, backbone: Backbone, *, depth: int = 1, architecture: Architecture | None = None):
        super().__init__()
        stages(backbone)  # raises BadInput where it cannot be cut
        self.backbone, self.depth = backbone, depth
        self.widths, self.embedding_width = dict(backbone.widths), backbone.embedding_width
        places = [width for width in self.widths.values() for _ in range(depth)]
        plain = Layer("identity", plus_input=False, plus_stage=False)
        self.architecture: Architecture = architecture or (plain,) * len(places)
        if len(self.architecture) != len(places):
            raise BadInput(f"{len(self.architecture)} layers are given: {len(places)} fit, {depth} behind each stage")
        offered = [OPERATIONS] * len(places) if architecture is None else [[layer.operation] for layer in architecture]
        self.added = nn.ModuleList(
            nn.ModuleDict({name: OPERATIONS[name](width) for name in names})
            for names, width in zip(offered, places, strict=True)
        )

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> Outputs:
        net, features = self.backbone.net, {}
        maps = net.stem((images - self.backbone.mean) / self.backbone.std)
        for number, (name, stage) in enumerate(zip(self.widths, net.stages, strict=True)):
            features[name] = maps = self._grow(stage(maps), number * self.depth)
        embedding = net.forward_head(net.final_conv(maps), pre_logits=True)
        return Outputs(net.get_classifier()(embedding).float(), embedding.float(), features)

    def _grow(self, stage: Tensor, first: int) -> Tensor:
        places = range(first, first + self.depth)
        layers = [self.architecture[place] for place in places]
        picked = zip(places, layers, strict=True)
        return grow(stage, layers, [self.added[place][layer.operation] for place, layer in picked])  # type: ignore[index]

    def count(self) -> int:
        """Parameters of the backbone and of what `architecture` uses."""
        used = [self.added[place][layer.operation] for place, layer in enumerate(self.architecture)]  # type: ignore[index]
        return sum(p.numel() for part in (self.backbone, *used) for p in part.parameters())


class Drawn(NamedTuple):
    """What a controller picked, and how it came to."""

    architecture: Architecture
    log_probability: Float[Tensor, ""]
    entropy: Float[Tensor, ""]


class Controller(nn.Module):
    """Picks an architecture, one decision after another: for each layer what it does, then what is added to it."""

    baseline: Tensor

    def __init__(self, layers: int, *, hidden: int = 64):
        super().__init__()
        self.layers = layers
        self.cell = nn.LSTMCell(hidden, hidden)
        self.start = nn.Parameter(torch.zeros(1, hidden))
        self.choices = nn.ModuleList([nn.Linear(hidden, len(OPERATIONS)), nn.Linear(hidden, 4)])
        self.memory = nn.ModuleList([nn.Embedding(len(OPERATIONS), hidden), nn.Embedding(4, hidden)])
        self.register_buffer("baseline", torch.full((), torch.nan))  # mean reward so far; there is none yet

    def draw(self, *, greedy: bool = False) -> Drawn:
        """An architecture at random, from torch's state, or the likeliest decision each time."""
        seen, state, picked = self.start, None, []
        log_probability, entropy = self.start.new_zeros(()), self.start.new_zeros(())
        for place in range(2 * self.layers):
            state = self.cell(seen, state)
            said = torch.distributions.Categorical(logits=self.choices[place % 2](state[0]))
            choice = said.probs.argmax(-1) if greedy else said.sample()
            log_probability = log_probability + said.log_prob(choice).sum()
            entropy = entropy + said.entropy().sum()
            seen = self.memory[place % 2](choice)
            picked.append(int(choice))
        names = list(OPERATIONS)
        pairs = zip(picked[::2], picked[1::2], strict=True)
        layers = tuple(Layer(names[what], bool(plus & 1), bool(plus & 2)) for what, plus in pairs)
        return Drawn(layers, log_probability, entropy)

    def loss(self, drawn: Drawn, reward: Float[Tensor, ""], *, decay: float, entropy: float) -> Float[Tensor, ""]:
        """REINFORCE: make likelier what did better than what was picked before. Moves the baseline.

        Williams, Simple statistical gradient-following algorithms, Machine Learning, 1992.
        """
        moved = decay * self.baseline + (1 - decay) * reward
        self.baseline.copy_(torch.where(self.baseline.isnan(), reward, moved))
        return -(reward - self.baseline) * drawn.log_probability - entropy * drawn.entropy


@dataclass(frozen=True, kw_only=True)
class OracleSearch:
    """How a student is searched."""

    __pydantic_config__ = {"extra": "forbid"}
    method: OracleKDNAS = field(default_factory=OracleKDNAS)  # the loss, of the search and of the training after it
    parameters: int = 100_000  # as many cost nothing; more lower the reward, fewer raise it
    penalty: float = 0.07  # reward is accuracy times (parameters / these)^-penalty; 0.07 is MnasNet's
    controller_lr: float = 3.5e-4  # of Adam
    baseline: float = 0.95  # decay of the mean reward
    entropy: float = 1e-4  # weight of the controller's entropy, which keeps it curious

    def __post_init__(self) -> None:
        check(self, shares=("baseline",), weights=("penalty", "entropy"), positive=("parameters", "controller_lr"))


@dataclass
class Run(Resumable):
    """All that changes while searching."""

    student: Grown
    controller: Controller
    student_optimizer: torch.optim.Optimizer
    controller_optimizer: torch.optim.Optimizer
    step: int = 0
    parts = ("student", "controller", "student_optimizer", "controller_optimizer")


def begin(settings: OracleSearch, student: Grown, optimiser: Optimiser) -> Run:
    """A search at step 0. `student` was made without an architecture."""
    device = next(student.parameters()).device
    controller = Controller(len(student.architecture)).to(device)
    adam = torch.optim.Adam(controller.parameters(), lr=settings.controller_lr)
    return Run(student, controller, sgd(list(student.parameters()), optimiser), adam)


def fit(
    settings: OracleSearch, run: Run, teacher: Network, lessons: Iterable[Lesson], optimiser: Optimiser, *, steps: int
) -> Iterator[Step]:
    """Search from `run.step` on. In each step the weights learn with one architecture, the controller from another.

    `teacher` is a Committee, or one network. The quiz is what rewards are measured on.
    """
    device = next(run.student.parameters()).device
    frozen = Frozen(teacher).to(device)
    for lesson in lessons:
        lesson = ready(lesson, device)
        images, labels = lesson.train.strong, lesson.train.labels
        set_rate(run.student_optimizer, optimiser.lr * schedule(run.step, steps, optimiser.warmup_steps))
        with torch.no_grad():
            run.student.architecture = run.controller.draw().architecture
        said = run.student.train()(images).logits
        told = each_said(frozen(images))
        method = settings.method
        rows = oracle_rows(said, told, labels, share=method.share, temperature=method.temperature)
        # What was not picked gets no gradient, and stays.
        learned = descend(run.student_optimizer, {"oracle": rows.mean()}, optimiser, step=run.step + 1)
        drawn = run.controller.draw()
        run.student.architecture = drawn.architecture
        earned = reward(settings, run.student, lesson)
        loss = run.controller.loss(drawn, earned, decay=settings.baseline, entropy=settings.entropy)
        descend(run.controller_optimizer, {"controller": loss}, optimiser, step=run.step + 1)
        run.step += 1
        yield Step(run.step, learned | {"reward": earned})


@torch.no_grad()
def reward(settings: OracleSearch, student: Grown, lesson: Lesson) -> Float[Tensor, ""]:
    """Accuracy in the quiz, less for many parameters.

    Batch norm goes by the quiz's own statistics: running ones are a mix of all architectures. Nothing is averaged in.
    """
    buffers = {name: value.clone() for name, value in student.named_buffers()}
    said = functional_call(student.train(), buffers, (lesson.quiz.weak,)).logits
    accuracy: Tensor = (said.argmax(-1) == lesson.quiz.labels).float().mean()
    scale: float = (student.count() / settings.parameters) ** -settings.penalty
    return accuracy * scale


@torch.no_grad()
def best(run: Run) -> Architecture:
    """The likeliest architecture: what to train from scratch."""
    return run.controller.draw(greedy=True).architecture
