import math

import torch
import torch.nn.functional as F

from tutelage.methods.mean_teacher import MeanTeacher

MIRROR = [2.0, 0.0, -50.0], [0.0, 2.0, -50.0]  # two classes in effect: 0.580026 with a division by two, not three


def test_consistency_by_hand_over_all_images(echoing, saying):
    method = MeanTeacher(weight=6.0, ramp=0.0)
    batch = saying(strong=[MIRROR[0]], weak=[MIRROR[1]], labels=[0], pool_strong=[MIRROR[0]], pool_weak=[MIRROR[0]])
    loss = method.loss(echoing(method), batch)["consistency"]
    torch.testing.assert_close(loss, torch.tensor(6.0 * 0.580026 * 2 / 3 / 2), atol=1e-5, rtol=0)  # the pool's is 0


def test_unlabelled_images_have_no_cross_entropy(echoing, saying):
    method = MeanTeacher()
    known = torch.tensor([[1.0, 2.0, 3.0]])
    task = [
        method.loss(echoing(method), saying(strong=known, labels=[1], pool_strong=pool))["task"]
        for pool in ([], [[9.0, 0.0, 0.0]])
    ]
    torch.testing.assert_close(task, [F.cross_entropy(known, torch.tensor([1]))] * 2)


def test_the_weight_grows_over_the_ramp(echoing, saying):
    method = MeanTeacher(ramp=0.5)
    nets = echoing(method, steps=40)
    batch = saying(strong=[MIRROR[0]], weak=[MIRROR[1]], labels=[0])

    def at(step):
        method.after_step(nets, step)
        return method.loss(nets, batch)["consistency"].item()

    full = at(20)
    assert math.isclose(at(40), full, rel_tol=1e-6)
    assert math.isclose(at(0) / full, math.exp(-5), rel_tol=1e-4)
    assert math.isclose(at(10) / full, 0.2865, rel_tol=1e-3)


def test_after_one_step_the_teacher_is_half_way(make_nets):
    method = MeanTeacher()
    nets = make_nets(method)
    old = {name: value.clone() for name, value in nets.teacher.net.state_dict().items()}
    with torch.no_grad():
        for parameter in nets.student.parameters():
            parameter.add_(1.0)
    method.after_step(nets, 1)  # alpha = 1 - 1 / 2
    for name, parameter in nets.student.named_parameters():
        torch.testing.assert_close(nets.teacher.net.state_dict()[name], (old[name] + parameter) / 2)


def test_alpha_is_capped_late_in_a_run(make_nets):
    method = MeanTeacher(decay=0.99)
    nets = make_nets(method)
    with torch.no_grad():
        nets.student.head.bias.add_(1.0)
    before = nets.teacher.net.head.bias.clone()
    method.after_step(nets, 100_000)
    torch.testing.assert_close(nets.teacher.net.head.bias - before, torch.full((3,), 0.01), atol=1e-6, rtol=0)


def test_without_memory_the_teacher_is_the_student(make_nets, batch):
    method = MeanTeacher(decay=0.0)
    nets = make_nets(method)
    optimizer = torch.optim.SGD(nets.student.parameters(), lr=0.1)
    sum(method.loss(nets, batch).values()).backward()
    optimizer.step()
    method.after_step(nets, 5)
    torch.testing.assert_close(nets.teacher.net.state_dict(), nets.student.state_dict(), rtol=0, atol=0)


def test_offline_labels_are_one_more_term(echoing, saying):
    method = MeanTeacher(pseudo=0.5, unsupervised=0.5)
    batch = saying(strong=[[0.0] * 3], labels=[0], pool_strong=[[0.0] * 3] * 2, target=[[0.0, 1.0, 0.0]] * 2,
                   weight=[0.8, 0.0])  # fmt: skip
    expected = torch.tensor(0.5 * 0.5 * 0.8 * math.log(3) / 2)
    torch.testing.assert_close(method.loss(echoing(method), batch)["pseudo"], expected)
