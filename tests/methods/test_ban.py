import torch
import torch.nn.functional as F

from tutelage.methods.ban import BAN

LOGITS = torch.tensor([[1.0, 2.0, 3.0], [0.5, 0.0, -1.0]])
LABELS = torch.tensor([2, 1])


def images(say, told):
    return say(LOGITS, torch.tensor(told).log())


def test_a_certain_teacher_counts_the_label_twice(echoing, say, saying):
    method = BAN()
    batch = saying(strong=images(say, [[1e-30, 1e-30, 1.0], [1e-30, 1.0, 1e-30]]), labels=[2, 1])
    total = sum(method.loss(echoing(method), batch).values())
    torch.testing.assert_close(total, 2 * F.cross_entropy(LOGITS, LABELS))


def test_soft_labels_are_not_tempered(echoing, say, saying):
    method = BAN(label=0.0)
    told = [[0.2, 0.3, 0.5], [0.1, 0.8, 0.1]]
    terms = method.loss(echoing(method), saying(strong=images(say, told), labels=[2, 1]))
    by_hand = -(torch.tensor(told) * LOGITS.log_softmax(-1)).sum() / 2
    torch.testing.assert_close(terms, {"task": torch.tensor(0.0), "distillation": by_hand})


def test_cwtm_weighs_labels_by_the_teachers_top(echoing, say, saying):
    method = BAN(variant="cwtm")
    batch = saying(strong=images(say, [[0.1, 0.2, 0.7], [0.35, 0.35, 0.3]]), labels=[2, 1])
    each = F.cross_entropy(LOGITS, LABELS, reduction="none")
    by_hand = (0.70 * each[0] + 0.35 * each[1]) / 1.05  # weights sum to one over the batch
    torch.testing.assert_close(method.loss(echoing(method), batch)["distillation"], by_hand)


def test_dkpp_swaps_what_is_not_the_top(echoing, say, saying):
    method = BAN(variant="dkpp")
    batch = saying(strong=images(say, [[0.2, 0.3, 0.5]] * 2)[:1], labels=[2])
    log_p = LOGITS[0].log_softmax(-1)
    possible = {round(-(torch.tensor(t) * log_p).sum().item(), 4) for t in ([0.2, 0.3, 0.5], [0.3, 0.2, 0.5])}
    seen = {round(method.loss(echoing(method), batch)["distillation"].item(), 4) for _ in range(20)}
    assert seen == possible
    assert len(possible) == 2


def test_weights_scale_their_terms(echoing, say, saying):
    batch = saying(strong=images(say, [[0.2, 0.3, 0.5], [0.1, 0.8, 0.1]]), labels=[2, 1])
    one, other = BAN(), BAN(label=2.0, weight=3.0)
    one, other = one.loss(echoing(one), batch), other.loss(echoing(other), batch)
    torch.testing.assert_close(other, {"task": 2 * one["task"], "distillation": 3 * one["distillation"]})
