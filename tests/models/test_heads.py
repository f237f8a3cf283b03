import torch
from tiny import Tiny

from tutelage.models.heads import Pretext, Scorer


def test_scores_are_scaled_cosines_with_a_bias():
    scorer = Scorer()
    with torch.autocast("cpu", torch.bfloat16):
        scores = scorer(torch.tensor([[2.0, 0.0], [1.0, 1.0]]))
    torch.testing.assert_close(scores, torch.tensor([[5.0, 10 * 0.5**0.5 - 5], [10 * 0.5**0.5 - 5, 5.0]]))
    scores.sum().backward()
    assert scorer.scale.grad != 0
    assert scorer.bias.grad == 4


def test_the_copy_follows_only_when_told():
    pretext = Pretext(Tiny(4), Tiny(6))
    student, teacher = torch.randn(2, 8), torch.randn(2, 12)
    ours, learning, frozen = pretext(student, teacher)
    assert (ours.shape, learning.shape) == ((2, 8), (2, 12))
    torch.testing.assert_close(learning, frozen)
    (ours.sum() + learning.sum() + frozen.sum()).backward()
    assert all(p.grad is None for p in pretext.frozen.parameters())
    with torch.no_grad():
        for p in pretext.teacher.parameters():
            p.add_(1.0)
    _, learning, still = pretext(student, teacher)
    assert not torch.allclose(learning, still)
    torch.testing.assert_close(still, frozen)
    pretext.freeze()
    torch.testing.assert_close(pretext(student, teacher)[2], learning)
