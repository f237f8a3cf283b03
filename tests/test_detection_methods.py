"""What every method of detection owes the engine, as tests/test_methods.py asks of those of classification."""

import dataclasses
import itertools
import math

import pytest
import torch
from owed import refuses_numbers_out_of_range
from scene_fixtures import Scripted, boxes, detector_nets, found, scene_batch, scripted_nets
from tiny import watched

from tutelage.methods.detection import DETECTION_METHODS
from tutelage.models.average import FrozenDetector
from tutelage.models.detectors import DetectorSpec, create_detector
from tutelage.train import checkpoint, loop
from tutelage.train.loop import begin, fit
from tutelage.train.settings import Optimiser
from tutelage.types import BadInput, DetectorNets, Diverged, Sizes

PLAIN = {name: cls() for name, cls in DETECTION_METHODS.items()}
VARIANTS = {  # what a field can switch to, where that is other code
    "mean_teacher-pseudo": DETECTION_METHODS["mean_teacher"](pseudo=0.5),
    "stac-mixed": DETECTION_METHODS["stac"](mix="both"),
    "stac-online": DETECTION_METHODS["stac"](online=True),
    "stac-weak": DETECTION_METHODS["stac"](strong=0.0),
    "unbiased_teacher-certainty": DETECTION_METHODS["unbiased_teacher"](burn_in=0.0, place_trust="certainty"),
    "unbiased_teacher-count": DETECTION_METHODS["unbiased_teacher"](burn_in=0.0, count=True),
    "unbiased_teacher-jitter": DETECTION_METHODS["unbiased_teacher"](burn_in=0.0, place_trust="jitter"),
    "unbiased_teacher-mixed": DETECTION_METHODS["unbiased_teacher"](
        burn_in=0.0, mix="mosaic", thresholds=(0.1, 0.2, 0.3)
    ),
    "unbiased_teacher-offline": DETECTION_METHODS["unbiased_teacher"](burn_in=0.5, offline=1.0),
}
ALL = PLAIN | VARIANTS
every_method = pytest.mark.parametrize("method", list(ALL.values()), ids=list(ALL))
SETTINGS = Optimiser(warmup_steps=2)


def total(terms):
    return torch.stack(list(terms.values())).sum()


def loud(method):
    """A method that keeps every guess, from the first step on."""
    fields = {field.name for field in dataclasses.fields(method)}
    quiet = {"confidence": 0.0, "thresholds": (), "ramp": 0.0, "offline": 1.0, "weight": 50.0}
    return dataclasses.replace(method, **{name: value for name, value in quiet.items() if name in fields})


def train(method, nets, batches):
    optimizer = torch.optim.SGD([*nets.student.parameters(), *nets.extra.parameters()], lr=0.05)
    nets.student.train()
    for number, batch in enumerate(batches, start=1):
        optimizer.zero_grad(set_to_none=True)
        total(method.loss(nets, batch)).backward()
        optimizer.step()
        method.after_step(nets, number)


def gradients(nets):
    return {name: p.grad for name, p in [*nets.student.named_parameters(), *nets.extra.named_parameters()]}


@pytest.fixture
def batch():
    return scene_batch()


