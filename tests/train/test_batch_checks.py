"""What `begin` and `fit` refuse, each with a word; torch had trained on some of it, and told the rest its own way."""

import math

import numpy as np
import pytest
import torch
from multi_fixtures import multi_batch, multi_net
from scene_fixtures import scene_batch
from tiny import Tiny, make_batch
from tiny_detector import TinyDetector
from torch import nn

from tutelage.data.batch_views import Planned
from tutelage.methods import METHODS
from tutelage.methods.detection import DETECTION_METHODS
from tutelage.methods.multitask import MULTITASK_METHODS
from tutelage.train.checks import check_batch
from tutelage.train.loop import begin, fit
from tutelage.train.settings import Optimiser
from tutelage.types import BadInput, Sizes

KD, DETECT, MULTI = METHODS["kd"](), DETECTION_METHODS["supervised"](), MULTITASK_METHODS["must"]()
SETTINGS, SIZES = Optimiser(), Sizes(6, 8, 3, 9)


def labeled(**change):
    return lambda batch: batch._replace(labeled=batch.labeled._replace(**{k: f(batch) for k, f in change.items()}))


def unlabeled(**change):
    return lambda batch: batch._replace(unlabeled=batch.unlabeled._replace(**{k: f(batch) for k, f in change.items()}))


WRONG = {
    "a loader's pair": (lambda b: b.labeled[:2], "a batch is a tuple: tutelage.types.Batch is seen, of labeled, unl"),
    "a plain part": (lambda b: b._replace(labeled=tuple(b.labeled)), "`labeled` is a tuple: .*Labeled is seen, of we"),
    "pixels in 0..255": (labeled(strong=lambda b: 255 * b.labeled.strong), r"labeled.strong` has pixels .* by 255"),
    "a mean taken off": (unlabeled(weak=lambda b: 4 * b.unlabeled.weak - 2), r"unlabeled.weak` has .*take no mean off"),
    "channels last": (labeled(weak=lambda b: b.labeled.weak.permute(0, 2, 3, 1)), r"shape \(6, 8, 8, 3\): .*permute"),
    "grey": (labeled(weak=lambda b: b.labeled.weak[:, :1]), r"`labeled.weak` is float32 of shape \(6, 1, 8, 8\)"),
    "double": (labeled(weak=lambda b: b.labeled.weak.double()), r"`labeled.weak` is float64 of .* else .float\(\)"),
    "an array": (labeled(strong=lambda b: b.labeled.strong.numpy()), "is a ndarray: it must be a tensor .*from_numpy"),
    "a view less": (labeled(strong=lambda b: b.labeled.strong[1:]), r"strong` is .*\(5, 3, 8, 8\): it must be \[6, 3"),
    "labels from 1": (labeled(labels=lambda b: b.labeled.labels + 1), "`labels` hold 3, but 3 classes.*0 to 2.*Subtra"),
    "ignored labels": (labeled(labels=lambda b: b.labeled.labels * 0 - 100), "`labels` hold -100, .*into `unlabeled`"),
    "labels of bytes": (labeled(labels=lambda b: b.labeled.labels.byte()), r"`labels` is uint8 .*int64 \[6\].*long\("),
    "one-hot labels": (labeled(labels=lambda b: torch.eye(3)[b.labeled.labels]), r"`labels` is .*\(6, 3\): .*argmax"),
    "a label less": (labeled(labels=lambda b: b.labeled.labels[1:]), r"`labels` is int64 .*\(5,\): .*int64 \[6\]"),
    "no target": (unlabeled(target=lambda _: None), r"`target` is a NoneType: .*float32 \[8, classes\].*zeros where"),
    "a target of bytes": (unlabeled(target=lambda b: b.unlabeled.target.byte()), "`target` is uint8"),
    "logits": (unlabeled(target=lambda b: 9 * b.unlabeled.target), r"`target` has a row of 9 .*softmax\(1\)"),
    "a row below 0": (unlabeled(target=lambda _: torch.tensor([[-1.0, 1, 1]] * 8)), "`target` has a row of 1 .* -1 to"),
    "weight below 0": (unlabeled(weight=lambda b: -b.unlabeled.weight), "`weight` holds -1: trust is 0 or more"),
    "a weight a class": (unlabeled(weight=lambda b: b.unlabeled.target), r"`weight` is .*\(8, 3\): .*\[8\]"),
    "ids of names": (unlabeled(ids=lambda b: b.unlabeled.ids.float()), r"`ids` is float32 .*int64 \[8\]"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "told"), WRONG.values(), ids=list(WRONG))
