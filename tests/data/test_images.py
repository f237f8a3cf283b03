import os
import pickle

import cv2
import numpy as np
import pytest
from fresh import fresh
from pictures import encoded, picture, save, shard, table_of
from torch.utils.data import DataLoader, Dataset

from tutelage.data.images import Images, letterbox_factor
from tutelage.data.reading import Reader
from tutelage.types import BadInput


@pytest.fixture
def root(tmp_path):
    """Four labelled pictures in folders, four of a pool in a shard: picture(n) is row n."""
    for number in range(4):
        save(tmp_path / "train" / "ab"[number % 2] / f"{number}.png", picture(number, 16, 16))
    shard(tmp_path / "pool" / "s.tar", {f"{n}.png": encoded(picture(n, 16, 16)) for n in range(4, 8)})
    return tmp_path


@pytest.fixture
def table(root):
    return table_of(root, labelled="train", pool="pool")


ORDER = [0, 2, 1, 3, 4, 5, 6, 7]  # rows by id: a/0, a/2, b/1, b/3, then the shard


@pytest.mark.parametrize("cache_bytes", [0, 1 << 20])
def test_each_row_is_its_picture(table, cache_bytes):
    images = Images.open(table, 16, cache_bytes)
    assert images.cached == (cache_bytes > 0)
    assert len(images) == 8
    for row, number in enumerate(ORDER):
        np.testing.assert_array_equal(images[row], picture(number, 16, 16))
    np.testing.assert_array_equal(images[-1], picture(7, 16, 16))
    np.testing.assert_array_equal(images.many(np.array([7, 0, 7])), np.stack([images[7], images[0], images[7]]))
    assert images.many(np.zeros(0, np.int64)).shape == (0, 16, 16, 3)
    with pytest.raises(IndexError):
        images[8]


def test_no_rows_are_no_images(table):
    images = Images.open(table.slice(0, 0), 16)
    assert len(images) == 0
    assert images.many(np.zeros(0, np.int64)).shape == (0, 16, 16, 3)


def test_pictures_are_resized(table):
    small = cv2.resize(picture(0, 16, 16), (8, 8), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(Images.open(table, 8)[0], small)
    assert Images.open(table, 40)[0].shape == (40, 40, 3)


def test_the_cache_is_bounded_and_cannot_be_drawn_into(table):
    assert not Images.open(table, 16, 8 * 16 * 16 * 3 - 1).cached
    images = Images.open(table, 16, 8 * 16 * 16 * 3)
    assert images.cached
    images[0][:] = 0
    images.many(np.arange(8))[:] = 0
    np.testing.assert_array_equal(images[0], picture(0, 16, 16))


def test_a_cached_picture_is_read_once(root, table):
    images = Images.open(table, 16)
    images.many(np.arange(7))
    assert (images.kept, Images.open(table, 16, 0).kept) == (7 * 16 * 16 * 3, 0)
    for path in (root / "train").rglob("*.png"):
        path.unlink()
    np.testing.assert_array_equal(images[1], picture(2, 16, 16))


def test_large_files_are_read_by_several_threads(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (8, 220, 220, 3), dtype=np.uint8)
    for number, image in enumerate(noise):
        save(tmp_path / "train" / "ab"[number % 2] / f"{number}.png", image)
    table = table_of(tmp_path, labelled="train")
    assert sum(table["length"].to_pylist()) > 1 << 20
    np.testing.assert_array_equal(Images.open(table, 220).many(np.arange(8)), noise[[0, 2, 4, 6, 1, 3, 5, 7]])


@pytest.mark.parametrize("cache_bytes", [0, 1 << 20])
def test_changed_and_vanished_files_are_named(root, table, cache_bytes):
    changed, gone = root / "train/a/0.png", root / "train/a/2.png"
    save(changed, picture(99, 16, 16))
    gone.unlink()
    shard(root / "pool/s.tar", {"other.png": encoded(picture(5))})
    images = Images.open(table, 16, cache_bytes)
    for row, name, path in (
        (0, "labelled/a/0.png", changed),
        (1, "labelled/a/2.png", gone),
        (5, "pool/s.tar/5.png", "s.tar"),
    ):
        with pytest.raises(BadInput, match="dvc repro ingest") as caught:
            images[row]
        assert name in str(caught.value)
        assert str(path) in str(caught.value)
    np.testing.assert_array_equal(images[2], picture(1, 16, 16))  # the others are as good as before


def test_a_working_directory_may_change(root, monkeypatch):
    monkeypatch.chdir(root.parent)
    table = table_of(root.relative_to(root.parent), labelled="train")
    images = Images.open(table, 16)
    monkeypatch.chdir("/")
    np.testing.assert_array_equal(images[0], picture(0, 16, 16))


@pytest.mark.parametrize("cache_bytes", [0, 1 << 20])
def test_it_can_be_pickled(table, cache_bytes):
    images = Images.open(table, 16, cache_bytes)
    images[0]
    again = pickle.loads(pickle.dumps(images))
    np.testing.assert_array_equal(again.many(np.arange(8)), images.many(np.arange(8)))
    big = Images.open(table, 500)
    assert len(pickle.dumps(big)) < 10_000  # without the cache


class Rows(Dataset):
    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, row):
        return self.images[row]