def many(k):
    """`k` boxes all over the image."""
    return [(place % 20, place // 20 % 18, place % 20 + 4, place // 20 % 18 + 6) for place in range(k)]


@every_method
def test_what_a_method_says_it_does_not_read_it_does_not_read(method, batch):
    def losses(given):
        torch.manual_seed(0)
        return method.loss(detector_nets(method), given)

    spoilt = batch
    for name in method.unread:
        part, view = name.split(".")
        changed = getattr(spoilt, part)
        nothing = torch.full_like(getattr(changed, view), math.nan)
        spoilt = spoilt._replace(**{part: changed._replace(**{view: nothing, f"{view}_boxes": ()})})
    expected = losses(batch)
    assert losses(spoilt) == expected


POOR = {
    "empty pool": lambda: scene_batch(pool=0),
    "one pool image": lambda: scene_batch(pool=1),
    "no box at all": lambda: scene_batch(given=False),
    "nothing kept": lambda: silenced(scene_batch()),
    "four hundred boxes": lambda: crowded(scene_batch()),
}


def silenced(batch):
    nothing = tuple(boxes() for _ in batch.pool.weak_boxes)
    return batch._replace(
        pool=batch.pool._replace(weak_boxes=nothing, strong_boxes=nothing, weight=torch.zeros_like(batch.pool.weight))
    )


def crowded(batch):
    full = (boxes(*many(400)), *batch.labeled.weak_boxes[1:])
    return batch._replace(labeled=batch.labeled._replace(weak_boxes=full, strong_boxes=full))


@every_method
def test_terms_are_finite_scalars_and_none_is_negative(method, batch):
    terms = method.loss(detector_nets(method), batch)
    assert all(term.ndim == 0 and term.isfinite() and term >= 0 for term in terms.values())
    assert total(terms) > 0
    assert {"classification", "box"} <= set(terms)


@every_method
def test_gradient_reaches_all_of_student_and_extra_and_none_of_teacher(method, batch):
    nets = detector_nets(method)
    total(method.loss(nets, batch)).backward()
    assert [name for name, grad in gradients(nets).items() if grad is None or not grad.any()] == []
    if method.teacher != "self":
        assert all(p.grad is None for p in nets.teacher.parameters())


@every_method
def test_learns_one_batch_by_heart(method, batch):
    nets = detector_nets(method, steps=1)
    optimizer = torch.optim.Adam([*nets.student.parameters(), *nets.extra.parameters()], lr=1e-2)
    task = []
    for number in range(60):
        optimizer.zero_grad()
        terms = method.loss(nets, batch)
        total(terms).backward()
        optimizer.step()
        method.after_step(nets, number + 1)
        task.append((terms["classification"] + terms["box"]).item())
    assert task[-1] < 0.8 * task[0]


@every_method
@pytest.mark.parametrize("poor", POOR)
def test_keys_and_gradients_are_the_same_whatever_the_boxes(method, batch, poor):
    """Or processes would wait for each other's gradients for ever."""
    nets, other = detector_nets(method), POOR[poor]()
    terms = method.loss(nets, other)
    assert list(terms) == list(method.loss(detector_nets(method), batch))
    assert all(term.isfinite() for term in terms.values())
    total(terms).backward()
    assert [name for name, grad in gradients(nets).items() if grad is None or not grad.isfinite().all()] == []
    train(method, nets, [other, batch, other])
    state = itertools.chain(nets.student.state_dict().values(), nets.extra.state_dict().values())
    assert all(value.isfinite().all() for value in state)


@pytest.mark.parametrize("kind", ["fcos", "retinanet", "faster_rcnn"])
@every_method
def test_detectors_that_are_used_answer_every_method(method, batch, kind):
    spec = DetectorSpec(kind=kind, image_size=24, width=8, channels=8, levels=(4, 8))
    keys = []
    for seen in (batch, POOR["empty pool"](), POOR["no box at all"]()):
        torch.manual_seed(0)
        student, given = create_detector(spec, 3), create_detector(spec, 3)
        teacher = watched(method.teacher, student, given, FrozenDetector)
        nets = DetectorNets(student, teacher, method.init(student, teacher, Sizes(3, 4, 3, 60)))
        student.train()
        terms = method.loss(nets, seen)
        total(terms).backward()
        assert [name for name, grad in gradients(nets).items() if grad is None or not grad.isfinite().all()] == []
        keys.append(list(terms))
    assert all(each == keys[0] for each in keys)


@every_method
def test_same_seed_same_student(method, batch):
    def run():
        torch.manual_seed(1)
        nets = detector_nets(method)
        train(method, nets, [batch] * 3)
        return nets.student.state_dict()

    torch.testing.assert_close(run(), run(), rtol=0, atol=0)


@every_method
def test_the_guard_can_silence_the_pool(method, batch):
    assert ("unsupervised" in {field.name for field in dataclasses.fields(method)}) == method.pool
    if not method.pool:
        return
    pool = batch.pool
    moved = tuple(each._replace(places=each.places + 4, labels=2 - each.labels) for each in pool.strong_boxes)
    changed = batch._replace(pool=pool._replace(weak=1 - pool.weak, strong=1 - pool.strong, strong_boxes=moved))

    def apart(method):
        nets = detector_nets(method)
        nets.student.eval()  # in train mode the pool is still seen through batch norm, here and in adapters
        nets.extra.eval()
        terms = []
        for seen in (batch, changed):
            torch.manual_seed(3)  # what a method draws
            terms.append(total(method.loss(nets, seen)))
        return terms

    one, other = apart(dataclasses.replace(method, unsupervised=0.0))
    torch.testing.assert_close(one, other)
    one, other = apart(loud(method))
    assert not torch.isclose(one, other)


@every_method
def test_one_forward_with_a_graph_and_one_question_to_the_teacher(method, batch):
    nets, with_graph, asked = detector_nets(method), [], []
    nets.student.register_forward_hook(lambda net, args, out: with_graph.append(torch.is_grad_enabled()))
    if method.teacher != "self":
        nets.teacher.register_forward_hook(lambda net, args, out: asked.append(1))
    method.loss(nets, batch)
    assert sum(with_graph) == 1
    assert len(asked) <= 1


@every_method
def test_the_teacher_stays_in_eval_mode(method, batch):
    if method.teacher == "self":
        return
    nets = detector_nets(method)
    before = {name: value.clone() for name, value in nets.teacher.state_dict().items()}
    nets.teacher.train()
    method.loss(nets, batch)
    torch.testing.assert_close(nets.teacher.state_dict(), before, rtol=0, atol=0)


@every_method
def test_works_in_mixed_precision(method, batch):
    nets = detector_nets(method)
    with torch.autocast("cpu", torch.bfloat16):
        terms = method.loss(nets, batch)
    assert all(term.dtype == torch.float32 and term.isfinite() for term in terms.values())
    total(terms).backward()


def start(method):
    torch.manual_seed(1)
    nets = detector_nets(DETECTION_METHODS["kd"]())
    return begin(method, nets.student, nets.teacher, Sizes(3, 4, 3, 8), SETTINGS)


def state(run):
    return [run.nets.student.state_dict(), run.average.state_dict(), run.nets.extra.state_dict()]


@every_method
def test_cut_and_continued_is_bit_equal_to_never_cut(method, engine, batch, tmp_path):
    feed = [batch, scene_batch(pool=4), scene_batch(given=False)] * 2
    whole = start(method)
    list(fit(method, whole, feed, SETTINGS, steps=8, accelerator=engine))
    first = start(method)
    list(fit(method, first, feed[:3], SETTINGS, steps=8, accelerator=engine))
    checkpoint.save(first, tmp_path / "run.pt")
    assert ("teacher" in torch.load(tmp_path / "run.pt", weights_only=True)) == (method.teacher == "copy")
    torch.manual_seed(99)
    second = start(method)
    assert checkpoint.restore(second, tmp_path / "run.pt")
    list(fit(method, second, feed[3:], SETTINGS, steps=8, accelerator=engine))
    torch.testing.assert_close(state(second), state(whole), rtol=0, atol=0)


def test_a_batch_that_is_not_a_number_is_kept_with_its_boxes(engine, batch, tmp_path):
    method = DETECTION_METHODS["supervised"]()
    bad = batch._replace(labeled=batch.labeled._replace(strong=batch.labeled.strong * math.nan))
    with pytest.raises(Diverged, match="box nan"):
        list(fit(method, start(method), [bad] * 9, SETTINGS, steps=9, accelerator=engine, diary=tmp_path))
    saved = torch.load(tmp_path / "batch-1.pt", weights_only=True)
    assert saved["labeled"][2].isnan().all()
    torch.testing.assert_close(saved["labeled"][3][0][0], batch.labeled.strong_boxes[0].places)
    torch.testing.assert_close(saved["pool"][4], batch.pool.move)


@pytest.mark.parametrize("part", ["labeled", "pool"])
def test_a_label_that_is_no_class_is_seen_before_it_is_on_a_gpu(part, engine, batch, monkeypatch):
    monkeypatch.setattr(loop, "to_float", lambda *_: pytest.fail("it is on the device already"))
    method, seen = DETECTION_METHODS["supervised"](), getattr(batch, part)
    last = seen.strong_boxes[0]._replace(labels=seen.strong_boxes[0].labels + 3)
    bad = batch._replace(**{part: seen._replace(strong_boxes=(last, *seen.strong_boxes[1:]))})
    with pytest.raises(BadInput, match=r"image 0 has a box of label ., but 3 classes are 0 to 2"):
        list(fit(method, start(method), [bad], SETTINGS, steps=1, accelerator=engine))


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # of torch 2.11's own parts
def test_a_detector_behind_torch_compile_is_told_how_to_compile():
    student = torch.compile(create_detector(DetectorSpec(width=8, channels=8), 3))
    with pytest.raises(BadInput, match=r"hides that the student is a Fcos\. Compile it in place: student\.compile\(\)"):
        loop._together(student)
    student._orig_mod.compile()
    assert loop._together(student._orig_mod) is DetectorNets


def test_a_detection_method_that_needs_a_teacher_says_so():
    method = DETECTION_METHODS["stac"]()
    with pytest.raises(BadInput, match="STAC learns from a given teacher"):
        begin(method, detector_nets(method).student, None, Sizes(3, 4, 3, 8), SETTINGS)


@pytest.mark.parametrize("cls", DETECTION_METHODS.values(), ids=DETECTION_METHODS)
def test_numbers_out_of_range_are_refused_by_name(cls):
    refuses_numbers_out_of_range(cls)


@pytest.mark.parametrize("name", DETECTION_METHODS)
def test_a_student_is_told_what_was_looked_for_in_labelled_images_and_that_a_teacher_looks_for_all(name):
    method, batch = DETECTION_METHODS[name](), scene_batch()
    batch.labeled.known[1, 2] = False
    student, teacher = Scripted(), Scripted(found(0.9), rois=[torch.zeros(2, 4)])
    method.loss(scripted_nets(method, student, teacher), batch)
    images = student.asked[-1][0]
    doubted = [row for row in range(len(images)) if not student.known[row].all()]
    assert doubted == [1, 4]  # of both views of three images the second one
    assert student.known[1].tolist() == student.known[4].tolist() == [True, True, False]
    assert student.known.shape == (len(images), 3)
