import pytest
import torch
import torch.nn.functional as F
from tiny import nets_of, tiny_vit

from tutelage.data.patches import GREY, mean_colours
from tutelage.methods.distilbert import DistilBERT


def test_terms_where_every_patch_is_hidden(batch):
    """Every image is grey then, so one image says what all tokens are."""
    method = DistilBERT(ratio=1.0, words=5.0, guess=3.0, cosine=2.0, unsupervised=0.5, task=0.25)
    nets = nets_of(method, tiny_vit(2), tiny_vit(4))
    grey = torch.full((8, 3, 8, 8), GREY)
    mine, other = nets.student(grey, tokens="hidden").tokens.last, nets.teacher(grey, tokens="hidden").tokens.last
    said, told = nets.extra.student(mine[:, 1:]), nets.extra.teacher(other[:, 1:])
    truth = mean_colours(batch.unlabeled.strong, (2, 2))
    kl = F.kl_div((said / 2).log_softmax(-1), (told / 2).softmax(-1), reduction="none").sum(-1).mean()
    expected = {
        "task": 0.25 * F.cross_entropy(nets.student(batch.labeled.strong).logits, batch.labeled.labels),
        "words": 0.5 * 5 * 4 * kl,
        "guess": 0.5 * 3 * F.cross_entropy(said.flatten(0, 1), truth.flatten()),
        "teacher_guess": 0.5 * F.cross_entropy(told.flatten(0, 1), truth.flatten()),
        "cosine": 0.5 * 2 * (1 - F.cosine_similarity(mine, other, dim=-1)).mean(),
    }
    torch.testing.assert_close(method.loss(nets, batch), expected)


def test_patches_that_are_seen_are_not_guessed(batch):
    method = DistilBERT(ratio=0.0)
    terms = method.loss(nets_of(method, tiny_vit(2), tiny_vit(4)), batch)
    assert terms["words"] == terms["guess"] == terms["teacher_guess"] == 0
    assert terms["cosine"] > 0


def test_a_student_as_deep_begins_as_the_teacher(batch):
    method, teacher = DistilBERT(ratio=0.5), tiny_vit(2)
    terms = method.loss(nets_of(method, tiny_vit(2), teacher), batch)
    torch.testing.assert_close(terms["cosine"], torch.tensor(0.0), atol=1e-6, rtol=0)


@pytest.mark.parametrize("part", ["student", "teacher"])
def test_each_head_learns_from_its_own_terms(batch, part):
    """The teacher's learns the true words alone, not to agree with the student's."""
    method = DistilBERT(ratio=1.0)
    nets = nets_of(method, tiny_vit(2), tiny_vit(4))
    terms = method.loss(nets, batch)
    (terms["words"] + terms["guess"] if part == "student" else terms["teacher_guess"]).backward()
    grads = {name: p.grad is not None for name, p in nets.extra.named_parameters()}
    assert grads == {name: name.startswith(part) for name in grads}
