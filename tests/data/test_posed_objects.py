import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tutelage.data.keypoints import EXTREMES, MARGIN, Found, Poses, _of_picture, extreme_points, of_coco
from tutelage.types import BadInput

MASK = np.array(
    [
        [0, 0, 0, 0, 0, 0],
        [0, 0, 1, 1, 1, 0],
        [0, 1, 1, 1, 1, 0],
        [0, 1, 1, 0, 0, 1],
        [0, 0, 1, 0, 0, 0],
    ],
    bool,
)


def test_extreme_points_by_hand():
    """Of several topmost pixels the middle one; a place is the middle of its pixel."""
    assert extreme_points(MASK).tolist() == [[3.5, 1.5], [2.5, 4.5], [1.5, 3.0], [5.5, 3.5]]


def test_a_picture_that_is_black_has_no_point():
    dark = _of_picture(np.full((8, 8, 3), 20, np.uint8))
    assert not dark.visible.any()
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:5, :6][MASK] = (0, 200, 0)
    found = _of_picture(pixels)
    assert found.points.tolist() == extreme_points(MASK).tolist()
    assert found.side == 5
    with pytest.raises(BadInput, match="none of 1 objects has a visible key point"):
        Poses([dark], EXTREMES)


def square(x, y, size=40):
    """A white square of 4 pixels from x, y, and a point in its middle."""
    pixels = np.zeros((size, size, 3), np.uint8)
    pixels[y : y + 4, x : x + 4] = 255
    return Found(pixels, np.array([[x + 2, y + 2]], np.float32), np.ones(1, bool), 4.0)


def middle(image):
    """Of what is bright, in pixels."""
    light = image.float().mean(0).numpy()
    y, x = np.indices(light.shape) + 0.5
    return [(light * x).sum() / light.sum(), (light * y).sum() / light.sum()]


def test_points_move_with_the_pixels():
    poses = Poses([square(18, 18), square(12, 25)], ("middle",))
    (seen,) = poses.batches(20, start=0, stop=1, seed=0, zoom=0.4, shift=0.2)
    assert seen.visible.all()
    for image, points in zip(seen.images, seen.points, strict=True):
        np.testing.assert_allclose(middle(image), points[0].numpy(), atol=0.1)
    assert seen.points.std() > 2


def test_what_leaves_the_image_is_not_visible():
    poses = Poses([square(0, 0)], ("middle",))
    (seen,) = poses.batches(60, start=0, stop=1, seed=0, zoom=0.0, shift=0.3)
    inside = ((seen.points >= 0) & (seen.points < 40)).all(-1)
    assert (seen.visible == inside).all()
    assert 5 < inside.sum() < 55


def test_a_step_sees_the_same_wherever_a_run_begins():
    poses = Poses([square(18, 18), square(12, 25)], ("middle",))
    more = {"seed": 3, "zoom": 0.2, "shift": 0.1}
    *_, last = poses.batches(4, start=0, stop=3, **more)
    (again,) = poses.batches(4, start=2, stop=3, **more)
    assert all((one == other).all() for one, other in zip(last, again, strict=True))


def write(folder, *annotations):
    """An image of 60 x 40 pixels with a square of 10 from 20, 10, and objects that are all around that."""
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[10:20, 20:30] = 255
    cv2.imwrite(str(folder / "a.png"), pixels)
    common = {"image_id": 1, "category_id": 1, "bbox": [20, 10, 10, 10]}
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 60, "height": 40}],
        "annotations": [common | {"id": number} | each for number, each in enumerate(annotations)],
        "categories": [{"id": 1, "name": "square"}],
    }
    (folder / "labelled.json").write_text(json.dumps(content))
    return folder / "labelled.json"


def test_objects_of_coco_are_cut_out_with_their_points(tmp_path):
    path = write(tmp_path, {"keypoints": [25, 15, 2, 30, 20, 1, 0, 0, 0]}, {"keypoints": [20, 10, 2] * 3, "iscrowd": 1})
    poses, told = of_coco(path, size=26, max_pixels=2400)
    (found,) = poses.objects
    assert (told, poses.joints) == ([], ("point 1", "point 2", "point 3"))
    factor = 26 / (10 * (1 + 2 * MARGIN))
    assert found.side == pytest.approx(10 * factor)
    np.testing.assert_allclose(found.points[:2], [[13, 13], [13 + 5 * factor, 13 + 5 * factor]])
    assert found.visible.tolist() == [True, True, False]
    seen = poses.at(np.array([0])).images[0]
    np.testing.assert_allclose(middle(seen), [13, 13], atol=0.05)
    assert seen.float().mean() == pytest.approx(255 / (1 + 2 * MARGIN) ** 2, rel=0.02)


def test_where_nobody_marked_points_they_are_the_extremes_of_the_mask(tmp_path):
    outline = [20, 10, 30, 10, 30, 20, 20, 20]
    path = write(tmp_path, {"segmentation": [outline]}, {"bbox": [1, 1, 5, 5]})
    poses, told = of_coco(path, size=26, max_pixels=2400)
    (found,) = poses.objects
    assert poses.joints == EXTREMES
    np.testing.assert_allclose(found.points, [[13, 4], [13, 22], [4, 13], [22, 13]], atol=0.01)
    assert found.visible.all()
    assert "neither key points nor a mask" in told[0]


@pytest.mark.parametrize(
    ("points", "said"), [([[1, 2, 2], [1, 2, 2, 3, 4, 2]], r"have \[1, 2\] key points"), ([[1, 2]], "are not x, y, v")]
)
def test_points_that_are_none_are_refused(tmp_path, points, said):
    path = write(tmp_path, *({"keypoints": each, "bbox": [20, 10, 10, 10 - n]} for n, each in enumerate(points)))
    with pytest.raises(BadInput, match=said):
        of_coco(path, size=26, max_pixels=2400)


def test_an_image_of_too_many_pixels_is_refused_and_others_are_decoded_once(tmp_path, monkeypatch):
    path = write(tmp_path, {"keypoints": [25, 15, 2]}, {"keypoints": [25, 15, 2], "bbox": [20, 10, 10, 9]})
    with pytest.raises(BadInput, match=r"a\.png cannot be used: too_large"):
        of_coco(path, size=26, max_pixels=2399)
    read = []
    monkeypatch.setattr(Path, "read_bytes", lambda file, whole=Path.read_bytes: read.append(file.name) or whole(file))
    poses, _ = of_coco(path, size=26, max_pixels=2400)
    assert len(poses.objects) == 2
    assert read.count("a.png") == 1
