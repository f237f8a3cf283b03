import copy
import itertools

import pytest
import torch

from tutelage.methods.kd import KD
from tutelage.methods.quantized_distillation import QuantizedDistillation
from tutelage.models.quantised import quantised
from tutelage.types import BadInput


def steps(method, nets, batch):
    """Terms and gradients of a step, and the student's state after it."""
    terms = method.loss(nets, batch)
    sum(terms.values()).backward()
    method.after_step(nets, 1)
    return terms, [p.grad for p in nets.student.parameters()], dict(nets.student.state_dict())


def test_with_32_bits_it_is_kd(make_nets, batch):
    fields = {"alpha": 0.7, "temperature": 3.0, "unsupervised": 0.5}
    mine, theirs = QuantizedDistillation(bits=32, **fields), KD(**fields)
    nets = make_nets(theirs)
    torch.testing.assert_close(
        steps(mine, copy.deepcopy(nets), batch), steps(theirs, nets, batch), rtol=1e-6, atol=1e-7
    )


def test_the_student_answers_as_the_network_that_will_be_exported(make_nets, batch):
    mine, theirs = QuantizedDistillation(bits=3), KD()
    nets = make_nets(theirs)
    exported = nets._replace(student=quantised(nets.student, 3))
    by_rounded = theirs.loss(copy.deepcopy(exported), batch)
    torch.testing.assert_close(mine.loss(copy.deepcopy(nets), batch), by_rounded)
    assert not torch.isclose(sum(by_rounded.values()), sum(theirs.loss(nets, batch).values()))


def test_what_is_stored_stays_float_and_learns_what_the_rounded_network_would(make_nets, batch):
    mine = QuantizedDistillation(bits=3)
    nets = make_nets(mine)
    before = [p.detach().clone() for p in nets.student.parameters()]
    rounded = nets._replace(student=quantised(nets.student, 3))
    _, gradients, _ = steps(mine, nets, batch)
    _, straight, _ = steps(KD(), rounded, batch)
    torch.testing.assert_close(gradients, straight)
    for now, then in zip(nets.student.parameters(), before, strict=True):
        torch.testing.assert_close(now.detach(), then, rtol=0, atol=0)


def test_what_is_kept_is_rounded_where_all_others_keep_what_they_trained(make_nets):
    student = make_nets(KD()).student
    assert KD().kept(student) is student
    kept = QuantizedDistillation(bits=3).kept(student)
    matrices = [p for p in kept.parameters() if p.ndim > 1]
    assert matrices
    assert max(len(p.unique()) for p in matrices) <= 7  # levels of 3 bits
    assert len(next(p for p in student.parameters() if p.ndim > 1).unique()) > 7


def test_batch_norm_sees_what_the_rounded_student_sees(make_nets, batch):
    mine = QuantizedDistillation(bits=4)
    nets = make_nets(mine)
    seen = {name: value.clone() for name, value in nets.student.named_buffers()}
    mine.loss(nets, batch)
    assert all(not torch.equal(value, seen[name]) for name, value in nets.student.named_buffers())


def test_few_bits_can_learn(make_nets, batch):
    mine = QuantizedDistillation(bits=4, alpha=0.5)
    nets = make_nets(mine)
    optimizer = torch.optim.Adam(nets.student.parameters(), lr=1e-2)
    for _ in itertools.repeat(None, 60):
        optimizer.zero_grad()
        sum(mine.loss(nets, batch).values()).backward()
        optimizer.step()
    tuned = nets.student.eval()
    loss = sum(KD(alpha=0.5).loss(nets._replace(student=quantised(tuned, 4)), batch).values())
    fresh = make_nets(mine)
    assert loss < 0.8 * sum(KD(alpha=0.5).loss(fresh._replace(student=quantised(fresh.student, 4)), batch).values())


@pytest.mark.parametrize("bits", [1, 0, -8, 33])
def test_bits_out_of_range_are_refused(bits):
    with pytest.raises(BadInput, match=rf"bits of QuantizedDistillation is {bits}: it must be from 2 to 32"):
        QuantizedDistillation(bits=bits)
