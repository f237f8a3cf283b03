"""Images that no manifest knows look as they would if they had been ingested."""

import numpy as np
import pytest
from pictures import encoded, picture, save, shard, table_of
from PIL import Image

from tutelage.data.images import Images
from tutelage.data.sources import scan_unasked
from tutelage.data.unseen import Unseen, read_unseen

DEEP = np.random.default_rng(0).integers(0, 1 << 16, (24, 20)).astype(np.uint16)


@pytest.fixture
def folder(tmp_path):
    """Kinds of images that are easily read in another way, none a copy of another."""
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    root = tmp_path / "pool"
    save(root / "a/turned.jpg", picture(1), exif=exif)
    save(root / "b/deep.png", Image.fromarray(DEEP))
    save(root / "b/grey.png", Image.fromarray(picture(2)).convert("L"))
    save(root / "clear.png", Image.fromarray(np.dstack([picture(3), picture(4)[:, :, :1]])))
    save(root / "wide.tif", picture(5, 10, 40))
    return root


def unseen(path, **changes):
    return Unseen(scan_unasked(path), **{"size": 16, "batch": 2, "max_pixels": 10**6} | changes)


@pytest.mark.parametrize("letterbox", [False, True])
@pytest.mark.parametrize("workers", [0, 1])
def test_pixels_and_sizes_are_those_of_ingested_images(folder, letterbox, workers):
    parts = list(read_unseen(unseen(folder, letterbox=letterbox), workers=workers))
    table = table_of(folder.parent, pool="pool")
    images = Images.open(table, 16, letterbox=letterbox)
    names = [name for part in parts for name in part.names]
    assert [f"pool/{name}" for name in names] == table["id"].to_pylist()
    assert [len(part.names) for part in parts] == [2, 2, 1]
    seen = np.concatenate([part.pixels.permute(0, 2, 3, 1).numpy() for part in parts])
    np.testing.assert_array_equal(seen, np.stack(list(images)))
    sizes = np.concatenate([part.sizes for part in parts])
    np.testing.assert_array_equal(sizes, np.stack([table[name].to_numpy() for name in ("width", "height")], axis=1))
    assert sizes[0].tolist() == [24, 20]  # upright


def test_what_cannot_be_read_is_told_in_its_part_and_the_rest_go_on(folder):
    data = (folder / "clear.png").read_bytes()
    (folder / "cut.png").write_bytes(data[:-100])
    (folder / "fake.jpg").write_bytes(b"<html>")
    one, two, three, four = read_unseen(unseen(folder, max_pixels=479), workers=0)
    assert one.names == two.names == three.names == []  # 24 x 20 is 480
    assert one.pixels.shape == (0, 3, 16, 16)
    assert [each.reason for each in one.refused] == ["too_large", "too_large"]
    assert [(each.id, each.reason) for each in three.refused] == [
        ("pool/cut.png", "too_large"), ("pool/fake.jpg", "not_an_image")
    ]  # fmt: skip
    assert four.names == ["wide.tif"]
    reasons = {each.id: each.reason for part in read_unseen(unseen(folder), workers=0) for each in part.refused}
    assert reasons == {"pool/cut.png": "truncated", "pool/fake.jpg": "not_an_image"}


def test_copies_are_there_each(folder):
    (folder / "z.tif").write_bytes((folder / "wide.tif").read_bytes())
    *_, last = read_unseen(unseen(folder, batch=6), workers=0)
    assert last.names[-2:] == ["wide.tif", "z.tif"]


def test_one_image_a_shard_a_table_and_a_link_to_a_folder(folder, tmp_path):
    data = encoded(picture(7))
    shard(tmp_path / "new.tar", {"x.png": data, "y.png": data})
    (tmp_path / "new.csv").write_text("image\npool/wide.tif\n../away.png\n")
    (tmp_path / "link").symlink_to(folder)
    (folder / "inner.tif").symlink_to(tmp_path / "new.csv")
    scans = {name: scan_unasked(tmp_path / name) for name in ("pool/wide.tif", "new.tar", "new.csv", "link")}
    assert {name: [image.id for image in scan.found][-2:] for name, scan in scans.items()} == {
        "pool/wide.tif": ["pool/wide.tif"],
        "new.tar": ["pool/new.tar/x.png", "pool/new.tar/y.png"],
        "new.csv": ["pool/pool/wide.tif"],
        "link": ["pool/clear.png", "pool/wide.tif"],
    }
    assert {name: [each.reason for each in scan.refused] for name, scan in scans.items() if scan.refused} == {
        "new.csv": ["outside_root"], "link": ["outside_root"]
    }  # fmt: skip
    for scan in scans.values():
        assert next(read_unseen(Unseen(scan, 16, 9, 10**6), workers=0)).refused == []
