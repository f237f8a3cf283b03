from functools import partial

import pytest
import torch
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou

from tutelage.models import box_matching
from tutelage.models.box_coding import positions
from tutelage.models.box_matching import IGNORED, NONE, assigned, by_overlap, by_scale, overlaps, sampled
from tutelage.types import Boxes

CPU = torch.device("cpu")
padded = partial(box_matching.padded, classes=40)


def some(*places, weight=None, place_weight=None):
    k = len(places)
    one = torch.ones(k)
    return Boxes(
        torch.tensor(places, dtype=torch.float32).reshape(-1, 4), torch.arange(k),
        one if weight is None else torch.tensor(weight), one if place_weight is None else torch.tensor(place_weight),
    )  # fmt: skip


def random_boxes(n, size=64.0):
    low = size * torch.rand(n, 2)
    return torch.cat([low, low + 4 + size / 2 * torch.rand(n, 2)], dim=1)


def test_a_batch_is_as_wide_as_its_fullest_image():
    targets = padded([some(), some([0, 0, 4, 4], [1, 1, 1, 5])], torch.tensor([1.0, 0.5]), CPU)
    assert targets.places.shape == (2, 2, 4)
    assert targets.valid.tolist() == [[False, False], [True, False]]  # the last has no area
    assert padded([some(), some()], None, CPU).valid.tolist() == [[False], [False]]


def test_fcos_matches_by_hand():
    squares, levels = positions([(4, 4), (2, 2)], [8, 16], CPU), [16, 4]
    boxes = some([0, 0, 32, 32], [2, 2, 14, 14], [0, 0, 0, 9])
    match = by_scale(padded([boxes], None, CPU), squares, levels, radius=1.5)[0]
    # The large box: centre 16, 16; nearer than 12 are the four centres 12 and 20 of stride 8, farthest side 20 away.
    # The small one: centre 8, 8 and inside of it are the centres 4 and 12; where both fit, 12 12, the smaller wins.
    small, large = {(0, 0), (0, 1), (1, 0), (1, 1)}, {(1, 2), (2, 1), (2, 2)}
    expected = [[1 if (y, x) in small else 0 if (y, x) in large else NONE for x in range(4)] for y in range(4)]
    assert match[:16].reshape(4, 4).tolist() == expected
    assert match[16:].tolist() == [NONE] * 4  # of stride 16: farthest sides of 64 and more, but none is so far


def test_what_lies_in_a_box_that_is_not_believed_is_no_background():
    """A crowd of 32 x 32 pixels, of which one object, 2 to 14, was drawn by itself: positions, then anchors."""
    squares, levels = positions([(5, 5), (2, 2)], [8, 16], CPU), [25, 4]
    boxes = padded([some([0, 0, 32, 32], [2, 2, 14, 14], weight=[0.0, 1.0], place_weight=[0.0, 1.0])], None, CPU)
    match = by_scale(boxes, squares, levels, radius=1.5)[0]
    fine = match[:25].reshape(5, 5)
    assert (fine[:2, :2] == 1).all()
    assert (fine == NONE).nonzero().tolist() == [[y, x] for y in range(5) for x in range(5) if 4 in (x, y)]
    assert match[25:].tolist() == [IGNORED] * 4
    said = assigned(boxes, match[None], squares)
    assert said.weight[0, :25].reshape(5, 5).sum().item() == 9 + 4

    anchors = torch.tensor([[3.0, 3, 14, 14], [20, 20, 28, 28], [28, 0, 36, 8], [29, 0, 37, 8], [1, 1, 32, 32]])
    match = by_overlap(boxes, anchors, high=0.5, low=0.5, each=False)
    assert match.tolist() == [[1, IGNORED, IGNORED, NONE, 0]]


def test_fcos_ranges_hand_over_from_level_to_level():
    squares, levels = positions([(8, 8), (4, 4)], [8, 16], CPU), [64, 16]
    boxes = some([0, 0, 64, 64], [0, 0, 64, 40])
    large, wide = (by_scale(padded([Boxes(*(v[i : i + 1] for v in boxes))], None, CPU), squares, levels, radius=9.0)[0]
                   for i in (0, 1))  # fmt: skip
    # Centres of stride 8 are 4, 12, ... 60: of 0..64 the farthest side is at least 36 away, less than 64.
    assert (large[:64] == 0).all()
    assert (large[64:] == NONE).all()  # the coarsest takes 64 and more, and from 8, 24, 40, 56 it is at most 56
    assert (wide[:64].reshape(8, 8)[:5] == 0).all()
    assert (wide[:64].reshape(8, 8)[5:] == NONE).all()  # centres below 40 are outside


