import pytest
import torch
import torch.nn.functional as F

from tutelage.losses.ranking import pair_log_loss
from tutelage.methods.ranking_distillation import RankingDistillation

# The teacher's order by cosine: of 0: 1, 2, 3; of 1: 0, 2, 3; of 2: 3, 1, 0; of 3: 2, 1, 0
TEACHER = torch.tensor([[1.0, 0.0, 0.0], [0.9, 0.2, 0.0], [0.4, 0.9, 0.0], [0.0, 1.0, 0.0]])
LISTS = [[1, 2, 3], [0, 2, 3], [3, 1, 0], [2, 1, 0]]


def scores(student):
    unit = F.normalize(student)
    return 10 * unit @ unit.T - 5


def strangers(say, saying, student):
    pool = say(student[3:], TEACHER[3:])
    return saying(strong=say(student[:3], TEACHER[:3]), labels=[0, 1, 2], pool_strong=pool)


def test_lists_of_strangers(echoing, say, saying):
    """Three classes and the pool: nothing is judged, so all others are in the lists, in the teacher's order."""
    student = torch.randn(4, 3)
    method = RankingDistillation(weight=2.0, ranking=3.0)
    nets = echoing(method, steps=10)
    terms = method.loss(nets, strangers(say, saying, student))
    said, weights = scores(student), [0.665241, 0.244728, 0.090031]
    lost = [sum(w * F.softplus(-said[q, i]) for w, i in zip(weights, row, strict=True)) for q, row in enumerate(LISTS)]
    torch.testing.assert_close(terms["distillation"], 2 * torch.stack(lost).mean(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        terms["ranking"], 3 * pair_log_loss(said[:3, :3], torch.arange(3), negatives=3.0), atol=1e-5, rtol=1e-5
    )


def test_judged_pairs_are_not_in_the_lists(echoing, say, saying):
    student = torch.randn(4, 3)
    method = RankingDistillation(length=1)
    nets = echoing(method, steps=10)
    terms = method.loss(nets, saying(strong=say(student, TEACHER), labels=[0, 0, 1, 1]))
    said = scores(student)
    wanted = torch.stack([F.softplus(-said[q, i]) for q, i in enumerate([2, 2, 1, 1])]).mean()
    torch.testing.assert_close(terms["distillation"], wanted, atol=1e-5, rtol=1e-5)


def test_a_query_whose_images_are_all_judged_learns_nothing_from_the_teacher(echoing, say, saying):
    method = RankingDistillation()
    batch = saying(strong=say(torch.randn(4, 3), TEACHER), labels=[0, 0, 0, 0])
    terms = method.loss(echoing(method, steps=10), batch)
    assert terms["distillation"] == 0


def test_ranks_count_after_the_warm_up(echoing, say, saying):
    """A student who ranks as the teacher does has nothing to learn from it then."""
    method = RankingDistillation(warmup=0.5)
    nets = echoing(method, steps=10)
    batch = strangers(say, saying, TEACHER)
    assert method.loss(nets, batch)["distillation"] > 0
    method.after_step(nets, 4)
    assert method.loss(nets, batch)["distillation"] > 0
    method.after_step(nets, 5)
    assert method.loss(nets, batch)["distillation"] == 0


@pytest.mark.parametrize("unsupervised", [0.0, 0.5, 1.0])
def test_a_pair_counts_the_product_of_its_trusts(echoing, say, saying, unsupervised):
    student = torch.randn(4, 3)
    method = RankingDistillation(unsupervised=unsupervised)
    loss = method.loss(echoing(method, steps=10), strangers(say, saying, student))["distillation"]
    said, trust = scores(student), [1, 1, 1, unsupervised]
    weights = [0.731059, 0.268941] if unsupervised == 0 else [0.665241, 0.244728, 0.090031]
    lists = [[i for i in row if trust[i]] for row in LISTS]
    lost = [
        trust[q] * sum(w * trust[i] * F.softplus(-said[q, i]) for w, i in zip(weights, row, strict=False))
        for q, row in enumerate(lists)
    ]
    torch.testing.assert_close(loss, sum(lost) / (3 + unsupervised), atol=1e-5, rtol=1e-5)
