import pytest
import torch
import torch.nn.functional as F

from tutelage.losses.ranking import distance_scores, first_others, list_mle, list_net
from tutelage.methods.darkrank import DarkRank
from tutelage.types import BadInput


@pytest.mark.parametrize("form", ["hard", "soft"])
def test_the_teacher_writes_the_lists_and_embeddings_are_unit_vectors(echoing, say, saying, form):
    student, teacher = torch.randn(6, 3), torch.randn(6, 3)
    method = DarkRank(form=form, weight=2.0, alpha=1.5, beta=2.0, length=3)
    terms = method.loss(echoing(method), saying(strong=say(student, teacher), labels=[0, 0, 1, 1, 2, 2]))
    ours, theirs = (distance_scores(F.normalize(x), alpha=1.5, beta=2.0) for x in (student, teacher))
    items = first_others(theirs, 3)
    lists = ours.gather(1, items), theirs.gather(1, items)
    wanted = list_mle(lists[0]) if form == "hard" else list_net(*lists)
    torch.testing.assert_close(terms["rank"], 2 * wanted.mean())


def test_triplets_are_of_labelled_unit_vectors(echoing, say, saying):
    method = DarkRank(triplet=3.0)
    points = [[2.0, 0, 0], [0, 5.0, 0], [-1.0, 3**0.5, 0]]  # squared distances: 2; of the negative 3 and 2 - sqrt 3
    batch = saying(strong=say(points), labels=[0, 0, 1], pool_strong=say([[1.0, 0, 0]]))
    loss = method.loss(echoing(method), batch)["triplet"]
    pushed = (2 - 3 + 1.8) + (2 - (2 - 3**0.5) + 1.8)
    torch.testing.assert_close(loss, torch.tensor(3 * 0.5 * (2 + 2 + 0.1 * pushed) / 2))


def test_silent_images_take_no_place_in_a_list(echoing, say, saying):
    """The pool's image is the teacher's first for all."""
    student, teacher = torch.randn(4, 3), torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], [1.0, 1.0, 1.0]])
    strong, pool = say(student[:3], teacher[:3]), say(student[3:], teacher[3:])
    losses = {}
    for unsupervised in (0.0, 1.0):
        method = DarkRank(length=2, unsupervised=unsupervised)
        batch = saying(strong=strong, labels=[0, 1, 2], pool_strong=pool)
        losses[unsupervised] = method.loss(echoing(method), batch)["rank"]
    alone = method.loss(echoing(method), saying(strong=strong, labels=[0, 1, 2]))["rank"]
    assert alone > 0
    torch.testing.assert_close(losses[0.0], alone)
    assert not torch.isclose(losses[1.0], alone)


def test_a_list_counts_the_product_of_its_images(echoing, say, saying):
    """Lists of one image: 0 and 1 list each other; 2, of the pool, lists 1 and is in no list."""
    student = F.normalize(torch.randn(3, 3))
    teacher = torch.tensor([[1.0, 0.1, 0], [1.0, 0, 0], [1.0, -0.5, 0]])
    method = DarkRank(length=2, unsupervised=0.5)
    batch = saying(strong=say(student[:2], teacher[:2]), labels=[0, 1], pool_strong=say(student[2:], teacher[2:]))
    lists = list_mle(distance_scores(student).gather(1, first_others(distance_scores(F.normalize(teacher)), 2)))
    torch.testing.assert_close(method.loss(echoing(method), batch)["rank"], lists.mean())  # each has 0, 1 and 2 in it


def test_orders_of_long_lists_are_too_many():
    with pytest.raises(BadInput, match="length of DarkRank is 6"):
        DarkRank(form="soft", length=6)
    DarkRank(form="hard", length=20)
