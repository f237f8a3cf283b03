import numpy as np
import pytest
import torch

from tutelage.data.orientations import Orientation, change_of, orientations, oriented, upright
from tutelage.data.scene_views import SceneViews, strong_scene, weak_scene

SIZE = 8
ALL = orientations(mirror=True, turn=True)


def test_as_many_as_are_allowed_and_as_it_is_comes_first():
    assert [len(orientations(mirror=m, turn=t)) for m in (False, True) for t in (False, True)] == [1, 4, 2, 8]
    assert ALL[0] == Orientation()
    assert SceneViews().ways == [Orientation(), Orientation(mirrored=True)]


def test_all_of_them_show_different_pictures():
    picture = torch.arange(SIZE * SIZE).float().reshape(SIZE, SIZE)
    assert len({tuple(oriented(picture, way).flatten().tolist()) for way in ALL}) == 8


@pytest.mark.parametrize("way", ALL)
def test_a_box_comes_back_from_where_its_pixels_went(way):
    x1, y1, x2, y2 = 1, 2, 4, 7
    picture = torch.zeros(SIZE, SIZE)
    picture[y1:y2, x1:x2] = 1
    rows, columns = oriented(picture, way).nonzero().T
    seen = torch.tensor([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]]).float()
    assert upright(seen, way, SIZE).tolist() == [[x1, y1, x2, y2]]


@pytest.mark.parametrize("way", ALL)
def test_the_matrix_of_a_view_and_the_turned_pixels_agree(way):
    picture = torch.zeros(SIZE, SIZE)
    picture[2, 6] = 1
    row, column = oriented(picture, way).nonzero()[0].tolist()
    x, y = change_of(way) @ (np.array([6.5, 2.5]) - SIZE / 2) + SIZE / 2
    assert (y, x) == (row + 0.5, column + 0.5)


@pytest.mark.parametrize("view", [weak_scene, strong_scene])
def test_views_lie_in_each_allowed_way_and_boxes_follow(view):
    views = SceneViews(turn=True, scale=0.0, translate=0.0, colour=0.0, grey=0.0, blur=0.0, erasing=0.0)
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    image[1:3, 2:7] = 255
    place, seen = torch.tensor([[2.0, 1, 7, 3]]), set()
    for key in range(60):
        shown = view(views, SIZE)(image, place, (key,))
        x1, y1, x2, y2 = shown.places[0].long().tolist()
        assert (shown.image[y1:y2, x1:x2] == 255).all()
        assert shown.image.sum() == image.sum()
        seen.add((x1, y1, x2, y2))
    assert len(seen) == 8


def test_without_turn_views_are_drawn_as_ever():
    image, place = np.arange(SIZE * SIZE * 3, dtype=np.uint8).reshape(SIZE, SIZE, 3), torch.tensor([[2.0, 1, 7, 3]])
    shown = weak_scene(SceneViews(scale=0.0, translate=0.0), SIZE)
    assert {tuple(shown(image, place, (key,)).places[0].tolist()) for key in range(20)} == {(2, 1, 7, 3), (1, 1, 6, 3)}
