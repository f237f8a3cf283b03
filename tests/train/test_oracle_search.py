import copy
import itertools

import pytest
import torch
from interrupted import continues
from tiny import bright

from tutelage.methods.oracle_kd_nas import OracleKDNAS
from tutelage.models.backbone import NetworkSpec, create
from tutelage.models.committee import Committee
from tutelage.models.files import count_parameters
from tutelage.train import loop
from tutelage.train.lessons import Lesson
from tutelage.train.oracle_search import (
    OPERATIONS,
    Controller,
    Drawn,
    Grown,
    Layer,
    OracleSearch,
    begin,
    best,
    fit,
    reward,
)
from tutelage.train.settings import Optimiser
from tutelage.types import BadInput, Sizes

SPEC = NetworkSpec(width=2, image_size=8)
SETTINGS = Optimiser(lr=0.1, warmup_steps=1)
IDENTITY = Layer("identity", plus_input=False, plus_stage=False)


@pytest.fixture
def lessons():
    torch.manual_seed(2)
    return [Lesson(bright(12), bright(9)) for _ in range(6)]


@pytest.fixture
def teacher():
    torch.manual_seed(3)
    return Committee([create(SPEC, 3) for _ in range(3)])


def start(depth=1, settings=None):
    torch.manual_seed(1)
    return begin(settings or OracleSearch(parameters=2000), Grown(create(SPEC, 3), depth=depth), SETTINGS)


@pytest.mark.parametrize("depth", [1, 2])
def test_identities_add_nothing(depth):
    backbone, images = create(SPEC, 3).eval(), torch.rand(4, 3, 8, 8)
    grown = Grown(backbone, depth=depth).eval()
    ours, theirs = grown(images), backbone(images)
    torch.testing.assert_close(
        (ours.logits, ours.embedding, ours.features), (theirs.logits, theirs.embedding, theirs.features)
    )
    assert grown.count() == count_parameters(backbone)
    assert grown.widths == backbone.widths


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_keeps_the_shape(operation):
    maps = torch.rand(2, 5, 4, 3)
    assert OPERATIONS[operation](5)(maps).shape == maps.shape


def test_the_operations_are_the_papers_seven():
    assert [count_parameters(OPERATIONS[name](4)) for name in OPERATIONS] == [
        0, 4 * 4 * 9 + 8, 4 * 4 * 25 + 8, 4 * 9 + 16 + 8, 4 * 25 + 16 + 8, 0, 0,
    ]  # fmt: skip


def test_what_goes_in_and_the_stage_are_added_once_each():
    backbone, images = create(SPEC, 3).eval(), torch.rand(4, 3, 8, 8)
    stage = backbone(images).features["stage3"]
    for second, times in (
        (Layer("identity", plus_input=False, plus_stage=False), 2),  # what goes in is twice the stage already
        (Layer("identity", plus_input=True, plus_stage=False), 4),
        (Layer("identity", plus_input=False, plus_stage=True), 3),
        (Layer("identity", plus_input=True, plus_stage=True), 5),
    ):
        first = Layer("identity", plus_input=True, plus_stage=True)  # the same map twice, so added once
        grown = Grown(backbone, depth=2, architecture=(*[IDENTITY] * 4, first, second)).eval()
        torch.testing.assert_close(grown(images).features["stage3"], times * stage)


def test_what_was_picked_can_be_made_alone():
    backbone = create(SPEC, 3)
    every = Grown(backbone)
    every.architecture = (
        Layer("conv3", plus_input=True, plus_stage=False),
        IDENTITY,
        Layer("separable5", plus_input=False, plus_stage=True),
    )
    alone = Grown(backbone, architecture=every.architecture)
    assert count_parameters(alone) == alone.count() == every.count() < count_parameters(every)
    alone.added.load_state_dict({name: every.added.state_dict()[name] for name in alone.added.state_dict()})
    images = torch.rand(4, 3, 8, 8)
    torch.testing.assert_close(alone.eval()(images).logits, every.eval()(images).logits)
    with pytest.raises(BadInput, match="2 layers are given: 3 fit"):
        Grown(backbone, architecture=(IDENTITY, IDENTITY))
    with pytest.raises(BadInput, match="test_vit cannot be cut"):
        Grown(create(NetworkSpec(name="test_vit", image_size=160), 3))


def test_a_controller_draws_from_all_there_is():
    controller = Controller(2)
    drawn = [controller.draw() for _ in range(200)]
    for place in range(2):
        assert {one.architecture[place].operation for one in drawn} == set(OPERATIONS)
        assert {one.architecture[place][1:] for one in drawn} == set(itertools.product([False, True], repeat=2))
    # At the start all 2^(2L) 7^L architectures are about as likely.
    assert abs(drawn[0].entropy.item() - 2 * torch.tensor(28.0).log().item()) < 0.1
    greedy = controller.draw(greedy=True)
    assert greedy.architecture == controller.draw(greedy=True).architecture
    assert greedy.log_probability >= max(one.log_probability for one in drawn) - 0.5


