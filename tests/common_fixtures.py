"""Fixtures of all tests, and what a process does before it runs any. It loads torch."""

import gc

import fresh
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from tiny import Tiny, cuttable, make_batch, tiny_vit, watched
from torch import nn

from tutelage.models.average import Frozen
from tutelage.train.device import accelerator
from tutelage.train.settings import Compute
from tutelage.types import Batch, Labeled, Nets, Network, Outputs, Sizes, Unlabeled

torch.set_num_threads(1)  # tiny tensors: threads cost more than they give


class Echo(Network):
    """Answers with the pixels of one column of the image, so a test can write down what each network says."""

    def __init__(self, column: int):
        super().__init__()
        self.widths, self.embedding_width, self.column = {}, 3, column
        self.calls = []  # images seen by each forward
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, images):
        self.calls.append(len(images))
        logits = images[:, :, 0, self.column] + self.bias
        return Outputs(logits, logits, {})


def pytest_collection_finish():
    """What was imported stays to the end: looking through it for garbage took a tenth of the time of the tests."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


@pytest.fixture(scope="session", autouse=True)
def forks_for_fresh():
    """Before other fixtures, and where pytest keeps what is printed."""
    fresh.begin()


@pytest.fixture(autouse=True)
def seeded():
    torch.default_generator.manual_seed(0)  # torch.manual_seed also writes down, for GPUs to come, where it was called


@pytest.fixture(autouse=True)
def one_precision_a_test():
    """Accelerate keeps one precision a process, which is all that a stage needs; tests need several."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def engine() -> Accelerator:
    """On the CPU, in full precision."""
    return accelerator(Compute(threads=1, device="cpu", precision="fp32"))


@pytest.fixture
def batch() -> Batch:
    """Six labelled and eight pool images; half of the pool's pseudo-labels were rejected."""
    return make_batch(labeled=6, unlabeled=8)


@pytest.fixture
def without_pool(batch) -> Batch:
    return batch._replace(unlabeled=Unlabeled(*(x[:0] for x in batch.unlabeled)))


@pytest.fixture
def make_nets():
    """Networks for a method, as the engine would hand them over, in train mode."""

    def make(method, *, steps=60) -> Nets:
        student, given = (tiny_vit(2), tiny_vit(3)) if method.tokens else (Tiny(4), Tiny(6))
        student = cuttable(4) if hasattr(method, "trunk") else student
        student = cuttable(4, name=method.only) if method.only else student
        nn.init.normal_((given.net if method.tokens else given).head.weight, std=3.0)  # a teacher with opinions
        teacher = watched(method.teacher, student, given, Frozen)
        return Nets(student, teacher, method.init(student, teacher, Sizes(6, 8, 3, steps)))

    return make


@pytest.fixture
def at_rest(make_nets):
    """The same networks in eval mode: what they answer does not depend on what else is in the batch."""

    def make(method) -> Nets:
        nets = make_nets(method)
        nets.student.eval()
        nets.extra.eval()
        return nets

    return make


@pytest.fixture
def say():
    """Images on which an echoing student says `student` [n, 3], and an echoing teacher says `teacher`."""

    def images(student, teacher=None):
        student = torch.as_tensor(student, dtype=torch.float32).reshape(-1, 3)
        teacher = torch.zeros_like(student) if teacher is None else torch.as_tensor(teacher, dtype=torch.float32)
        return torch.stack([student, teacher.reshape(-1, 3)], dim=-1)[:, :, None]

    return images


@pytest.fixture
def saying(say):
    """A batch of such images. Views that a test does not name say nothing ([0, 0, 0]); the pool is empty by default."""

    def make(*, strong, labels, weak=None, pool_strong=(), pool_weak=None, target=None, weight=None) -> Batch:
        strong, pool_strong = (x if torch.is_tensor(x) and x.ndim == 4 else say(x) for x in (strong, pool_strong))
        weak = torch.zeros_like(strong) if weak is None else say(weak)
        pool_weak = torch.zeros_like(pool_strong) if pool_weak is None else say(pool_weak)
        n = len(pool_strong)
        target = torch.zeros(n, 3) if target is None else torch.tensor(target)
        weight = torch.zeros(n) if weight is None else torch.tensor(weight)
        return Batch(
            Labeled(weak, strong, torch.tensor(labels)),
            Unlabeled(pool_weak, pool_strong, torch.arange(n), target, weight),
        )

    return make


@pytest.fixture
def echoing():
    """Networks that echo: the student the first column of an image, a given teacher the second."""

    def make(method, *, steps=0) -> Nets:
        student = Echo(0)
        teacher = watched(method.teacher, student, Echo(1), Frozen)
        return Nets(student, teacher, method.init(student, teacher, Sizes(2, 2, 3, steps)))

    return make
