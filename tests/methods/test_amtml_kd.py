import torch
import torch.nn.functional as F

from tutelage.losses.relations import relational_angle, relational_distance
from tutelage.methods.amtml_kd import AMTMLKD
from tutelage.models.average import Frozen
from tutelage.models.committee import Committee
from tutelage.models.hearing import Hearing, instance_weights
from tutelage.types import Sizes


def committee(make_nets, method, number):
    nets = make_nets(method)
    teacher = Frozen(Committee([make_nets(method).teacher.net for _ in range(number)]))
    return nets._replace(teacher=teacher, extra=method.init(nets.student, teacher, Sizes(6, 8, 3, 10)))


def test_weights_by_hand():
    seen, factors = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    weights = instance_weights(seen, factors, torch.tensor([1.0, 0.5]))  # 1, 1, 1 and 0, 0, 0
    torch.testing.assert_close(weights, torch.full((2, 3), 1 / 3))
    weights = instance_weights(seen, factors, torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(weights[0], torch.tensor([1.0, 0.0, 0.0]).softmax(-1))
    torch.testing.assert_close(weights.sum(-1), torch.ones(2))
    same = instance_weights(seen, factors[:1].expand(4, 2), torch.randn(2))
    torch.testing.assert_close(same, torch.full((2, 4), 0.25))
    torch.testing.assert_close(instance_weights(seen, factors[:1], torch.randn(2)), torch.ones(2, 1))


def test_each_teacher_hints_another_stage_of_the_student(make_nets, batch):
    nets = committee(make_nets, AMTMLKD(), 3)
    hearing = nets.extra.net
    assert isinstance(hearing, Hearing)
    assert [net.pairs for net in hearing.adapters] == [[(f"stage{s}", "stage1")] for s in (1, 2, 1)]
    teachers = [one.features for one in nets.teacher(batch.labeled.strong).members]
    weights, kept, pairs, _ = hearing(nets.student(batch.labeled.strong).features, teachers)
    torch.testing.assert_close(weights, kept)
    torch.testing.assert_close(weights.sum(-1), torch.ones(6))
    assert [ours.shape == theirs.shape for ours, theirs in pairs] == [True] * 3
    assert [ours.shape[-1] for ours, _ in pairs] == [8, 4, 8]


def test_whom_to_hear_is_learned_first_and_stays_then(make_nets, batch):
    method = AMTMLKD(first=0.3)
    nets = committee(make_nets, method, 3)
    hearing = nets.extra.net
    optimizer = torch.optim.SGD([*nets.student.parameters(), *nets.extra.parameters()], lr=0.1, momentum=0.9)
    kept, heard = [], []
    for step in range(1, 7):
        optimizer.zero_grad(set_to_none=True)
        terms = method.loss(nets, batch)
        torch.stack(list(terms.values())).sum().backward()
        heard.append(bool(hearing.factors.grad is not None and hearing.factors.grad.any()))
        assert (terms["prior"] > 0) == (step <= 3)
        optimizer.step()
        method.after_step(nets, step)
        kept.append(hearing.kept_factors.clone())
    assert heard == [True] * 3 + [False] * 3
    assert not torch.equal(kept[1], kept[2])
    assert all(torch.equal(kept[2], later) for later in kept[3:])  # momentum moves what is learned, not the copy
    assert not torch.equal(hearing.factors, hearing.kept_factors)


def test_terms_of_one_teacher_by_hand_in_both_parts_of_a_run(at_rest, batch):
    method = AMTMLKD(alpha=0.6, temperature=3.0, angle=2.0, distance=3.0, hint=4.0, prior=5.0, unsupervised=0.5)
    nets, trust = at_rest(method), torch.tensor([1.0] * 6 + [0.5] * 8)
    images = torch.cat([batch.labeled.strong, batch.unlabeled.strong])
    student, teacher, hearing = nets.student(images), nets.teacher(images), nets.extra.net
    p, q = (teacher.logits / 3).softmax(-1), (student.logits / 3).softmax(-1)
    soft = 9 * (p * (p / q).log()).mean(1)  # the authors' mean over images and classes
    [(ours, theirs)] = hearing.adapters[0](student.features, teacher.features)
    hints = (F.normalize(ours.flatten(1)) - F.normalize(theirs.flatten(1))).square().sum(1)
    expected = {
        "task": 0.4 * F.cross_entropy(student.logits[:6], batch.labeled.labels),
        "distillation": 2 * 0.6 * (soft * trust).sum() / 10,
        "angle": 2 * relational_angle(q.log(), p, trust=trust),
        "distance": 3 * relational_distance(q.log(), p, trust=trust),
        "hint": 4 * (hints * trust).sum() / 10,
        "prior": 5 * (hearing.factors.square().sum() + hearing.direction.square().sum()),
    }
    terms = method.loss(nets, batch)
    torch.testing.assert_close(terms, expected)
    for relation in ("angle", "distance"):  # which are symmetric, but for whom they teach
        assert torch.autograd.grad(terms[relation], nets.student.head.weight, retain_graph=True)[0].any()
    method.after_step(nets, 60)
    torch.testing.assert_close(method.loss(nets, batch), expected | {"prior": torch.tensor(0.0)})
