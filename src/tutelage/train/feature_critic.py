"""Knowledge Distillation with Feature Maps for Image Classification. Chen, Chang, Lee. ACCV 2018.
https://arxiv.org/abs/1812.00660

One loop for four works in which a critic is to tell a student's features from its teacher's, and the student to fool
it. They differ in what they ask for beside. PORTABLE_STUDENT is Wang, Xu, Xu, Tao, Adversarial Learning of Portable
Student Networks, AAAI 2018; KDFM is the work above; ADV_AUDIO_FD is Gao et al., adversarial feature distillation for
audio, IEEE Access 2019, to which log-mel spectrograms are images; XMODAL_CGAN is Roheda, Riggan, Krim, Dai,
Cross-Modality Distillation, ICASSP 2018, https://arxiv.org/abs/1807.07682: the modality that is missing is half of the
image. All are from memory of the papers: formulas and weights could not be checked.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from tutelage.data.batches import on_device
from tutelage.losses.adversarial import Form, verdict_loss
from tutelage.losses.distillation import soft_label_kl
from tutelage.losses.maps import squared_rows
from tutelage.losses.targets import mean_or_zero
from tutelage.methods.method import check
from tutelage.models.average import Frozen
from tutelage.models.backbone import Backbone
from tutelage.models.critics import vector_critic
from tutelage.models.pairs import Adapters, stage_pairs
from tutelage.train.adversarial import Still, train_critic
from tutelage.train.lessons import Resumable, descend
from tutelage.train.loop import Step, schedule, set_rate, sgd
from tutelage.train.settings import Optimiser
from tutelage.types import BadInput, Batch, Labeled, Losses, Network, Outputs


@dataclass(frozen=True, kw_only=True)
class FeatureCritic:
    """Have features that a critic takes for the teacher's.

    The student's are brought to the teacher's width by a linear map, which is dropped, or becomes part of the
    student's head where a classifier reads both networks' features.
    """

    __pydantic_config__ = {"extra": "forbid"}
    label: float = 1.0  # of the cross entropy
    logits: float = 0.0  # of half the squared distance of the logits
    soft: float = 0.0  # of the soft labels
    temperature: float = 4.0  # T of the soft labels
    hint: float = 0.0  # of the squared distance of maps, mean over elements, summed over pairs of stages
    layers: tuple[str, ...] = ()  # those pairs, such as "stage2:stage3"; none: all
    feature: float = 0.0  # of the squared distance of the embeddings, mean over elements
    adversarial: float = 0.1  # of fooling the critic
    form: Form = "bce"  # of the critic's loss
    minimax: bool = False  # bce only: go down log(1 - D), which is flat where the critic is sure; else -log D
    judged: Literal["embedding", "map"] = "embedding"  # what the critic sees; of a map each position on its own
    shared: bool = False  # a classifier that learns from both networks' embeddings is the student's head
    conditional: bool = False  # the critic also sees, made small, what the student sees
    sees: Literal["all", "half"] = "all"  # what the student sees of an image that the teacher sees whole
    critic_lr: float = 2e-4  # of Adam

    def __post_init__(self) -> None:
        weights = ("label", "logits", "soft", "hint", "feature", "adversarial")
        check(self, weights=weights, positive=("temperature", "critic_lr"))
        if self.minimax and self.form != "bce":
            raise BadInput(f"minimax is true and form {self.form!r}: log(1 - D) is of bce. Leave one of them out")


PORTABLE_STUDENT = FeatureCritic(logits=0.1, minimax=True)
KDFM = FeatureCritic(judged="map", shared=True, form="least_squares")
ADV_AUDIO_FD = FeatureCritic(hint=1.0, soft=1.0)
XMODAL_CGAN = FeatureCritic(feature=1.0, shared=True, conditional=True, sees="half")


class Beside(nn.Module):
    """What is trained beside the student: maps and embeddings at the teacher's width, a classifier of the latter."""

    def __init__(self, method: FeatureCritic, student: Network, teacher: Network, classes: int):
        super().__init__()
        self.adapters = Adapters(student, teacher, stage_pairs(student, teacher, method.layers))
        self.project = nn.Linear(student.embedding_width, teacher.embedding_width, bias=False)
        self.classify = nn.Linear(teacher.embedding_width, classes)


@dataclass
class Run(Resumable):
    """All that changes while training, and the teacher, which does not."""

    student: Network
    beside: Beside
    critic: nn.Module
    optimizer: torch.optim.Optimizer
    critic_optimizer: torch.optim.Optimizer
    teacher: Frozen
    step: int = 0
    parts = ("student", "beside", "critic", "optimizer", "critic_optimizer")