def by_forked_loaders(table, *caches):
    """For each size of cache: what two workers read, and whether the process that forked them has it decoded."""
    found = []
    for cache_bytes in caches:
        images = Images.open(table, 16, cache_bytes)
        images[4]  # the shard is open before the fork
        loader = DataLoader(Rows(images), batch_size=None, num_workers=2, multiprocessing_context="fork")
        seen = [image.numpy() for image in loader]
        found.append((seen, bool(cache_bytes) and images._filled.all()))
    return found


def test_forked_loaders_share_files_and_cache(table):
    found = fresh(by_forked_loaders, table, 0, 1 << 20)
    for seen, _ in found:
        for image, number in zip(seen, ORDER, strict=True):
            np.testing.assert_array_equal(image, picture(number, 16, 16))
    assert [cached for _, cached in found] == [False, True]


def test_a_read_in_pieces_is_put_together(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"abcdefgh")
    whole = os.pread
    monkeypatch.setattr(os, "pread", lambda handle, length, offset: whole(handle, min(length, 2), offset))
    assert Reader().read(str(tmp_path / "file"), 1, 5) == b"bcdef"


def test_few_files_stay_open(tmp_path):
    reader = Reader(keep=3)
    for number in range(10):
        (tmp_path / str(number)).write_bytes(b"abcdef")
        assert reader.read(str(tmp_path / str(number)), 2, 3) == b"cde"
    assert list(reader._handles) == [str(tmp_path / name) for name in "789"]
    assert reader.read(str(tmp_path / "0"), 4, 9) == b"ef"  # the file ends before
    handles = list(reader._handles.values())
    reader.close()
    for handle in handles:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(handle)


def test_a_letterbox_by_hand(tmp_path):
    wide = np.arange(96, dtype=np.uint8).reshape(4, 8, 3) * 2
    save(tmp_path / "train/a/wide.png", wide)
    save(tmp_path / "train/b/high.png", wide.transpose(1, 0, 2))
    images = Images.open(table_of(tmp_path, labelled="train"), 4, letterbox=True)
    means = wide.reshape(2, 2, 4, 2, 3).mean(axis=(1, 3))  # of 2 x 2 pixels
    np.testing.assert_allclose(images[0][:2], means, atol=0.5)
    assert (images[0][2:] == 114).all()
    np.testing.assert_allclose(images[1][:, :2], means.transpose(1, 0, 2), atol=0.5)
    assert (images[1][:, 2:] == 114).all()
    assert letterbox_factor(8, 4, 4) == letterbox_factor(4, 8, 4) == 0.5
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(images))[0], images[0])


@pytest.mark.parametrize(("width", "height"), [(40, 1), (1, 40), (3, 2), (7, 7), (13, 29)])
def test_a_letterbox_has_no_other_grey_than_its_padding(tmp_path, width, height):
    save(tmp_path / "train/a/x.png", np.zeros((height, width, 3), np.uint8))
    square = Images.open(table_of(tmp_path, labelled="train"), 16, letterbox=True)[0]
    factor = letterbox_factor(width, height, 16)
    rows, columns = (square[..., 0] == 0).any(1).sum(), (square[..., 0] == 0).any(0).sum()
    assert max(rows, columns) == 16
    assert abs(rows - height * factor) <= 0.5 or rows == 1
    assert abs(columns - width * factor) <= 0.5 or columns == 1
    assert (square[:rows, :columns] == 0).all()
    assert (square == 114).sum() == 3 * (256 - rows * columns)