@pytest.mark.parametrize("each", [True, False])
def test_overlap_matches_are_torchvisions(each):
    torch.manual_seed(3)
    anchors, scenes = random_boxes(200), [random_boxes(k) for k in (5, 1, 30)]
    targets = padded([some(*scene.tolist()) for scene in scenes], None, CPU)
    ours = by_overlap(targets, anchors, high=0.5, low=0.4, each=each)
    matcher = Matcher(0.5, 0.4, allow_low_quality_matches=each)
    for found, scene in zip(ours, scenes, strict=True):
        expected = matcher(box_iou(scene, anchors))
        assert (found == expected).all()
    assert (ours >= 0).any()
    assert (ours == IGNORED).any()


def test_a_box_that_nothing_overlaps_claims_nothing():
    """torchvision would give it every anchor: all are its best, at 0."""
    targets = padded([some([100, 100, 110, 110])], None, CPU)
    anchors = torch.tensor([[0.0, 0, 8, 8], [8, 0, 16, 8]])
    assert by_overlap(targets, anchors, high=0.5, low=0.4, each=True).tolist() == [[NONE, NONE]]


def test_a_crowd_is_matched_in_parts_to_the_same(monkeypatch):
    torch.manual_seed(4)
    anchors = random_boxes(50)
    targets = padded([some(*random_boxes(k).tolist()) for k in (7, 1, 40)], None, CPU)
    regions = torch.stack([anchors, anchors.flip(0), anchors.roll(3, 0)])
    at_once = [by_overlap(targets, a, high=0.5, low=0.3, each=True) for a in (anchors, regions)]
    monkeypatch.setattr(box_matching, "_AT_ONCE", 1)
    for whole, a in zip(at_once, (anchors, regions), strict=True):
        assert (by_overlap(targets, a, high=0.5, low=0.3, each=True) == whole).all()
    assert (at_once[0][1:] != at_once[1][1:]).any()


def test_overlaps_are_torchvisions():
    one, two = torch.stack([random_boxes(4), random_boxes(4)]), random_boxes(9)
    expected = torch.stack([box_iou(each, two) for each in one])
    torch.testing.assert_close(overlaps(one, two), expected)
    assert overlaps(torch.zeros(1, 1, 4), torch.zeros(1, 4)) == 0


def test_what_a_position_is_to_say():
    boxes = some([0, 0, 4, 4], [4, 4, 8, 8], weight=[0.5, 0.0], place_weight=[0.25, 1.0])
    targets = padded([boxes, boxes], torch.tensor([1.0, 2.0]), CPU)
    anchors = torch.tensor([[1.0, 1, 2, 2]] * 4)
    match = torch.tensor([[0, 1, NONE, IGNORED]] * 2)
    said = assigned(targets, match, anchors)
    assert said.foreground.tolist() == [[True, True, False, False]] * 2
    assert said.labels.tolist() == [[0, 1, 0, 0]] * 2
    assert said.weight.tolist() == [[0.5, 0, 1, 0], [1, 0, 2, 0]]  # box 1 is neither object nor background
    assert said.place_weight.tolist() == [[0.25, 1, 0, 0], [0.5, 2, 0, 0]]
    assert said.place_counted.tolist() == [[0.25, 1, 1, 0], [0.5, 2, 2, 0]]
    assert said.places[0].tolist() == [[0, 0, 4, 4], [4, 4, 8, 8], [1, 1, 2, 2], [1, 1, 2, 2]]
    assert said.counts.tolist() == [[True, True, True, False]] * 2
    assert said.one_hot(2)[0].tolist() == [[1, 0], [0, 1], [0, 0], [0, 0]]


def test_samples_keep_to_their_numbers():
    found = torch.tensor([[0] * 10 + [NONE] * 30 + [IGNORED] * 5, [NONE] * 45, [0] * 2 + [NONE] * 3 + [IGNORED] * 40])
    drawn = sampled(found, torch.ones_like(found, dtype=torch.bool), number=16, foreground=0.25)
    objects, others = (drawn & (found >= 0)).sum(1), (drawn & (found == NONE)).sum(1)
    assert objects.tolist() == [4, 0, 2]
    assert others.tolist() == [12, 16, 3]
    assert not (drawn & (found == IGNORED)).any()
    usable = found != NONE
    assert not (sampled(found, usable, number=16, foreground=0.25) & (found == NONE)).any()


def test_every_anchor_is_drawn_as_often():
    torch.manual_seed(0)
    found = torch.zeros(4000, 8, dtype=torch.long)
    share = sampled(found, found == 0, number=4, foreground=0.5).float().mean(0)
    torch.testing.assert_close(share, torch.full((8,), 0.25), atol=0.03, rtol=0)
