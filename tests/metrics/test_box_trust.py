import numpy as np
import pytest
import torch
from scenes_found import found, nothing_found

from tutelage.metrics import box_trust as trust

A, B = [0, 0, 10, 10], [100, 0, 110, 10]


def test_variance_by_hand():
    """Sides 8 and 12: mean side 10. x1 is 0 or 2: standard deviation sqrt(2) of two copies; the rest stands still."""
    box = torch.tensor([[0.0, 0, 8, 12]])
    copies = torch.tensor([[[0.0, 0, 8, 12], [2, 0, 8, 12]]])
    torch.testing.assert_close(trust.jitter_variance(box, copies), torch.tensor([2**0.5 / 4 / 10]))
    torch.testing.assert_close(trust.jitter_variance(3 * box, 3 * copies), torch.tensor([2**0.5 / 4 / 10]))
    between = torch.cat([copies, copies.mean(1, keepdim=True)], 1) + 5  # 0, 1 or 2, and the box is elsewhere
    torch.testing.assert_close(trust.jitter_variance(box + 5, between), torch.tensor([1 / 4 / 10]))
    assert trust.jitter_variance(box, box[:, None].repeat(1, 10, 1)).item() == 0
    assert trust.jitter_variance(box[:0], copies[:0]).shape == (0,)


def test_weights_of_regions():
    weights = trust.region_weight(torch.tensor([0.0, 0.3, 0.5, 1.0]))
    torch.testing.assert_close(weights, torch.tensor([0.25, 0.680361, 0.979543, 0.999989]), atol=1e-6, rtol=0)


def test_two_detectors_agree():
    one = found([A, B, [50, 50, 60, 60]], [0, 1, 0], [0.6, 0.9, 0.99])
    two = found([[100, 0, 110, 8], [0, 0, 10, 9], [50, 50, 60, 60]], [1, 0, 1], [0.7, 0.8, 0.5])
    both = trust.agreed(one, two)
    np.testing.assert_allclose(both.places, [B, [0, 0, 10, 9]])  # the surer of each pair; other classes do not agree
    np.testing.assert_allclose(both.scores, [0.9, 0.8])
    np.testing.assert_array_equal(both.labels, [1, 0])
    for a, b in zip(both, trust.agreed(two, one), strict=True):
        np.testing.assert_array_equal(a, b)


def test_agreement_asks_for_more_than_half_and_suppresses_from_three_tenths():
    half = found([[0, 0, 10, 5]], [0], [0.9])
    assert len(trust.agreed(found([A], [0], [0.8]), half).scores) == 0  # overlap 0.5, not more
    places = [A, [0, 5, 10, 15]]  # overlap 1 / 3 with each other
    pair = found(places, [0, 0], [0.9, 0.8])
    assert len(trust.agreed(pair, pair).scores) == 1
    assert len(trust.agreed(pair, pair, nms=0.4).scores) == 2
    other = found(places, [0, 1], [0.9, 0.8])
    assert len(trust.agreed(other, other).scores) == 2  # another class stays
    assert len(trust.agreed(nothing_found(), pair).scores) == 0


def test_fusion_by_hand():
    """Weighted scores 0.9 * 0.5 and 1.0 * 0.9 of two boxes that overlap by 0.8; the third detector sees nothing."""
    said = [found([A], [0], [0.5]), found([[0, 0, 10, 8]], [0], [0.9]), nothing_found()]
    fused = trust.fused(said)
    assert fused.places[0] == pytest.approx([0, 0, 10, (10 * 0.45 + 8 * 0.9) / 1.35])
    assert fused.scores[0] == pytest.approx((0.45 + 0.9) / 2 * 2 / 3.3)
    assert fused.labels.tolist() == [0]
    assert trust.fused(said, absent=False).scores[0] == pytest.approx((0.45 + 0.9) / 1.9)


def test_fusion_with_equal_weights_is_the_papers():
    three = [found([A], [0], [0.9]), found([A], [0], [0.6]), found([A], [0], [0.3])]
    assert trust.fused(three, weights=(1.0, 1.0, 1.0)).scores[0] == pytest.approx(0.6)  # the mean
    assert trust.fused(three[:1] + [nothing_found()] * 2, weights=(1.0, 1.0, 1.0)).scores[0] == pytest.approx(0.9 / 3)
    twice = found([A, A], [0, 0], [0.8, 0.6])
    assert trust.fused([twice], weights=(1.0,)).scores[0] == pytest.approx(0.7)  # no more than one detector counts


def test_boxes_join_the_fused_box_and_not_its_first():
    """[0, 10], [0, 14] (overlap 0.71) fuse to [0, 12]; [0, 19] overlaps that by 0.63, the first by 0.53 only."""
    said = found([[0, 0, 10, 10], [0, 0, 10, 14], [0, 0, 10, 19]], [0, 0, 0], [0.6, 0.6, 0.1])
    fused = trust.fused([said], weights=(1.0,))
    assert fused.places == pytest.approx(np.array([[0, 0, 10, (6 + 8.4 + 1.9) / 1.3]]))


def test_a_box_joins_the_fused_box_that_it_overlaps_most():
    """[2, 12] overlaps [0, 10] by 0.67 and [6, 16] by 0.43."""
    said = found([[0, 0, 10, 10], [0, 6, 10, 16], [0, 2, 10, 12]], [0, 0, 0], [0.9, 0.8, 0.1])
    assert trust.fused([said], weights=(1.0,), iou=0.3).scores == pytest.approx(np.array([0.8, (0.9 + 0.1) / 2]))


def test_classes_and_distant_boxes_stay_apart_and_the_surest_comes_first():
    fused = trust.fused([found([A, A, B], [0, 1, 0], [0.5, 0.9, 0.7])], weights=(1.0,))
    assert fused.labels.tolist() == [1, 0, 0]
    np.testing.assert_allclose(fused.scores, [0.9, 0.7, 0.5])
    assert trust.fused([nothing_found(), nothing_found()], weights=(1.0, 1.0)).places.shape == (0, 4)
    with pytest.raises(ValueError, match="2 detectors have 3 weights"):
        trust.fused([nothing_found(), nothing_found()])
