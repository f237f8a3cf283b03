"""Turns of tasks: what is taught next follows the scores, which are scripted here, and a run that was cut goes on."""

import itertools
import math
from collections import Counter

import pytest
import torch
from multi_fixtures import CLASSES, annotated, multi_batch, multi_net, multi_nets

from tutelage.methods.multitask.must import MuST
from tutelage.multi_types import MultiBatch
from tutelage.train import checkpoint, loop
from tutelage.train.device import accelerator
from tutelage.train.multilingual_nmt import MultilingualNMT, likeliest
from tutelage.train.settings import Compute, Optimiser
from tutelage.train.tscl import TSCL
from tutelage.train.turns import Shared, Turns, begin, fit, led, score
from tutelage.types import TASKS, BadInput, Diverged, Sizes

SETTINGS = Optimiser(warmup_steps=1)
BANDITS = [TSCL(variant=variant, window=2) for variant in ("online", "naive", "window", "sampling")]


def only(plan):
    """A batch whose labels are those of a plan's tasks."""
    rows = {f: list(range(2)) if f in plan.labels else [] for f in TASKS}
    told = {f: list(range(2)) if f in plan.pool else [] for f in TASKS}
    return MultiBatch(annotated(2, **rows), annotated(2, **told))


def feed(plan, start, stop):
    for step in range(start, stop):
        torch.manual_seed(step)
        yield only(plan)


def started(turns):
    torch.manual_seed(0)
    return begin(loop.begin(MuST(), multi_net(turns.subjects), None, Sizes(2, 2, CLASSES, 8), SETTINGS), turns, seed=0)


def follow(turns, run, steps, *, at=feed):
    engine = accelerator(Compute(threads=1, device="cpu", precision="fp32"))
    return fit(led(MuST(), turns.guide), run, turns, at, SETTINGS, steps=steps, accelerator=engine)


def planned(turns, number, world):
    """The plans of `number` turns whose scores are `world(plan, turn)`; nothing is trained."""
    plan, plans = turns.first(seed=1), []
    for turn in range(number):
        plans.append(plan)
        plan = turns.next(plan, [world(plan, turn)])
    return plans


def test_a_bandit_learns_the_task_that_rises_leaves_noise_and_returns_to_what_is_forgotten():
    tasks = ("classification", "segmentation", "depth")
    lessons, forgotten = Counter(), False

    def world(plan, turn):
        """Classes are noise: their score never moves. Pixels are learned in 30 turns. Depth is known, until turn 60."""
        nonlocal forgotten
        (task,) = plan.labels
        lessons[task] += 1
        if turn == 60:
            forgotten = True
            lessons["depth"] = 0
        depth = min(1.0, 0.2 + lessons["depth"] / 30) if forgotten else 1.0
        return {"classification": 0.1, "segmentation": min(1.0, lessons["segmentation"] / 30), "depth": depth}

    turns = Turns(every=1, guide=TSCL(variant="online", alpha=0.5), subjects=tasks, score=lambda net: {})
    plans = planned(turns, 110, world)
    assert all(plan.labels == plan.pool and len(plan.labels) == 1 for plan in plans)
    early = Counter(plan.labels[0] for plan in plans[:25])
    late = Counter(plan.labels[0] for plan in plans[61:])
    assert early["segmentation"] > 15
    assert early["classification"] <= 5
    assert late["depth"] > 1.5 * len(plans[61:]) / 3  # a random choice would be a third


@pytest.mark.parametrize("guide", BANDITS, ids=[guide.variant for guide in BANDITS])
def test_a_turn_of_a_bandit_teaches_its_task_alone(guide):
    values = itertools.count()
    turns = Turns(every=2, guide=guide, subjects=("classification", "depth"),
                  score=lambda net: dict.fromkeys(("classification", "depth"), float(next(values))))  # fmt: skip
    run = started(turns)
    before, seen = run.plan, []
    for step in follow(turns, run, 4):
        plan = run.plan
        seen.append(plan.labels)
        other = "depth" if plan.labels == ("classification",) else "classification"
        assert step.terms[other] == step.terms[f"pool_{other}"] == 0
        assert step.terms[plan.labels[0]] > 0
        assert step.terms[f"pool_{plan.labels[0]}"] > 0
    assert seen[0] == seen[1] == before.labels
    assert [turn.step for turn in run.over] == [2, 4]
    assert [(turn.labels,) * 2 for turn in run.over] == [tuple(seen[:2]), tuple(seen[2:])]
    assert next(values) == (4 if guide.variant == "naive" else 2)  # scores a turn


