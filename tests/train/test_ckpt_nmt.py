import copy
from itertools import islice

import pytest
import torch
import torch.nn.functional as F
from tiny import Tiny, make_batch

from tutelage.losses.distillation import soft_label_kl
from tutelage.train import checkpoint
from tutelage.train.ckpt_nmt import CkptNMT, judged
from tutelage.train.device import accelerator
from tutelage.train.loop import begin, fit
from tutelage.train.settings import Compute, Optimiser
from tutelage.types import BadInput, Diverged, Sizes

SETTINGS = Optimiser(warmup_steps=1)
BATCHES = 7


def begun(method):
    torch.manual_seed(0)
    return begin(method, Tiny(4), None, Sizes(6, 0, 3, BATCHES), SETTINGS)


def batches(start=0):
    torch.manual_seed(1)
    made = [make_batch(labeled=6, unlabeled=0) for _ in range(BATCHES)]
    return made[start:]


def steps(method, run, score, *, given=None):
    engine = accelerator(Compute(threads=1, device="cpu", precision="fp32"))
    fed = judged(method, run, batches(run.step) if given is None else given, score)
    yield from fit(method, run, fed, SETTINGS, steps=BATCHES, accelerator=engine)


def weights(net):
    return {name: value.clone() for name, value in net.state_dict().items()}


def same(one, two):
    return all(torch.equal(a, b) for a, b in zip(one.values(), two.values(), strict=True))


def test_the_teacher_changes_only_where_the_score_is_strictly_better():
    """Judged after steps 1 to 6: the first, the third and the last are better than all before."""
    method, told = CkptNMT(every=1), iter([0.5, 0.5, 0.6, 0.2, 0.6, 0.7])
    run, judged_as = begun(method), []

    def score(net):
        assert not net.training
        judged_as.append(weights(net))
        return next(told)

    seen = []
    for _ in steps(method, run, score):
        seen.append(weights(run.nets.teacher))  # after the judgement before the step
    best = [None, 0, 0, 2, 2, 2, 5]
    assert all(same(seen[step], judged_as[of]) for step, of in enumerate(best) if of is not None)
    assert len(judged_as) == 6
    assert run.nets.extra.score == pytest.approx(0.7)


def test_before_anything_is_judged_there_is_no_teacher():
    method = CkptNMT(every=3)
    terms = [step.terms["distillation"].item() for step in steps(method, begun(method), lambda net: 1.0)]
    assert terms[:3] == [0.0] * 3
    assert all(term > 0 for term in terms[3:])


def test_terms_are_labels_and_the_soft_labels_of_the_best():
    method, (batch, *_) = CkptNMT(weight=2.0, temperature=3.0), batches()
    run = begun(method)
    run.nets.student.eval()
    with torch.no_grad():
        run.nets.teacher.net.head.weight.add_(1)
    run.nets.extra.score.fill_(0.0)
    terms = method.loss(run.nets, batch)
    said, told = (net(batch.labeled.strong).logits for net in run.nets[:2])
    torch.testing.assert_close(terms["task"], F.cross_entropy(said, batch.labeled.labels))
    torch.testing.assert_close(terms["distillation"], 2 * soft_label_kl(said, told, temperature=3.0))


def test_the_moving_average_may_be_the_teacher():
    method = CkptNMT(every=4, judge="average")
    run = begun(method)
    averages = [weights(run.average) for _ in islice(steps(method, run, lambda net: 1.0), 5)]
    assert same(weights(run.nets.teacher), averages[3])
    assert not same(weights(run.nets.teacher), weights(run.nets.student))


@pytest.mark.parametrize("stop", [3, 4])  # in the middle, and where it is to be judged
def test_cut_and_continued_is_bit_equal_to_never_cut(tmp_path, stop):
    method = CkptNMT(every=2)
    score = lambda net: -float(net.head.weight.detach().abs().sum())  # noqa: E731
    whole, first, second = begun(method), begun(method), begun(method)
    list(steps(method, whole, score))
    list(islice(steps(method, first, score), stop))
    checkpoint.save(first, tmp_path / "run.pt")
    assert checkpoint.restore(second, tmp_path / "run.pt")
    assert [step.number for step in steps(method, second, score)] == [*range(stop + 1, BATCHES + 1)]
    for one, other in zip((*whole.nets, whole.average), (*second.nets, second.average), strict=True):
        torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)


def test_what_is_wrong_is_said():
    method = CkptNMT(every=1)
    with pytest.raises(Diverged, match="score of the student is nan after step 1"):
        list(steps(method, begun(method), lambda net: float("nan"), given=copy.deepcopy(batches())))
    with pytest.raises(BadInput, match="every of CkptNMT is 0: it must be above 0"):
        CkptNMT(every=0)
