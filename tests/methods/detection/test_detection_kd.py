import pytest
import torch
from scene_fixtures import SIZE, Scripted, boxes, detector_nets, scene_batch, scripted_nets
from tiny_detector import TinyDetector

from tutelage.losses.soft_boxes import soft_positions, soft_regions
from tutelage.methods.detection.kd import KD
from tutelage.models.average import FrozenDetector
from tutelage.models.detectors import DetectorSpec, create_detector
from tutelage.types import BadInput, DetectorNets, Sizes


def test_positions_of_labelled_images_in_both_views_and_of_the_pool_in_the_strong_one():
    method, batch, student = KD(dense=2.0, unsupervised=0.25), scene_batch(), Scripted()
    teacher = Scripted()
    teacher.bias.data.fill_(1.0)
    nets = scripted_nets(method, student, teacher)
    terms = method.loss(nets, batch)
    images = torch.cat([batch.labeled.weak, batch.labeled.strong, batch.pool.strong])
    assert torch.equal(nets.teacher.net.asked[0][0], images)
    said = images[:, 0, :2, :2].flatten(1)[..., None].expand(-1, -1, 3)
    trust = torch.tensor([1.0] * 6 + [0.25] * 4)
    torch.testing.assert_close(terms["dense"], 2 * soft_positions(said, said + 1, trust))
    assert terms["classification"].item() == 608  # the labels; a pool image has none


def test_features_are_those_of_cells_in_boxes():
    method = KD(features=1.0)
    nets = detector_nets(method)
    nets.extra.eval()
    batch = scene_batch()
    nobody = batch._replace(labeled=scene_batch(given=False).labeled, pool=scene_batch(given=False).pool)
    once = method.loss(nets, batch)["features"]
    assert once > 0
    torch.testing.assert_close(KD(features=2.0).loss(nets, batch)["features"], 2 * once)
    assert method.loss(nets, nobody)["features"] == 0


def test_regions_are_the_students_and_the_teacher_judges_the_same():
    rois = torch.rand(2, 4), torch.rand(1, 4)
    method, batch = KD(regions=3.0, unsupervised=0.0), scene_batch()
    terms = method.loss(scripted_nets(method, Scripted(rois=rois), Scripted()), batch)
    judged = torch.cat([rois[0], rois[1]] * 3)  # of three labelled images, each in two views; the pool is silent
    expected = soft_regions(torch.zeros(9, 4), judged, torch.ones(9), background=1.5)
    torch.testing.assert_close(terms["regions"], 3 * expected)


def test_a_second_stage_is_compared_on_pool_images_too():
    """Whether a teacher wrote boxes of them or not. A box that nobody believes only keeps its regions out."""
    torch.manual_seed(0)
    spec = DetectorSpec(kind="faster_rcnn", image_size=SIZE, width=8, channels=8, levels=(4, 8))
    student, teacher = create_detector(spec, 3), FrozenDetector(create_detector(spec, 3))
    method, looks = KD(), []
    student.register_forward_hook(lambda net, args, look: looks.append(look))
    nets = DetectorNets(student, teacher, method.init(student, teacher, Sizes(3, 4, 3, 1)))
    doubted = tuple(boxes((0, 0, SIZE, SIZE / 2), weight=0.0, place_weight=0.0) for _ in range(4))
    batch = scene_batch()
    terms = method.loss(nets, batch)
    assert [name for name in terms if name.startswith("pool") or "." in name] == []
    method.loss(nets, batch._replace(pool=batch.pool._replace(strong_boxes=doubted)))
    plenty, fewer = (sum(map(len, look.rois[-4:])) for look in looks)
    assert all(len(rois) for rois in looks[0].rois)
    assert 0 < fewer < plenty


def test_detectors_that_do_not_fit_are_refused():
    method, student, other = KD(), TinyDetector(), TinyDetector()
    other.widths = {"p3": 8}
    with pytest.raises(BadInput, match=r"levels p2, its teacher's p3: give both detectors the same levels"):
        method.init(student, FrozenDetector(other), Sizes(1, 1, 3, 1))
    nets = detector_nets(method)._replace(teacher=FrozenDetector(TinyDetector(classes=2)))
    with pytest.raises(BadInput, match=r"\(36, 3\) positions and classes, its teacher \(36, 2\)"):
        method.loss(nets, scene_batch())
