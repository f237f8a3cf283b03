"""What nobody looked for in an image is no background: for sets that were each marked for their own classes."""

import math

import pytest
import torch

from tutelage.models.box_matching import Assigned, check_asked
from tutelage.models.detectors import DetectorSpec, create_detector
from tutelage.types import BadInput, Boxes

SPEC = {"width": 8, "channels": 8, "image_size": 64}
IMAGES = 2
SOME = torch.tensor([[True, False, True]]).expand(IMAGES, 3)
NOTHING = Boxes(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0), torch.zeros(0))
OBJECT = Boxes(torch.tensor([[8.0, 8, 40, 40]]), torch.tensor([1]), torch.ones(1), torch.ones(1))
KINDS = ["fcos", "retinanet", "faster_rcnn"]


def detector(kind):
    return create_detector(DetectorSpec(kind=kind, **SPEC), 3).eval()


def asked(net, targets, **more):
    torch.manual_seed(1)  # samples of faster_rcnn
    return net(torch.linspace(0, 1, IMAGES * 3 * 64 * 64).reshape(IMAGES, 3, 64, 64), targets, **more)


@pytest.mark.parametrize("kind", KINDS)
def test_where_all_was_looked_for_nothing_changes(kind):
    net, targets = detector(kind), [OBJECT, NOTHING]
    plain, told = asked(net, targets), asked(net, targets, known=torch.ones(IMAGES, 3, dtype=torch.bool))
    assert all(torch.equal(plain[name], told[name]) for name in plain)


def slopes(kind, targets, known):
    """Of the classification, by image and class: the steepest over all positions."""
    seen = asked(detector(kind), targets, known=known, look=True)
    (slope,) = torch.autograd.grad(seen.losses["classification"], seen.dense["logits"])
    return slope.abs().amax(1)


@pytest.mark.parametrize("kind", ["fcos", "retinanet"])
def test_no_position_is_background_to_what_nobody_looked_for(kind):
    assert ((slopes(kind, [NOTHING] * IMAGES, SOME) > 0) == SOME).all()
    first = torch.tensor([[True, False, True], [True, True, True]])  # each image has its own
    assert ((slopes(kind, [NOTHING] * IMAGES, first) > 0) == first).all()


@pytest.mark.parametrize("kind", ["fcos", "retinanet"])
@pytest.mark.parametrize("label", [1, 0])
def test_an_object_is_of_its_class_and_of_no_other_whatever_was_looked_for(kind, label):
    """So classes are told apart that were never marked in one image."""
    objects = OBJECT._replace(labels=torch.tensor([label]))
    found = slopes(kind, [objects, NOTHING], SOME)
    assert ((found > 0) == torch.tensor([[True, True, True], [True, False, True]])).all()


@pytest.mark.parametrize("kind", KINDS)
def test_parts_of_a_batch_keep_what_was_looked_for(kind):
    net, known = detector(kind), torch.tensor([[True, False, True], [True, True, True]])
    both, first = asked(net, [NOTHING] * IMAGES, known=known, parts=[1, 1]), asked(net, [NOTHING] * IMAGES, known=SOME)
    name = "rpn_objectness" if kind == "faster_rcnn" else "classification"
    assert both[f"0.{name}"] != both[f"1.{name}"]
    with pytest.raises(BadInput, match="`known` is of 1 images, and there are 2"):
        check_asked(torch.zeros(2, 3, 8, 8), [NOTHING] * 2, None, None, SOME[:1])
    assert first.keys() == {each.split(".", 1)[1] for each in both}


def test_a_region_without_an_object_is_background_or_of_a_class_that_nobody_looked_for():
    """Two regions of one image, p = 0.5, 0.2, 0.3, 0 with the background first; the second one is an object."""
    logits = torch.tensor([[0.5, 0.2, 0.3, 0.0]]).add(1e-30).log().repeat(2, 1)
    rois = (torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 9]]),)
    there = torch.tensor([[False, True]])
    to_say = Assigned(there, there.long(), rois[0][None], torch.ones(1, 2), there.float())
    net, known = detector("faster_rcnn"), torch.tensor([[True, False, True]])
    terms = net.roi_losses(logits, torch.zeros(2, 4, 4), rois, to_say, known)
    expected = (-math.log(0.5 + 0.3) - math.log(0.3)) / 2  # the object is of class 1, whose column is 2
    torch.testing.assert_close(terms["roi_classification"], torch.tensor(expected))


def test_background_of_proposals_weighs_the_share_of_classes_that_were_looked_for():
    there = torch.tensor([[True, False], [True, False]])
    to_say = Assigned(there, there.long(), torch.zeros(2, 2, 4), torch.full((2, 2), 0.5), there.float())
    known = torch.tensor([[True, False, False, False], [True, True, True, True]])
    assert to_say.background_by(known).weight.tolist() == [[0.5, 0.125], [0.5, 0.5]]
    assert to_say.background_by(None) is to_say
    net = detector("faster_rcnn")
    partly, whole = (asked(net, [OBJECT, OBJECT], known=each) for each in (SOME, None))
    assert partly["rpn_objectness"] != whole["rpn_objectness"]
