import math

import torch

from tutelage.methods.fixmatch import FixMatch

WEAK = torch.tensor([[0.05, 0.95, 0.0], [0.06, 0.94, 0.0], [0.97, 0.02, 0.01]]).clamp_min(1e-9).log()


def test_by_hand(echoing, saying):
    """The first and third image reach the threshold; each costs ln 3 under a student that says nothing."""
    method = FixMatch(confidence=0.9499, weight=3.0, unsupervised=0.5)
    batch = saying(strong=[[0.0] * 3], labels=[0], pool_weak=WEAK, pool_strong=[[0.0] * 3] * 3)
    loss = method.loss(echoing(method), batch)["consistency"]
    torch.testing.assert_close(loss, torch.tensor(0.5 * 3.0 * 2 * math.log(3) / 3))  # mean over all three


def test_the_strong_view_learns_the_class_of_the_weak(echoing, saying):
    method = FixMatch()
    strong = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [1.0, 2.0, 3.0]])
    batch = saying(strong=[[0.0] * 3], labels=[0], pool_weak=[[0.0, 9.0, 0.0], [0.0] * 3, [9.0, 0.0, 0.0]],
                   pool_strong=strong)  # fmt: skip
    by_hand = (math.log(3) + 2.407606) / 3  # -log softmax([1, 2, 3])[0] = 2 + 0.407606
    torch.testing.assert_close(method.loss(echoing(method), batch)["consistency"], torch.tensor(by_hand))


def test_no_gradient_through_the_guess(echoing, saying):
    method = FixMatch(confidence=0.0)
    batch = saying(strong=[[0.0] * 3], labels=[0], pool_weak=WEAK, pool_strong=[[0.0] * 3] * 3)
    weak = batch.unlabeled.weak.requires_grad_()
    sum(method.loss(echoing(method), batch).values()).backward()
    assert weak.grad is None


def test_labelled_views_share_the_task(echoing, saying):
    batch = saying(strong=[[1.0, 2.0, 3.0]], weak=[[0.0] * 3], labels=[0])
    for share in (0.0, 0.5, 1.0):  # 0 is the paper's
        method = FixMatch(strong=share)
        expected = torch.tensor((1 - share) * math.log(3) + share * 2.407606)
        torch.testing.assert_close(method.loss(echoing(method), batch)["task"], expected)


def test_ramp_is_a_choice(echoing, saying):
    batch = saying(strong=[[0.0] * 3], labels=[0], pool_weak=[[9.0, 0.0, 0.0]], pool_strong=[[0.0] * 3])
    plain, ramped = FixMatch(), FixMatch(ramp=0.5)
    assert plain.loss(echoing(plain, steps=100), batch)["consistency"] > 1
    nets = echoing(ramped, steps=100)
    seen = []
    for step in (0, 25, 50, 100):
        if step:
            ramped.after_step(nets, step)
        seen.append(ramped.loss(nets, batch)["consistency"])
    torch.testing.assert_close(torch.stack(seen), math.log(3) * torch.tensor([0.0, 0.5, 1.0, 1.0]))


def test_offline_labels_are_one_more_term_that_no_ramp_holds_back(echoing, saying):
    method = FixMatch(pseudo=0.5, unsupervised=0.5, ramp=1.0)
    batch = saying(strong=[[0.0] * 3], labels=[0], pool_strong=[[0.0] * 3] * 2, target=[[0.0, 1.0, 0.0]] * 2,
                   weight=[0.8, 0.0])  # fmt: skip
    terms = method.loss(echoing(method, steps=10), batch)
    torch.testing.assert_close(terms["pseudo"], torch.tensor(0.5 * 0.5 * 0.8 * math.log(3) / 2))
    assert terms["consistency"] == 0