def test_a_teacher_worse_than_the_student_is_left_and_comes_back_when_the_student_falls_behind():
    script = iter([{"classification": 0.0, "depth": 2.0}, {"classification": 0.0, "depth": 0.5},
                   {"classification": 0.0, "depth": 0.5}])  # fmt: skip
    guide = MultilingualNMT(threshold=0.5, share=0.25)
    turns = Turns(every=2, guide=guide, subjects=("classification", "depth"), score=lambda net: next(script),
                  specialists={"classification": 1.0, "depth": 1.0})  # fmt: skip
    run, pools = started(turns), []
    for step in follow(turns, run, 6):
        pools.append(run.plan.pool)
        assert (step.terms["pool_depth"] == 0) == ("depth" not in run.plan.pool)
        assert step.terms["pool_classification"] > 0
        assert step.terms["depth"] > 0
    both, one = ("classification", "depth"), ("classification",)
    assert pools == [both, both, one, one, both, both]
    assert [turn.pool for turn in run.over] == [both, one, both]


def test_share_weighs_labels_against_teachers_where_there_is_one():
    batch = multi_batch(depth=[0, 1])  # nobody said anything of depth in the pool
    batch = batch._replace(pool=annotated(3, depth=[]))
    torch.manual_seed(0)
    net = multi_net()
    plain = MuST().loss(multi_nets(MuST(), net.eval()), batch)
    shared = Shared(of=MuST(), share=0.25)
    terms = shared.loss(multi_nets(shared, net), batch)
    torch.testing.assert_close(terms["segmentation"], 0.75 * plain["segmentation"])
    torch.testing.assert_close(terms["pool_segmentation"], 0.25 * plain["pool_segmentation"])
    torch.testing.assert_close(terms["depth"], plain["depth"])
    assert terms["pool_depth"] == 0


def test_the_score_is_minus_the_logarithm_of_the_loss_over_all_images():
    """ln depth is 0 everywhere, the depths are 2 and 4: losses ln 2 and ln 4, of one image and of two."""

    class Flat(type(multi_net(("depth",)))):
        def forward(self, images, rows=None):
            said = super().forward(images, rows)
            return type(said)(said.pyramid, None, None, None, said.depth * 0)

    net = multi_net(("depth",)).eval()
    net.__class__ = Flat

    def of(depth, images):
        part = annotated(images)
        far = part.truth.depth._replace(target=torch.full_like(part.truth.depth.target, depth))
        none = annotated(0)
        return MultiBatch(part._replace(truth=none.truth._replace(depth=far)), none)

    found = score(net, {"depth": [of(2.0, 1), of(4.0, 2)]}, depth="log")
    assert found["depth"] == pytest.approx(-math.log((math.log(2) + 2 * math.log(4)) / 3), abs=1e-5)


@pytest.mark.parametrize("guide", [TSCL(variant="naive", window=2), TSCL(), MultilingualNMT()],
                         ids=["naive", "sampling", "nmt"])  # fmt: skip
def test_a_run_that_was_cut_goes_on_bit_by_bit(tmp_path, guide):
    held = {task: [MultiBatch(annotated(2), annotated(0))] for task in ("classification", "depth")}
    turns = Turns(every=2, guide=guide, subjects=("classification", "depth"),
                  score=lambda net: score(net, held, depth="log"),
                  specialists={"classification": 0.0, "depth": -5.0})  # fmt: skip
    whole = started(turns)
    for step in follow(turns, whole, 6):
        if step.number in (3, 4, 6):  # in a turn, between two, at the end: where the turn has not been judged yet
            checkpoint.write(whole.state_dict(), tmp_path / f"{step.number}.pt")
    assert len(whole.over) == 3
    for cut in (3, 4, 6):
        again = started(turns)
        again.load_state_dict(torch.load(tmp_path / f"{cut}.pt", weights_only=True))
        assert again.step == cut
        for _ in follow(turns, again, 6):
            pass
        assert again.over == whole.over
        assert again.plan == whole.plan
        for one, other in ((whole.nets.student, again.nets.student), (whole.average, again.average)):
            pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
            assert all(torch.equal(a, b) for a, b in pairs)


def test_the_likeliest_classes_are_heard_of_unscaled():
    chances = torch.tensor([[0.9, 0.2, 0.8], [0.1, 0.3, 0.2]])
    assert likeliest(chances, 2).tolist() == [[1, 0, 1], [0, 1, 1]]
    assert likeliest(chances, 8).tolist() == [[1, 1, 1], [1, 1, 1]]


def test_what_cannot_be_is_refused():
    made = {"subjects": ("depth",), "score": lambda net: {"depth": math.nan}}
    with pytest.raises(BadInput, match=r"turns\.every is 5, and a turn takes 2"):
        Turns(every=5, guide=BANDITS[1], **made)
    with pytest.raises(BadInput, match="none has a score"):
        Turns(every=5, guide=MultilingualNMT(), **made)
    turns = Turns(every=1, guide=MultilingualNMT(), specialists={"depth": 0.0}, **made)
    with pytest.raises(Diverged, match="score of depth is nan after step 1"):
        list(follow(turns, started(turns), 2))
    with pytest.raises(BadInput, match="no whole number of turns of 4"):
        follow(Turns(every=4, guide=TSCL(), **made), started(turns), 6)