def test_a_batch_that_is_wrong_is_told_what_it_must_be(change, told):
    with pytest.raises(BadInput, match=told):
        check_batch(change(make_batch(labeled=6, unlabeled=8)), KD, Tiny(4))


RIGHT = {
    "as it is": lambda b: b,
    "bytes": labeled(weak=lambda b: (255 * b.labeled.weak).byte(), strong=lambda b: (255 * b.labeled.strong).byte()),
    "a plan": labeled(weak=lambda b: Planned((255 * b.labeled.weak).byte(), torch.zeros(6, 2, 3), torch.zeros(6, 4))),
    "a view that overshoots": labeled(strong=lambda b: 1.2 * b.labeled.strong - 0.1),
    "not finite": labeled(weak=lambda b: b.labeled.weak * math.nan, strong=lambda b: b.labeled.strong / 0),
    "halves": unlabeled(target=lambda b: b.unlabeled.target.half(), weight=lambda b: b.unlabeled.weight.half()),
    "no pool": lambda b: b._replace(unlabeled=type(b.unlabeled)(*(x[:0] for x in b.unlabeled))),
    "no labels": lambda b: b._replace(labeled=type(b.labeled)(*(x[:0] for x in b.labeled))),
    "not on the CPU": labeled(labels=lambda b: b.labeled.labels.to("meta") - 100),  # there is no number to read
}


@pytest.mark.parametrize("change", RIGHT.values(), ids=list(RIGHT))
def test_what_a_network_can_learn_from_passes(change):
    check_batch(change(make_batch(labeled=6, unlabeled=8)), KD, Tiny(4))


def test_images_of_scenes_and_of_several_tasks_are_pixels_too():
    scenes, several = scene_batch(), multi_batch()
    check_batch(scenes, DETECT, TinyDetector(classes=3))
    check_batch(several, MULTI, multi_net())
    loud = scenes._replace(pool=scenes.pool._replace(strong=255 * scenes.pool.strong))
    with pytest.raises(BadInput, match="`strong` has pixels"):
        check_batch(loud, DETECT, TinyDetector(classes=3))
    double = several._replace(labeled=several.labeled._replace(images=several.labeled.images.double()))
    with pytest.raises(BadInput, match="`images` is float64"):
        check_batch(double, MULTI, multi_net())


def test_fit_looks_before_it_trains(engine, batch):
    run = begin(KD, Tiny(4), Tiny(6), SIZES, SETTINGS)
    before = run.nets.student.head.weight.clone()
    with pytest.raises(BadInput, match=r"a batch is a SceneBatch: .*Batch is seen"):
        next(fit(KD, run, [scene_batch()], SETTINGS, steps=9, accelerator=engine))
    numbers = batch._replace(labeled=batch.labeled._replace(labels=np.zeros(6)))
    with pytest.raises(BadInput, match="`labels` is a ndarray"):
        next(fit(KD, run, [numbers], SETTINGS, steps=9, accelerator=engine))
    assert torch.equal(run.nets.student.head.weight, before)


@pytest.mark.parametrize(
    ("method", "student", "teacher", "told"),
    [
        (KD, nn.Conv2d(3, 3, 1), Tiny(6), "the student is a Conv2d, and KD is for a Network. .*Outputs.*library.md"),
        (KD, Tiny(4), nn.Conv2d(3, 3, 1), "the teacher is a Conv2d, and KD is for a Network"),
        (KD, TinyDetector(classes=3), Tiny(6), "the student is a TinyDetector, and KD .*Detector .* methods.detection"),
        (DETECT, Tiny(4), None, "the student is a Tiny, and Supervised is for a Detector. .*create_detector"),
        (MULTI, Tiny(4), None, "the student is a Tiny, and MuST is for a Multi. One is models.multi.MultiNet"),
    ],
)  # fmt: skip
def test_a_network_of_another_kind_than_the_method_is_for_is_told_at_the_start(method, student, teacher, told):
    with pytest.raises(BadInput, match=told):
        begin(method, student, teacher, SIZES, SETTINGS)