def test_log_probabilities_are_those_of_what_was_drawn():
    controller = Controller(1)
    with torch.no_grad():
        for choice in controller.choices:
            choice.weight.zero_()
            choice.bias.copy_(torch.arange(len(choice.bias)).float())
    operations, plus = (torch.arange(n).float().log_softmax(-1) for n in (7, 4))
    for _ in range(20):
        drawn = controller.draw()
        (layer,) = drawn.architecture
        expected = operations[list(OPERATIONS).index(layer.operation)] + plus[layer.plus_input + 2 * layer.plus_stage]
        torch.testing.assert_close(drawn.log_probability.detach(), expected)
        entropy = -sum((p.exp() * p).sum() for p in (operations, plus))
        torch.testing.assert_close(drawn.entropy.detach(), entropy)


def test_reinforce_by_hand():
    controller = Controller(1)
    drawn = Drawn((), torch.tensor(-2.0), torch.tensor(1.5))
    first = controller.loss(drawn, torch.tensor(0.5), decay=0.9, entropy=0.1)
    torch.testing.assert_close(first, torch.tensor(-0.15))  # its own reward is the first baseline
    second = controller.loss(drawn, torch.tensor(1.0), decay=0.9, entropy=0.1)
    torch.testing.assert_close(controller.baseline, torch.tensor(0.55))
    torch.testing.assert_close(second, torch.tensor(0.45 * 2 - 0.15))


def test_a_controller_finds_what_is_rewarded():
    controller = Controller(2, hidden=16)
    optimizer = torch.optim.Adam(controller.parameters(), lr=0.02)
    for _ in range(200):
        drawn = controller.draw()
        good = sum(layer.operation == "conv5" for layer in drawn.architecture) + (not drawn.architecture[0].plus_stage)
        loss = controller.loss(drawn, torch.tensor(float(good)), decay=0.9, entropy=1e-4)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = controller.draw(greedy=True).architecture
    assert [layer.operation for layer in found] == ["conv5", "conv5"]
    assert not found[0].plus_stage


def test_reward_is_accuracy_less_for_size(lessons):
    student = Grown(create(SPEC, 3))
    before = copy.deepcopy(student.state_dict())
    size, lesson = student.count(), lessons[0]
    fits, large, small = (
        reward(OracleSearch(parameters=parameters, penalty=0.5), student, lesson)
        for parameters in (size, size // 4, 4 * size)
    )
    torch.testing.assert_close(dict(student.state_dict()), dict(before), rtol=0, atol=0)
    guess = student.train()(lesson.quiz.weak).logits.argmax(-1)
    torch.testing.assert_close(fits, (guess == lesson.quiz.labels).float().mean())
    assert fits > 0
    torch.testing.assert_close(large / fits, torch.tensor((size / (size // 4)) ** -0.5))
    torch.testing.assert_close(small / fits, torch.tensor(2.0))


def test_only_what_is_picked_learns(teacher, lessons):
    run = start()
    before = copy.deepcopy(run.student.state_dict())
    drawn = []
    draw = run.controller.draw
    run.controller.draw = lambda: drawn.append(draw()) or drawn[-1]
    next(fit(OracleSearch(parameters=2000), run, teacher, lessons, SETTINGS, steps=6))
    picked = {f"added.{place}.{layer.operation}." for place, layer in enumerate(drawn[0].architecture)}
    for name, value in run.student.state_dict().items():
        used = name.startswith("backbone.") or any(name.startswith(start) for start in picked)
        if not value.is_floating_point() or name.endswith(("running_mean", "running_var")):
            continue
        assert torch.equal(value, before[name]) != used, name


def test_cut_and_continued_is_bit_equal_to_never_cut(teacher, lessons, tmp_path):
    method = OracleSearch(parameters=2000, controller_lr=0.01)
    whole, second = continues(
        start, lambda run, seen: fit(method, run, teacher, seen, SETTINGS, steps=6), lessons, 2, tmp_path
    )
    assert best(second) == best(whole)


def test_shared_weights_learn_and_the_choice_is_trained_by_the_same_method(teacher, lessons, batch, engine):
    settings = OracleSearch(parameters=2000)
    run = start(settings=settings)
    steps = [step.terms["reward"] for step in fit(settings, run, teacher, lessons * 12, SETTINGS, steps=72)]
    assert torch.stack(steps[-15:]).mean() > torch.stack(steps[:15]).mean() + 0.1
    student = Grown(create(SPEC, 3), architecture=best(run))
    final = loop.begin(OracleKDNAS(), student, teacher, Sizes(6, 8, 3, 5), SETTINGS)
    assert len(list(loop.fit(OracleKDNAS(), final, [batch] * 5, SETTINGS, steps=5, accelerator=engine))) == 5


@pytest.mark.parametrize(
    ("field", "wrong"),
    [("parameters", 0), ("penalty", -0.1), ("controller_lr", 0.0), ("baseline", 1.5), ("entropy", -0.1)],
)
def test_numbers_out_of_range_are_refused(field, wrong):
    with pytest.raises(BadInput, match=rf"{field} of OracleSearch is {wrong}: it must be"):
        OracleSearch(**{field: wrong})
