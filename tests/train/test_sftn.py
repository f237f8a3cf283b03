import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tutelage.methods import METHODS
from tutelage.models.backbone import NetworkSpec, create
from tutelage.models.files import count_parameters
from tutelage.models.tails import tail
from tutelage.train import checkpoint
from tutelage.train.loop import begin, fit
from tutelage.train.settings import Optimiser
from tutelage.train.sftn import SFTN, Branches
from tutelage.types import BadInput, Nets, Network, Outputs, Sizes

TEACHER, STUDENT = NetworkSpec(width=6, image_size=8), NetworkSpec(width=3, image_size=8)
SIZES = Sizes(labeled=6, unlabeled=8, classes=3, steps=8)
SETTINGS = Optimiser(warmup_steps=2)


def start(method):
    torch.manual_seed(1)
    return begin(method, create(TEACHER, 3), None, SIZES, SETTINGS)


def test_a_branch_is_an_adapter_and_the_students_tail():
    teacher, student = create(TEACHER, 3), create(STUDENT, 3)
    branches = Branches(teacher, student)
    assert len(branches.tails) == 2
    for stage, (adapter, rest) in enumerate(zip(branches.adapters, branches.tails, strict=True), start=1):
        assert count_parameters(rest) == count_parameters(tail(student, stage))
        wide, narrow = teacher.widths[f"stage{stage}"], student.widths[f"stage{stage}"]
        assert count_parameters(adapter) == wide * narrow + 2 * narrow  # 1 x 1 convolution, and batch norm
    assert count_parameters(branches.tails[0]) > count_parameters(branches.tails[1])
    said = branches(teacher(torch.rand(4, 3, 8, 8)).features)
    assert [logits.shape for logits in said] == [(4, 3)] * 2


class Says(Network):
    """A teacher and its branches that say what a test wrote down."""

    def __init__(self, logits):
        super().__init__()
        self.widths, self.embedding_width = {}, 3
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, images):
        return Outputs(self.logits, self.logits, {})


class Said(nn.Module):
    def __init__(self, nets):
        super().__init__()
        self.nets = nets

    def forward(self, features):
        return [net(None).logits for net in self.nets]


def said(method, batch, *logits):
    """Terms, and the gradients of their sum, where a teacher and its branches say `logits`."""
    teacher, *branches = nets = nn.ModuleList(Says([x]) for x in logits)
    terms = method.loss(Nets(teacher, teacher, Said(branches)), batch)
    sum(terms.values()).backward()
    return {name: term.detach() for name, term in terms.items()}, [net.logits.grad for net in nets]


TOLD, SAID = [3.0, 2.0, 1.0], [1.0, 2.0, 3.0]  # their divergence: 1.150421 at T = 1, 1.319630 at T = 4


@pytest.mark.parametrize(("temperature", "apart"), [(1.0, 1.150421), (4.0, 1.319630)])
def test_values(saying, temperature, apart):
    method = SFTN(student=STUDENT, label=2.0, branch_label=0.5, branch=3.0, temperature=temperature)
    terms, _ = said(method, saying(strong=[SAID], labels=[2]), TOLD, SAID, TOLD)
    hard = torch.tensor([2.407606, (0.407606 + 2.407606) / 2])  # ln(1 + e + e^2); ln(1 + 1/e + 1/e^2)
    expected = {"task": 2 * hard[0], "branch_task": 0.5 * hard[1], "branches": torch.tensor(3 * apart / 2)}
    torch.testing.assert_close(terms, expected, atol=1e-5, rtol=0)


def test_the_teacher_moves_to_its_branches_unless_told_not_to(saying):
    for both_move in (True, False):
        method = SFTN(student=STUDENT, label=0.0, branch_label=0.0, both_move=both_move)
        _, (teacher, branch) = said(method, saying(strong=[SAID], labels=[2]), TOLD, SAID)
        assert teacher.any() == both_move
        assert branch.any()


def test_without_branches_it_is_ordinary_training(batch):
    plain = METHODS["supervised"]()
    method, run = SFTN(student=STUDENT, branch=0.0, branch_label=0.0), start(plain)
    other = start(SFTN(student=STUDENT))
    other.nets.student.load_state_dict(run.nets.student.state_dict())
    batch = batch._replace(labeled=batch.labeled._replace(weak=batch.labeled.strong))
    terms = method.loss(other.nets, batch)
    torch.testing.assert_close(
        sum(terms.values()), F.cross_entropy(run.nets.student(batch.labeled.strong).logits, batch.labeled.labels)
    )
    sum(terms.values()).backward()
    assert all(p.grad.any() for p in other.nets.student.parameters())
    assert not any(p.grad.any() for p in other.nets.extra.parameters())


def test_gradient_reaches_teacher_and_branches(batch):
    method = SFTN(student=STUDENT)
    run = start(method)
    sum(method.loss(run.nets, batch).values()).backward()
    assert all(p.grad is not None and p.grad.any() for p in run.nets.student.parameters())
    assert all(p.grad is not None and p.grad.any() for p in run.nets.extra.parameters())


def test_branches_come_to_agree_with_the_teacher(engine, batch):
    method = SFTN(student=STUDENT)
    run = start(method)
    settings = Optimiser(lr=0.1, warmup_steps=1)
    terms = [step.terms for step in fit(method, run, [batch] * 40, settings, steps=40, accelerator=engine)]
    assert terms[-1]["task"] < 0.5 * terms[0]["task"]
    assert terms[-1]["branches"] < 0.5 * max(t["branches"] for t in terms)


def test_cut_and_continued_is_bit_equal_to_never_cut(engine, batch, tmp_path):
    method = SFTN(student=STUDENT)
    whole, first, second = start(method), start(method), start(method)
    list(fit(method, whole, [batch] * 8, SETTINGS, steps=8, accelerator=engine))
    list(fit(method, first, [batch] * 3, SETTINGS, steps=8, accelerator=engine))
    checkpoint.save(first, tmp_path / "run.pt")
    torch.manual_seed(99)
    assert checkpoint.restore(second, tmp_path / "run.pt")
    list(fit(method, second, [batch] * 5, SETTINGS, steps=8, accelerator=engine))
    states = [copy.deepcopy([run.nets.student.state_dict(), run.nets.extra.state_dict()]) for run in (second, whole)]
    torch.testing.assert_close(*states, rtol=0, atol=0)


def test_networks_that_do_not_fit_are_refused():
    small = create(STUDENT, 3)
    with pytest.raises(BadInput, match=r"teacher measure .* and of the student .*Use small_resnet for both"):
        Branches(create(NetworkSpec(name="test_resnet", image_size=64), 3), small)
    with pytest.raises(BadInput, match="the teacher is a Says"):
        Branches(Says([TOLD]), small)
    vit = NetworkSpec(name="test_vit", image_size=160)
    with pytest.raises(BadInput, match="test_vit cannot be cut"):
        Branches(create(vit, 3), create(vit, 3))


@pytest.mark.parametrize("field", ["label", "branch_label", "branch", "temperature"])
def test_numbers_out_of_range_are_refused(field):
    with pytest.raises(BadInput, match=rf"{field} of SFTN is -0.1: it must be"):
        SFTN(student=STUDENT, **{field: -0.1})
