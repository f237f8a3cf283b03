import math

import torch
import torch.nn.functional as F

from tutelage.methods.noisy_student import NoisyStudent

KNOWN = torch.tensor([[1.0, 2.0, 3.0]])
NOISY = torch.tensor([[0.5, 0.0, -1.0], [2.0, 0.0, 0.0]])


def test_offline_labels_are_the_target_and_the_teacher_stays_out(echoing, saying):
    method = NoisyStudent(weight=3.0, unsupervised=0.5)
    target = [[0.6, 0.3, 0.1], [0.1, 0.1, 0.8]]
    nets = echoing(method)
    batch = saying(strong=KNOWN, labels=[2], pool_strong=NOISY, target=target, weight=[0.5, 0.0])
    terms = method.loss(nets, batch)
    cost = -(torch.tensor(target[0]) * NOISY[0].log_softmax(-1)).sum()
    torch.testing.assert_close(terms["pseudo"], 0.5 * 3.0 * 0.5 * cost / 2)  # the rejected image counts in the mean
    torch.testing.assert_close(terms["task"], F.cross_entropy(KNOWN, torch.tensor([2]), label_smoothing=0.1))
    assert nets.teacher.net.calls == []


def test_hard_labels_are_smoothed_first_choices(echoing, saying):
    method = NoisyStudent(hard=True, label_smoothing=0.3)
    batch = saying(strong=KNOWN, labels=[2], pool_strong=NOISY[:1], target=[[0.5, 0.4, 0.1]], weight=[1.0])
    expected = F.cross_entropy(NOISY[:1], torch.tensor([0]), label_smoothing=0.3)
    torch.testing.assert_close(method.loss(echoing(method), batch)["pseudo"], expected)


def test_online_filter_keeps_what_reaches_the_threshold_and_ignores_offline_labels(echoing, say, saying):
    method = NoisyStudent(online=True, confidence=0.75)
    told = torch.tensor([[0.75, 0.15, 0.10], [0.74, 0.16, 0.10]]).log()
    batch = saying(strong=KNOWN, labels=[2], pool_strong=NOISY, target=[[0.0, 0.0, 1.0]] * 2, weight=[1.0, 1.0])
    batch = batch._replace(unlabeled=batch.unlabeled._replace(weak=say(torch.zeros(2, 3), told + 1e-6)))
    kept = -(told[0].softmax(-1) * NOISY[0].log_softmax(-1)).sum()
    torch.testing.assert_close(method.loss(echoing(method), batch)["pseudo"], kept / 2, atol=1e-5, rtol=0)


def test_temperature_softens_the_online_target_but_not_the_filter(echoing, say, saying):
    method = NoisyStudent(online=True, confidence=0.9, temperature=1000.0)
    batch = saying(strong=KNOWN, labels=[2], pool_strong=NOISY[:1])
    batch = batch._replace(unlabeled=batch.unlabeled._replace(weak=say([[0.0] * 3], [[5.0, 0.0, 0.0]])))
    uniform = -NOISY[0].log_softmax(-1).mean()
    torch.testing.assert_close(method.loss(echoing(method), batch)["pseudo"], uniform, atol=2e-3, rtol=0)


def test_without_weight_it_is_supervised(echoing, saying):
    method = NoisyStudent(weight=0.0, label_smoothing=0.0)
    batch = saying(strong=KNOWN, labels=[2], pool_strong=NOISY, target=[[1.0, 0.0, 0.0]] * 2, weight=[1.0, 1.0])
    total = sum(method.loss(echoing(method), batch).values())
    torch.testing.assert_close(total, torch.tensor(math.log(1 + math.exp(-1) + math.exp(-2))))


def test_the_teacher_sees_the_clean_view_once(echoing, saying):
    method = NoisyStudent(online=True)
    nets = echoing(method)
    method.loss(nets, saying(strong=KNOWN, labels=[2], pool_strong=NOISY))
    assert nets.teacher.net.calls == [2]
    assert nets.student.calls == [3]
