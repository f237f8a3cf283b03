import pytest
from scene_fixtures import Scripted, scene_batch, scripted_nets

from tutelage.methods.detection.supervised import Supervised


@pytest.mark.parametrize(("share", "expected"), [(0.0, 302.0), (1.0, 301.0), (0.25, 301.75)])
def test_both_views_by_their_share(share, expected):
    """Three images count 100 each; the weak view's boxes here 2, the strong view's 1."""
    method, batch = Supervised(strong=share), scene_batch()
    weak = [each._replace(weight=each.weight * 0.5) for each in batch.labeled.weak_boxes]
    strong = [each._replace(weight=each.weight * 0.25) for each in batch.labeled.strong_boxes]
    batch = batch._replace(labeled=batch.labeled._replace(weak_boxes=tuple(weak), strong_boxes=tuple(strong)))
    student = Scripted()
    assert method.loss(scripted_nets(method, student), batch)["classification"].item() == pytest.approx(expected)
    images, _, weight, parts = student.asked[0]
    assert parts == [3, 3]
    assert weight.tolist() == [1] * 6
    assert (images[:3] == batch.labeled.weak).all()
