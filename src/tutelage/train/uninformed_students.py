"""Uninformed Students: Student-Teacher Anomaly Detection with Discriminative Latent Embeddings. Bergmann, Fauser,
Sattlegger, Steger. CVPR 2020. https://arxiv.org/abs/1911.02357

Students that imitate a teacher on normal images alone fail to, each in its own way, where something is not normal.
Here the teacher is any network and its descriptors are a stage of it; the paper trains one on patches, at three scales.

    detector = Detector(teacher, students, "stage2:stage2")
    measure(detector, normal)
    run = begin(detector)
    for step in fit(run, shuffled): ...
    calibrate(detector, held_out)
    scores = detector(images)
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from tutelage.losses.anomaly import disagreement, regression, regression_error
from tutelage.models.average import Frozen
from tutelage.models.backbone import Backbone, create
from tutelage.models.files import load_net, read_spec, write_weights
from tutelage.models.pairs import same_size, stage_pairs
from tutelage.train.lessons import Resumable, check_finite
from tutelage.train.loop import Step
from tutelage.types import BadInput, Network

Images = Iterable[Float[Tensor, "n 3 h w"]]  # batches


class Detector(nn.Module):
    """A teacher, students of it, and what both are like where all is normal."""

    mean: Tensor
    spread: Tensor
    usual: Tensor
    usual_spread: Tensor

    def __init__(self, teacher: Network, students: Sequence[Network], layer: str):
        """`layer` is a pair such as "stage2:stage2", the students' stage first. Students differ by their weights."""
        super().__init__()
        if not students:
            raise BadInput("students is empty: hand in one or more networks, 3 in the paper")
        self.layer = layer
        ((self.ours, self.theirs),) = stage_pairs(students[0], teacher, (layer,))
        wanted = teacher.widths[self.theirs]
        self.teacher, self.students = Frozen(teacher), nn.ModuleList(students)
        # Stages end in a ReLU and normalised descriptors are negative as often as not.
        self.heads = nn.ModuleList(nn.Conv2d(student.widths[self.ours], wanted, 1) for student in students)
        self.register_buffer("mean", torch.zeros(wanted, 1, 1))
        self.register_buffer("spread", torch.ones(wanted, 1, 1))
        self.register_buffer("usual", torch.zeros(2))  # mean of e and of v
        self.register_buffer("usual_spread", torch.ones(2))

    def descriptors(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c _ _"]:
        """The teacher's, as it says them."""
        return self.teacher(images).features[self.theirs].float()

    def maps(self, images: Float[Tensor, "n 3 h w"]) -> tuple[Float[Tensor, "m n c _ _"], Float[Tensor, "n c _ _"]]:
        """What the students say, and what the teacher says, normalised, at the smaller size of the two."""
        told = (self.descriptors(images) - self.mean) / self.spread
        said = [head(net(images).features[self.ours]) for net, head in zip(self.students, self.heads, strict=True)]
        met = [same_size(one, told) for one in said]
        return torch.stack([one for one, _ in met]), met[0][1]

    def signals(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "2 n _ _"]:
        """e and v of each position, before calibration."""
        students, teacher = self.maps(images)
        return torch.stack([regression_error(students, teacher), disagreement(students)])

    @torch.no_grad()
    def forward(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n h w"]:
        """How far each pixel is from normal: the sum of e and v in standard deviations, about 0 where all is normal."""
        self.eval()
        signals = (self.signals(images) - self.usual.view(2, 1, 1, 1)) / self.usual_spread.view(2, 1, 1, 1)
        return F.interpolate(signals.sum(0)[:, None], size=images.shape[-2:], mode="bilinear")[:, 0]


@torch.no_grad()
def measure(detector: Detector, normal: Images) -> None:
    """Mean and standard deviation of each of the teacher's channels over `normal` images: before training."""
    mean, spread = _moments(normal, lambda images: detector.descriptors(images).transpose(0, 1))
    detector.mean.copy_(mean.view(-1, 1, 1))
    detector.spread.copy_(spread.view(-1, 1, 1))


@dataclass
class Run(Resumable):
    """All that changes while training. What `measure` found is not among it: it can be found again."""

    detector: Detector
    students: nn.ModuleList
    heads: nn.ModuleList
    optimizer: torch.optim.Optimizer
    step: int = 0
    parts = ("students", "heads", "optimizer")


def begin(detector: Detector, *, lr: float = 1e-4, weight_decay: float = 1e-5) -> Run:
    """A run at step 0, of Adam. lr and decay are the paper's."""
    trained = [*detector.students.parameters(), *detector.heads.parameters()]
    optimizer = torch.optim.Adam(trained, lr=lr, weight_decay=weight_decay)
    return Run(detector, detector.students, detector.heads, optimizer)


def fit(run: Run, normal: Images) -> Iterator[Step]:
    """From `run.step` on, one step a batch of `normal` images; the terms are the loss of each student.

    Students share no weight, so the sum of their losses trains each as if it were alone. Raises Diverged where a loss
    is not finite.
    """
    for images in normal:
        run.detector.train()
        losses = regression(*run.detector.maps(images))
        terms = {f"student{number}": loss.detach() for number, loss in enumerate(losses, start=1)}
        check_finite(terms, step=run.step + 1)
        run.optimizer.zero_grad(set_to_none=True)
        losses.sum().backward()
        run.optimizer.step()
        run.step += 1
        yield Step(run.step, terms)


@torch.no_grad()
def calibrate(detector: Detector, normal: Images) -> None:
    """Mean and standard deviation of e and v over `normal` images, best ones that no student was trained on."""
    detector.eval()
    mean, spread = _moments(normal, detector.signals)
    detector.usual.copy_(mean)
    detector.usual_spread.copy_(spread)


def _moments(batches: Images, read: Callable[[Tensor], Tensor]) -> tuple[Float[Tensor, " k"], Float[Tensor, " k"]]:
    """Mean and standard deviation of each row of what is read of the batches; 1 where it never changes.

    Sums are in double: a variance is a small difference of large sums.
    """
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for images in batches:
        rows = read(images).flatten(1).double()
        count, total, squares = count + rows.shape[1], total + rows.sum(1).cpu(), squares + rows.square().sum(1).cpu()
    if count < 2:
        raise BadInput(f"normal has {count} positions: moments need two. Hand in a batch of images or more")
    mean = total / count
    variance = (squares / count - mean.square()).clamp_min(0)
    changes = variance > 1e-12 * squares / count
    return mean.float(), torch.where(changes, variance, 1.0).sqrt().float()


_TASK = "maps of anomalies"


def save_anomalies(path: Path, detector: Detector, *, classes: list[str], method: str) -> None:
    """As files.save_model, for a detector of networks that `create` made. `classes` are those of its teacher."""
    teacher, student = detector.teacher.net, detector.students[0]
    assert isinstance(teacher, Backbone)
    assert isinstance(student, Backbone)
    about = {"classes": classes, "method": method, "task": _TASK, "layer": detector.layer}
    specs = {"teacher": asdict(teacher.spec), "spec": asdict(student.spec), "students": len(detector.students)}
    write_weights(path, detector, about | specs)


def load_anomalies(path: Path) -> Detector:
    """The detector in eval mode. Raises BadInput for anything but a file that save_anomalies wrote."""
    return load_net(path, _TASK, _make)[0]


def _make(about: dict[str, Any], classes: int) -> Detector:
    teacher, student = (read_spec(about[name]) for name in ("teacher", "spec"))
    students = [create(student, classes, download=False) for _ in range(about["students"])]
    return Detector(create(teacher, classes, download=False), students, about["layer"])
