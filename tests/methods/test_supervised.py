import torch
import torch.nn.functional as F

from tutelage.methods.supervised import Supervised

LOGITS = torch.tensor([[1.0, 2.0, 3.0], [0.5, 0.0, -1.0]])


def test_both_views_count_by_their_share(echoing, saying):
    method, labels = Supervised(strong=0.25), torch.tensor([2, 0])
    terms = method.loss(echoing(method), saying(strong=LOGITS, weak=-LOGITS, labels=[2, 0]))
    by_hand = 0.25 * F.cross_entropy(LOGITS, labels) + 0.75 * F.cross_entropy(-LOGITS, labels)
    torch.testing.assert_close(terms["task"], by_hand)


def test_smoothing_is_a_share_of_the_uniform_target(echoing, saying):
    method = Supervised(label_smoothing=0.3, strong=0.25)
    logs = (view.log_softmax(-1) for view in (LOGITS, -LOGITS))
    strong, weak = ((-0.7 * (log_p[0, 2] + log_p[1, 0]) - 0.3 * log_p.sum() / 3) / 2 for log_p in logs)
    terms = method.loss(echoing(method), saying(strong=LOGITS, weak=-LOGITS, labels=[2, 0]))
    torch.testing.assert_close(terms["task"], 0.25 * strong + 0.75 * weak)


def test_needs_neither_teacher_nor_pool():
    assert Supervised.teacher == "self"
    assert not Supervised.pool
