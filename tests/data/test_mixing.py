import pytest
import torch

from tutelage.data.mixing import mixed, mixup, mosaic
from tutelage.types import Boxes


def boxes(*places, label=0):
    places = torch.tensor(places, dtype=torch.float32).reshape(-1, 4)
    return Boxes(places, torch.full((len(places),), label), torch.full((len(places),), 0.9), torch.zeros(len(places)))


@pytest.fixture
def scenes():
    """Five images of 8x8, the colour of image k is k / 10; one has no box."""
    images = torch.arange(5).reshape(5, 1, 1, 1).expand(5, 3, 8, 8) / 10
    given = tuple(boxes((k, 0, 8, 8), label=k) for k in range(4))
    return images, (*given, boxes())


def test_mixup_is_the_mean_of_neighbours_with_the_boxes_of_both(scenes):
    images, given = mixup(*scenes)
    torch.testing.assert_close(images[:, 0, 0, 0], torch.tensor([0.05, 0.15, 0.25, 0.35, 0.2]))
    assert [one.labels.tolist() for one in given] == [[0, 1], [1, 2], [2, 3], [3], [0]]
    assert given[1].places.tolist() == [[1, 0, 8, 8], [2, 0, 8, 8]]
    assert given[1].weight.tolist() == pytest.approx([0.9, 0.9])


def test_a_mosaic_by_hand(scenes):
    images, given = mosaic(*scenes)
    quarters = images[0, 0, [0, 0, 7, 7], [0, 7, 0, 7]]
    torch.testing.assert_close(quarters, torch.tensor([0.0, 0.1, 0.2, 0.3]))
    assert given[0].labels.tolist() == [0, 1, 2, 3]
    assert given[0].places.tolist() == [[0, 0, 4, 4], [4.5, 0, 8, 4], [1, 4, 4, 8], [5.5, 4, 8, 8]]
    assert given[3].labels.tolist() == [3, 0, 1]  # the one after it has no box


def test_a_box_that_became_too_small_is_dropped():
    _, given = mosaic(torch.zeros(1, 3, 8, 8), (boxes((0, 0, 1.5, 8), (0, 0, 4, 4)),))
    assert given[0].places.tolist() == [[0, 0, 2, 2], [4, 0, 6, 2], [0, 4, 2, 6], [4, 4, 6, 6]]


@pytest.mark.parametrize(("how", "times"), [("none", 1), ("mixup", 2), ("mosaic", 2), ("both", 3)])
def test_mixtures_come_after_the_images_and_count_where_all_their_images_do(scenes, how, times):
    weight = torch.tensor([1.0, 0.8, 1.0, 1.0, 0.0])
    images, given, weights = mixed(*scenes, weight, how)
    assert len(images) == len(given) == len(weights) == 5 * times
    assert torch.equal(images[:5], scenes[0])
    if how in ("mixup", "both"):
        assert weights[5:10].tolist() == pytest.approx([0.8, 0.8, 1, 0, 0])
    if how in ("mosaic", "both"):
        assert weights[-5:].tolist() == pytest.approx([0.4, 0, 0, 0, 0])


@pytest.mark.parametrize("how", ["mixup", "mosaic", "both"])
def test_of_nothing_there_is_no_mixture(how):
    images, given, weight = mixed(torch.zeros(0, 3, 8, 8), (), torch.zeros(0), how)
    assert images.shape == (0, 3, 8, 8)
    assert given == ()
    assert weight.shape == (0,)


def test_one_image_mixes_with_itself(scenes):
    images, given, _ = mixed(scenes[0][1:2], scenes[1][1:2], torch.ones(1), "both")
    torch.testing.assert_close(images, scenes[0][1:2].expand(3, -1, -1, -1))
    assert [len(one.labels) for one in given] == [1, 2, 4]