def begin(method: FeatureCritic, student: Network, teacher: Network, *, classes: int, settings: Optimiser) -> Run:
    """A run at step 0. Raises BadInput where maps are judged and are not what the embeddings are the mean of."""
    for net in (student, teacher) if method.judged == "map" else ():
        if list(net.widths.values())[-1] != net.embedding_width:
            raise BadInput(f"{type(net).__name__} has no map as wide as its embedding. Write judged: embedding")
    device = next(student.parameters()).device
    beside = Beside(method, student, teacher, classes).to(device)
    critic = vector_critic(teacher.embedding_width + method.conditional * 3 * _SIDE**2, (256, 256)).to(device)
    ours = sgd([*student.parameters(), *beside.parameters()], settings)
    theirs = torch.optim.Adam(critic.parameters(), lr=method.critic_lr)
    return Run(student, beside, critic, ours, theirs, Frozen(teacher))


_SIDE = 4  # pixels of what a conditional critic sees of an image


def fit(
    method: FeatureCritic, run: Run, batches: Iterable[Batch], settings: Optimiser, *, steps: int
) -> Iterator[Step]:
    """From `run.step` on, a step of the critic and one of the student a batch, of its labelled images.

    Raises Diverged where a loss is not finite.
    """
    device = next(run.student.parameters()).device
    for batch in batches:
        labeled = Labeled(*(on_device(x, device) for x in batch.labeled))
        seen = half(labeled.strong) if method.sees == "half" else labeled.strong
        set_rate(run.optimizer, settings.lr * schedule(run.step, steps, settings.warmup_steps))
        run.beside.train()
        told, said = run.teacher(labeled.strong), run.student.train()(seen)
        real, ours = _rows(method, told, seen), _rows(method, said, seen, run.beside.project)
        critic = train_critic(
            run.critic, run.critic_optimizer, real, ours, form=method.form, settings=settings, step=run.step + 1
        )
        with Still(run.critic):
            terms = descend(
                run.optimizer, losses(method, run, said, told, labeled.labels) | fooling(method, run.critic(ours)),
                settings, step=run.step + 1,
            )  # fmt: skip
        run.step += 1
        yield Step(run.step, {"critic": critic, **terms})


def losses(method: FeatureCritic, run: Run, said: Outputs, told: Outputs, labels: Tensor) -> Losses:
    """All that a student is asked for but to fool the critic; only terms whose weight is not 0."""
    embedding = run.beside.project(said.embedding)
    logits = run.beside.classify(embedding) if method.shared else said.logits
    terms = {"task": method.label * F.cross_entropy(logits, labels)}
    if method.shared:
        terms["teacher_task"] = method.label * F.cross_entropy(run.beside.classify(told.embedding), labels)
    if method.logits:
        terms["logits"] = method.logits * 0.5 * mean_or_zero(squared_rows(logits, told.logits))
    if method.soft:
        terms["distillation"] = method.soft * soft_label_kl(logits, told.logits, temperature=method.temperature)
    if method.hint:
        pairs = run.beside.adapters(said.features, told.features)
        rows = torch.stack([squared_rows(*pair, elements="mean") for pair in pairs]).sum(0)
        terms["hint"] = method.hint * mean_or_zero(rows)
    if method.feature:
        terms["feature"] = method.feature * mean_or_zero(squared_rows(embedding, told.embedding, elements="mean"))
    return terms


def fooling(method: FeatureCritic, verdict: Tensor) -> Losses:
    """What the critic's verdict on the student's features costs it."""
    if method.minimax:
        return {"fooling": -method.adversarial * verdict_loss(verdict, real=False, form="bce")}
    return {"fooling": method.adversarial * verdict_loss(verdict, real=True, form=method.form)}


def half(images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
    """The left half, the right one being grey. What learns on such images is judged fairly on such images only."""
    left = torch.arange(images.shape[-1], device=images.device) < images.shape[-1] // 2
    return torch.where(left, images, 0.5)


def _rows(method: FeatureCritic, outputs: Outputs, seen: Tensor, project: nn.Module | None = None) -> Tensor:
    """What the critic looks at, a row an image, or a row a position of its map."""
    maps = list(outputs.features.values())[-1].float() if method.judged == "map" else outputs.embedding[..., None]
    rows = maps.flatten(2).mT  # [n, positions, width]
    rows = rows if project is None else project(rows)
    if method.conditional:
        small = F.adaptive_avg_pool2d(seen, _SIDE).flatten(1)
        rows = torch.cat([rows, small[:, None].expand(-1, rows.shape[1], -1)], dim=-1)
    return rows.flatten(0, 1)


@torch.no_grad()
def deployed(method: FeatureCritic, run: Run) -> Network:
    """The student; where the classifier was shared, it and the map before it have become its head.

    Raises BadInput where the student then has no linear head.
    """
    student = run.student
    if method.shared:
        head = student.net.get_classifier() if isinstance(student, Backbone) else None
        if not isinstance(head, nn.Linear):
            raise BadInput(f"{type(student).__name__} has no linear head to put a shared classifier into")
        head.weight.copy_(run.beside.classify.weight @ run.beside.project.weight)
        head.bias.copy_(run.beside.classify.bias)
    return student
