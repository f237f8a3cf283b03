"""The training loop. It yields after every step; whoever iterates decides when to log, save, judge or stop."""

import copy
import itertools
import math
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from tutelage.data.batches import to_float
from tutelage.methods.method import Fed, Net, Together, Verbs
from tutelage.models.average import Frozen, FrozenDetector, FrozenMulti, average_into
from tutelage.multi_types import Multi, MultiBatch, MultiNets
from tutelage.train.checks import check_batch, check_network
from tutelage.train.settings import Optimiser
from tutelage.train.shares import averaged, shares
from tutelage.types import BadInput, Batch, Detector, DetectorNets, Diverged, Losses, Nets, SceneBatch, Sizes

LARGE = 1 << 20  # numbers of a buffer
MAX_SKIPPED = 5  # steps in a row that were skipped


@dataclass(frozen=True, slots=True)
class Step:
    """One step that was taken, or skipped because its loss or what it left was not finite."""

    number: int  # from 1
    terms: Losses  # detached, still on the device: reading a number waits for the GPU
    skipped: bool = False


@dataclass
class Run(Generic[Net, Together]):
    """All that changes while training, and so all that a checkpoint holds."""

    nets: Together
    average: Net  # moving average of the student: what is evaluated and kept
    optimizer: torch.optim.Optimizer
    moving_teacher: bool = False
    step: int = 0
    skipped: int = 0  # in a row


def begin(
    method: Verbs[Net, Together, Fed], student: Net, teacher: Net | None, sizes: Sizes, settings: Optimiser
) -> Run[Net, Together]:
    """A run at step 0. A method whose teacher is not "given" reads no `teacher`, which stages hand to all alike.

    Raises BadInput where one whose teacher is has none, where a network is not of the kind that the method is for, or
    where torch.compile(student) hides what the student is.
    """
    if method.teacher == "given" and teacher is None:
        name = type(method).__name__
        raise BadInput(f"{name} learns from a given teacher, and none was given. Give one, or take supervised")
    watched = {"given": teacher, "copy": student, "self": student}[method.teacher]
    assert watched is not None
    check_network(method, "student", student)
    check_network(method, "teacher", watched)
    second = student if method.teacher == "self" else _frozen(watched)
    extra = method.init(student, second, sizes)
    nets: Any = _together(student)(student, second, extra)
    average = copy.deepcopy(student).eval().requires_grad_(False)
    return Run(nets, average, sgd(_trained(nets), settings), moving_teacher=method.teacher == "copy")


def _together(student: nn.Module) -> Any:
    """What all the networks of a run with this student are."""
    if isinstance(hidden := getattr(student, "_orig_mod", None), Detector | Multi):
        raise BadInput(
            f"torch.compile(student) hides that the student is a {type(hidden).__name__}. Compile it in "
            "place: student.compile()"
        )
    for kind, together in ((Detector, DetectorNets), (Multi, MultiNets)):
        if isinstance(student, kind):
            return together
    return Nets


def _frozen(net: Any) -> Any:
    if isinstance(net, Multi):
        return FrozenMulti(net)
    return FrozenDetector(net) if isinstance(net, Detector) else Frozen(net)


def fit(
    method: Verbs[Net, Together, Fed], run: Run[Net, Together], batches: Iterable[Fed], settings: Optimiser, *,
    steps: int, accelerator: Accelerator, diary: Path | None = None, accumulate: int = 1,
) -> Iterator[Step]:  # fmt: skip
    """Train from `run.step` on, one optimizer step for each batch, under the cosine schedule of a run of `steps`.

    With `accumulate` a batch is cut into so many shares, of which one is in memory at a time; the step takes the mean
    of their gradients, and terms are means. Batch norm and memories of methods see one share after another.

    A step whose loss is not finite, or that makes a statistic of batch norm or a memory NaN, changes nothing; its
    batch goes to `diary`. Raises Diverged after MAX_SKIPPED in a row, BadInput for a batch that is not what the method
    sees, or on the CPU holds pixels, labels, targets, boxes or weights that mean nothing.
    """
    nets = _prepared(run.nets, accelerator)
    run.average.to(accelerator.device)
    optimizer = accelerator.prepare(run.optimizer)
    memory = _Memory()
    for batch in batches:
        run.nets.student.train()
        set_rate(run.optimizer, settings.lr * schedule(run.step, steps, settings.warmup_steps))
        check_batch(batch, method, run.nets.student)
        memory.keep(run.nets)
        optimizer.zero_grad(set_to_none=True)
        terms, skipped = _learned(method, nets, shares(batch, accumulate), memory, accelerator)
        run.step += 1
        if skipped:
            optimizer.zero_grad(set_to_none=True)
            memory.put_back()
            _skip(run, batch, terms, diary)
        else:
            run.skipped = 0
            accelerator.clip_grad_norm_(_trained(run.nets), settings.clip)
            optimizer.step()
            method.after_step(run.nets, run.step)
            average_into(run.average, run.nets.student, decay=settings.decay(run.step - 1))
        yield Step(run.step, terms, skipped)


