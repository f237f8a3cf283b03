"""What a detector is made from is refused where nothing would come of it."""

from dataclasses import replace

import pytest
from torch import nn

from tutelage.models.detectors import DetectorSpec, create_detector
from tutelage.types import BadInput


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"config": "a.yaml"}, "config is 'a.yaml', which only kind: detectron2 reads, not fcos"),
        ({"roi_loss": "focal"}, "roi_loss is 'focal', which only kind: faster_rcnn reads, not fcos"),
        ({"kind": "retinanet", "roi_loss": "focal"}, "only kind: faster_rcnn reads, not retinanet"),
        ({"anchor_scale": 9.0}, "anchor_scale is 9.0, which only kind: retinanet or faster_rcnn reads, not fcos"),
        ({"kind": "detectron2", "anchor_scale": 9.0}, "reads, not detectron2"),
        ({"kind": "retinanet", "head_convs": 5}, "head_convs is 5, but retinanet has 4 at most"),
    ],
)
def test_a_field_that_would_change_nothing_is_refused(fields, said):
    with pytest.raises(BadInput, match=said):
        DetectorSpec(**fields)


def test_a_field_is_taken_where_it_is_read_and_everywhere_as_it_is_left_out():
    read = DetectorSpec(kind="faster_rcnn", roi_loss="focal", anchor_scale=9.0)
    with pytest.raises(BadInput, match="roi_loss"):
        replace(read, kind="fcos")
    assert replace(read, kind="fcos", roi_loss="ce", anchor_scale=None) == DetectorSpec()


@pytest.mark.parametrize(("kind", "number"), [("retinanet", 1), ("retinanet", 4), ("fcos", 6)])
def test_a_head_has_as_many_convolutions_as_are_asked_for(kind, number):
    net = create_detector(DetectorSpec(kind=kind, width=4, head_convs=number), 2)
    for head in (net.classifier, net.regressor):
        assert sum(isinstance(each, nn.Conv2d) for each in head.conv.modules()) == number
