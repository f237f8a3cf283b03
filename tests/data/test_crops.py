import tarfile
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes_found import given as marked

import tutelage.data.crops as writing
from tutelage.data.boxes import overlap
from tutelage.data.crops import NOTHING, TOUCH, Crop, cut_out, empty_each, empty_square, write_crops
from tutelage.data.images import Images
from tutelage.data.manifest import classes_of, read_split


def place(*sides):
    return np.array(sides, np.float32)


def pixels(seed, side=8):
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def test_a_square_box_of_the_asked_size_is_the_image_itself():
    image = pixels(0, 12)
    np.testing.assert_array_equal(cut_out(image, place(2, 3, 10, 11), 8, 0.0), image[3:11, 2:10])


def test_a_long_box_is_cut_as_the_square_of_its_longer_side_with_a_margin():
    image = pixels(1, 20)
    # 8 wide and 4 high round (10, 8): a square of 8 * 1.5 = 12, from (4, 2)
    np.testing.assert_array_equal(cut_out(image, place(6, 6, 14, 10), 12, 0.25), image[2:14, 4:16])


def test_what_lies_beyond_the_image_repeats_its_edge():
    image = pixels(2, 6)
    seen = cut_out(image, place(-2, 0, 2, 4), 4, 0.0)
    np.testing.assert_array_equal(seen, image[:4][:, [0, 0, 0, 1]])
    assert cut_out(image, place(5, 5, 5, 5), 3, 0.0).shape == (3, 3, 3)  # a box without area is one pixel


def test_a_large_box_is_averaged_and_not_sampled():
    image = np.zeros((8, 8, 3), np.uint8)
    image[::2] = 200  # every second row
    assert (cut_out(image, place(0, 0, 8, 8), 4, 0.0) == 100).all()
    image[2::4] = 0  # every fourth row, which the two middle rows of four do not show
    assert (cut_out(image, place(0, 0, 8, 8), 2, 0.0) == 50).all()


def test_a_box_as_wide_as_a_panorama_takes_little_memory():
    image = np.zeros((300, 12000, 3), np.uint8)
    image[:, 6000:] = 200
    tracemalloc.start()
    seen = cut_out(image, place(0, 0, 12000, 300), 32, 0.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6  # 432 MB were the square of its pixels
    assert (seen[:, :16] == 0).all()
    assert (seen[:, 16:] == 200).all()


@given(st.integers(0, 2**32 - 1), st.integers(8, 40), st.floats(4, 60))
def test_a_square_with_nothing_in_it_lies_in_the_image_and_on_no_object(seed, size, side):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, size, (3, 2))
    objects = np.concatenate([low, low + rng.uniform(1, size, (3, 2))], axis=1).astype(np.float32)
    square = empty_square(marked(objects, [0, 1, 2]), size, size, side, rng)
    if square is not None:
        assert square.min() >= 0
        assert square.max() <= size + 1e-4
        assert square[2] - square[0] == pytest.approx(min(side, size), abs=1e-3)
        assert overlap(square[None], objects).max() < TOUCH


def test_where_an_object_fills_the_image_there_is_no_square_without_it():
    assert empty_square(marked([[0, 0, 9, 9]], [0]), 9, 9, 9.0, np.random.default_rng(0)) is None


def test_a_square_inside_a_crowd_is_not_without_an_object():
    """Of a crowd that fills the image it is a small part, so that the two hardly overlap."""
    scene = marked([[0, 0, 640, 480]], [0], [True])
    assert empty_square(scene, 640, 480, 60.0, np.random.default_rng(0)) is None


@pytest.mark.parametrize(("objects", "classes", "squares"), [(10, 5, 2), (11, 5, 3), (0, 5, 0), (3, 0, 3)])
def test_nothing_is_as_frequent_as_the_mean_class(objects, classes, squares):
    assert empty_each(objects, classes) == squares


def test_crops_are_read_back_as_a_split_with_one_more_class(tmp_path):
    crops = [
        Crop("a#0", "labelled", 1, pixels(0)),
        Crop("a#-1", "labelled", 2, pixels(1)),
        Crop("b#0", "pool", None, pixels(2)),
    ]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_crops(tmp_path / name, iter(crops), ["cat", "dog"], root=tmp_path / "one")
    assert (tmp_path / "one/crops.tar").read_bytes() == (tmp_path / "two/crops.tar").read_bytes()
    assert (tmp_path / "one/split.parquet").read_bytes() == (tmp_path / "two/split.parquet").read_bytes()
    table = read_split(tmp_path / "one")
    assert classes_of(table) == ["cat", "dog", NOTHING]
    assert table["label"].to_pylist() == [1, 2, None]
    seen = Images.open(table, 8).many(np.arange(3))
    np.testing.assert_array_equal(seen, np.stack([crop.pixels for crop in crops]))
    with tarfile.open(tmp_path / "one/crops.tar") as tar:
        assert tar.getnames() == ["00000000.png", "00000001.png", "00000002.png"]


def test_of_a_crop_that_is_written_only_its_row_stays_in_memory(tmp_path, monkeypatch):
    crops = [Crop(f"a#{number}", "pool", None, pixels(number)) for number in range(5)]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    write_crops(tmp_path / "one", crops, ["cat"], root=tmp_path)
    members, add = [], tarfile.TarFile.addfile
    monkeypatch.setattr(writing, "CHUNK", 2)
    monkeypatch.setattr(
        tarfile.TarFile, "addfile", lambda tar, *some: members.append(len(tar.members)) or add(tar, *some)
    )
    write_crops(tmp_path / "two", crops, ["cat"], root=tmp_path)
    assert members == [0] * 5
    for name in ("crops.tar", "split.parquet"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_pool_without_a_crop_is_a_split_without_a_row(tmp_path):
    assert write_crops(tmp_path, [], ["cat"], root=tmp_path).num_rows == 0
    assert classes_of(read_split(tmp_path)) == ["cat", NOTHING]