def _learned(
    method: Verbs[Net, Together, Fed], nets: Together, parts: list[Fed], memory: "_Memory", accelerator: Accelerator
) -> tuple[Losses, bool]:
    """The terms of a batch, whose gradients are there, share by share; and whether it is to be skipped."""
    told: list[Losses] = []
    wrapped = [net for net in (nets.student, nets.extra) if isinstance(net, nn.Module)]
    for number, part in enumerate(parts, 1):
        with ExitStack() as waits:
            for net in wrapped if number < len(parts) else ():  # processes share their gradients once
                waits.enter_context(accelerator.no_sync(net))
            seen = to_float(part, accelerator.device)  # views are made in full precision
            with accelerator.autocast():
                terms = method.loss(nets, seen)
            total = torch.stack([term.float() for term in terms.values()]).sum() / len(parts)
            told.append({name: term.detach() for name, term in terms.items()})
            if not _all_finite(total + memory.spoilt(), accelerator):
                return told[-1], True
            accelerator.backward(total)
    return averaged(told) if len(told) > 1 else told[0], False


def schedule(step: int, steps: int, warmup: int) -> float:
    """cos(7 pi k / 16 K), Sohn et al. 2020, sec. 2.4, after a linear warm-up. From K on it stays, or it would turn.

    Raises BadInput where `steps`, K, is below 1.
    """
    if steps < 1:
        raise BadInput(f"steps is {steps}: a schedule is of 1 or more. Write how many steps the whole run takes")
    return min(1.0, (step + 1) / max(1, warmup)) * math.cos(7 * math.pi * min(step, steps) / (16 * steps))


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The learning rate of all groups."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def sgd(trained: list[nn.Parameter], settings: Optimiser) -> torch.optim.Optimizer:
    """SGD; biases and norms are not decayed."""
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum, nesterov=settings.momentum > 0)


class _Memory:
    """What a bad batch would be averaged into, statistics of batch norm and memories of methods, as it was before.

    A memory of every image is too large for that at each step: it takes in nothing that is not finite by itself.
    """

    def __init__(self) -> None:
        self.buffers: list[list[Tensor]] = []
        self.before: list[list[Tensor]] = []

    def keep(self, nets: Nets | DetectorNets | MultiNets) -> None:
        """Copy what is there now, on a GPU in a call for each kind of number, where it was kept last time."""
        small = [x for x in itertools.chain(nets.student.buffers(), nets.extra.buffers()) if x.numel() <= LARGE]
        self.buffers = [[x for x in small if x.dtype == kind] for kind in dict.fromkeys(x.dtype for x in small)]
        if _forms(self.buffers) != _forms(self.before):
            self.before = [[torch.empty_like(x) for x in kind] for kind in self.buffers]
        for before, now in zip(self.before, self.buffers, strict=True):
            torch._foreach_copy_(before, now)

    def put_back(self) -> None:
        for before, now in zip(self.before, self.buffers, strict=True):
            torch._foreach_copy_(now, before)

    def spoilt(self) -> Tensor | float:
        """NaN where some number now is NaN, else 0: a bad view of which nothing is learned leaves the loss finite.

        Infinity passes, since memories of a least and a greatest start there.
        """
        kinds = [kind for kind in self.buffers if kind[0].is_floating_point()]
        norms = [norm.float() for kind in kinds for norm in torch._foreach_norm(kind, 1)]
        return 0 * torch.stack(norms).sum().clamp(max=1) if norms else 0.0


def _forms(parts: list[list[Tensor]]) -> list[list[tuple[torch.Size, torch.dtype]]]:
    return [[(x.shape, x.dtype) for x in part] for part in parts]


def _trained(nets: Nets | DetectorNets | MultiNets) -> list[nn.Parameter]:
    return [*nets.student.parameters(), *nets.extra.parameters()]


def _prepared(nets: Together, accelerator: Accelerator) -> Together:
    """The networks as the method sees them: on the device, wrapped for several processes where there are several."""
    student = accelerator.prepare(nets.student)
    teacher = student if nets.teacher is nets.student else nets.teacher.to(accelerator.device)
    extra = nets.extra.to(accelerator.device)
    extra = accelerator.prepare(extra) if list(extra.parameters()) else extra
    return nets._replace(student=student, teacher=teacher, extra=extra)


def _all_finite(total: Tensor, accelerator: Accelerator) -> bool:
    """One process with a bad loss skips the step on all, or their weights would part."""
    finite = total.detach().isfinite().float()
    if accelerator.num_processes > 1:
        finite = accelerator.reduce(finite, reduction="sum") / accelerator.num_processes
    return bool(finite >= 1)


def _skip(run: Run[Any, Any], batch: Batch | SceneBatch | MultiBatch, terms: Losses, diary: Path | None) -> None:
    run.skipped += 1
    said = ", ".join(f"{name} {term.item():.4g}" for name, term in terms.items())
    where = "nowhere (no folder was given)"
    if diary is not None:
        diary.mkdir(parents=True, exist_ok=True)
        where = str(diary / f"batch-{run.step}.pt")
        torch.save({name: _plain(part) for name, part in batch._asdict().items()}, where)
    if run.skipped >= MAX_SKIPPED:
        raise Diverged(
            f"loss, or a statistic or memory, is not finite at step {run.step} ({said}), {run.skipped} steps in a row. "
            f"The batch is in {where}. "
            "Lower optimiser.lr or optimiser.clip, or look at the batch"
        )


def _plain(part: Any) -> Any:
    """Without the names of tuples, whose classes a file that is safe to load cannot hold."""
    return part if isinstance(part, Tensor) else tuple(_plain(inner) for inner in part)
