import pytest
import torch
from scene_fixtures import SIZE, Scripted, found, scene_batch, scripted_nets

from tutelage.methods.detection.stac import STAC
from tutelage.methods.detection.supervised import Supervised


def test_offline_boxes_under_strong_noise_weigh_lambda():
    """Two images of the pool were labelled, with a box of 0.8 each: 2 (2 * 100 + 2 * 0.8), of places 2 (200 + 2)."""
    method, batch, student = STAC(strong=0.0), scene_batch(), Scripted()
    terms = method.loss(scripted_nets(method, student, Scripted()), batch)
    assert terms["pool_classification"].item() == pytest.approx(2 * 201.6)
    assert terms["pool_box"].item() == pytest.approx(2 * 202)
    assert terms["classification"].item() == 300 + 4
    images, boxes, weight, parts = student.asked[0]
    assert parts == [3, 4]
    assert torch.equal(images, torch.cat([batch.labeled.weak, batch.pool.strong]))
    assert torch.equal(boxes[3].places, batch.pool.strong_boxes[0].places)
    assert weight.tolist() == [1, 1, 1, 1, 0, 1, 0]


def test_labelled_scenes_are_seen_in_both_views():
    """Their weak view's boxes count 2 here, the strong view's 1; a quarter of it is the strong one's."""
    method, batch, student = STAC(strong=0.25), scene_batch(), Scripted()
    assert STAC(strong=0.0).unread - method.unread == {"labeled.strong"}
    assert STAC().strong == Supervised().strong  # as its baseline
    weak = tuple(each._replace(weight=each.weight * 0.5) for each in batch.labeled.weak_boxes)
    strong = tuple(each._replace(weight=each.weight * 0.25) for each in batch.labeled.strong_boxes)
    batch = batch._replace(labeled=batch.labeled._replace(weak_boxes=weak, strong_boxes=strong))
    terms = method.loss(scripted_nets(method, student, Scripted()), batch)
    assert terms["classification"].item() == pytest.approx(301.75)
    assert terms["pool_classification"].item() == pytest.approx(2 * 201.6)
    images, _, weight, parts = student.asked[0]
    assert parts == [3, 3, 4]
    assert torch.equal(images[3:6], batch.labeled.strong)
    assert weight.tolist() == [1] * 6 + [1, 0, 1, 0]


def test_offline_the_teacher_is_not_asked():
    method = STAC()
    nets = scripted_nets(method, Scripted(), Scripted())
    method.loss(nets, scene_batch())
    assert nets.teacher.net.asked == []


def test_online_every_image_keeps_its_surest_box_and_it_moves_along():
    answers = found(0.95, 0.4), found(0.6, 0.4), found(), found(0.99, 0.91)
    method, batch, student = STAC(online=True), scene_batch(), Scripted()
    nets = scripted_nets(method, student, Scripted(*answers))
    method.loss(nets, batch)
    asked, _, _, _ = nets.teacher.net.asked[0]
    assert torch.equal(asked, batch.pool.weak)
    _, boxes, weight, _ = student.asked[0]
    assert [len(each.labels) for each in boxes[6:]] == [1, 1, 0, 2]
    assert weight.tolist() == [1] * 6 + [1, 1, 0, 1]
    assert boxes[6].places.tolist() == [[SIZE - 6, 2, SIZE - 2, 6]]
    assert boxes[6].weight.tolist() == boxes[6].place_weight.tolist() == [1]


@pytest.mark.parametrize(("mix", "images"), [("none", 4), ("mixup", 8), ("mosaic", 8), ("both", 12)])
def test_mixtures_are_more_images_of_the_pool(mix, images):
    method, student = STAC(mix=mix), Scripted()
    method.loss(scripted_nets(method, student, Scripted()), scene_batch())
    assert student.asked[0][3] == [3, 3, images]
