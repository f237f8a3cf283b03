"""Parts of a batch: their means are their own, and one without images says nothing."""

import pytest
import torch

from tutelage.models import box_matching
from tutelage.models.detectors import DetectorSpec, create_detector
from tutelage.types import BadInput, Boxes

SPEC = {"width": 8, "channels": 8, "image_size": 64}


def some_boxes(number):
    low = 40 * torch.rand(number, 2)
    places = torch.cat([low, low + 8 + 12 * torch.rand(number, 2)], dim=1)
    return Boxes(places, torch.arange(number) % 3, torch.ones(number), torch.ones(number))


@pytest.fixture(params=["fcos", "retinanet", "faster_rcnn"])
def detector(request):
    return create_detector(DetectorSpec(kind=request.param, **SPEC), 3).eval()  # eval: images do not meet in batch norm


def losses(net, *asked, **more):
    torch.manual_seed(1)  # samples of faster_rcnn
    return net(*asked, **more)


def test_a_part_has_the_losses_that_it_would_have_alone(detector):
    images, targets = torch.rand(3, 3, 64, 64), [some_boxes(2), some_boxes(0), some_boxes(5)]
    weight = torch.tensor([1.0, 0.5, 1.0])
    together = losses(detector, images, targets, weight, parts=[1, 2])
    first = losses(detector, images[:1], targets[:1], weight[:1])
    assert together.keys() == {f"{part}.{name}" for part in (0, 1) for name in first}
    for name, value in first.items():
        torch.testing.assert_close(together[f"0.{name}"], value, rtol=1e-4, atol=1e-5)


def test_a_part_without_images_is_silent_and_named(detector):
    images, targets = torch.rand(2, 3, 64, 64), [some_boxes(2), some_boxes(1)]
    whole, parted = losses(detector, images, targets), losses(detector, images, targets, parts=[0, 2, 0])
    for name, value in whole.items():
        assert parted[f"0.{name}"] == 0
        assert parted[f"2.{name}"] == 0
        if "regression" not in name:  # what is drawn is drawn anew for each part
            torch.testing.assert_close(parted[f"1.{name}"], value, rtol=0.2, atol=0.05)
    sum(parted.values()).backward()
    assert all(p.grad is not None for p in detector.parameters())


@pytest.mark.parametrize("label", [3, -1])
def test_a_label_that_is_no_class_is_refused(detector, label):
    boxes = some_boxes(2)
    boxes.labels[1] = label
    with pytest.raises(BadInput, match=rf"image 1 has a box of label {label}, but 3 classes are 0 to 2"):
        detector(torch.rand(2, 3, 64, 64), [some_boxes(2), boxes])


@pytest.mark.parametrize("label", [3, -1])
def test_where_labels_cannot_be_looked_at_one_that_is_no_class_spoils_the_loss(detector, label, monkeypatch):
    monkeypatch.setattr(box_matching, "check_boxes", lambda *_: None)  # as of labels on a GPU
    boxes = some_boxes(2)
    boxes.labels[1] = label
    assert sum(detector(torch.rand(2, 3, 64, 64), [some_boxes(2), boxes]).values()).isnan()


@pytest.mark.parametrize("name", ["weight", "place_weight"])
def test_trust_below_0_is_refused(detector, name):
    """It would teach a detector not to see what is there."""
    boxes = some_boxes(2)
    getattr(boxes, name)[1] = -0.5
    with pytest.raises(BadInput, match=rf"{name} of image 1 holds -0\.5: trust is 0 or more"):
        detector(torch.rand(2, 3, 64, 64), [some_boxes(2), boxes])


def test_an_image_of_trust_below_0_is_refused(detector):
    with pytest.raises(BadInput, match=r"`weight` holds -1: trust is 0 or more"):
        detector(torch.rand(2, 3, 64, 64), [some_boxes(2)] * 2, torch.tensor([1.0, -1.0]))


@pytest.mark.parametrize("name", ["weight", "place_weight", "image"])
def test_where_trust_cannot_be_looked_at_less_than_none_spoils_the_loss(detector, name, monkeypatch):
    monkeypatch.setattr(box_matching, "_check_weight", lambda *_: None)  # as of weights on a GPU
    boxes, weight = some_boxes(2), torch.ones(2)
    (weight if name == "image" else getattr(boxes, name))[1] = -0.5
    assert sum(detector(torch.rand(2, 3, 64, 64), [some_boxes(2), boxes], weight).values()).isnan()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ((torch.zeros(2, 3, 8, 8, dtype=torch.uint8), None, None, None), r"2 images of torch\.uint8.*floats in 0\.\.1"),
        ((torch.rand(0, 3, 8, 8), None, None, None), "0 images of"),
        ((torch.rand(2, 3, 8, 8), [some_boxes(2)], None, None), "`targets` is of 1 images, and there are 2"),
        ((torch.rand(2, 3, 8, 8), [], torch.ones(1), None), "`targets` is of 0 images"),
        ((torch.rand(2, 3, 8, 8), [some_boxes(2)] * 2, torch.ones(1), None), "`weight` is of 1 images"),
    ],
)
def test_what_is_not_one_for_each_image_is_refused(asked, said):
    with pytest.raises(BadInput, match=said):
        box_matching.check_asked(*asked)


def test_parts_are_of_all_images(detector):
    with pytest.raises(BadInput, match="`parts` is of 1 images, and there are 2"):
        detector(torch.rand(2, 3, 64, 64), [some_boxes(2)] * 2, parts=[1, 0])


@pytest.mark.parametrize("place", [[30.0, 30.0, 8.0, 40.0], [1.0, 2.0, float("nan"), 4.0]])
def test_places_that_are_not_two_corners_are_refused(detector, place):
    boxes = some_boxes(2)
    boxes.places[1] = torch.tensor(place)
    with pytest.raises(BadInput, match=r"image 0 has a box at \[.*not x1 y1 x2 y2.*add x to the width"):
        detector(torch.rand(1, 3, 64, 64), [boxes])


def test_weights_in_half_precision_train_and_answer(detector):
    half, images = detector.bfloat16(), torch.rand(2, 3, 64, 64).bfloat16()
    assert all(term.isfinite() for term in losses(half, images, [some_boxes(2), some_boxes(0)]).values())
    assert len(half(images)) == 2


def test_labels_that_are_no_whole_numbers_are_refused(detector):
    boxes = some_boxes(2)
    with pytest.raises(BadInput, match=r"image 0 has labels of torch\.float32: a label is the number of a class"):
        detector(torch.rand(1, 3, 64, 64), [boxes._replace(labels=boxes.labels + 0.7)])
