import gzip
import hashlib
import os
import struct
import tarfile
import urllib.error
from dataclasses import replace

import cv2
import numpy as np
import pytest
from own_images import PARAMS

from tasks import fetch as module
from tasks.fetch import CLASSES, CONTENT, Unavailable, fetch, read_files
from tutelage.data.sources import scan
from tutelage.types import BadInput

IMAGES = {
    name: np.random.default_rng(n).integers(0, 256, (25, 28, 28), np.uint8) for n, name in enumerate(("train", "t10k"))
}
LABELS = (np.arange(25) % 10).astype(np.uint8)


@pytest.fixture
def idx(tmp_path, monkeypatch):
    """A folder with four small files in the form of Fashion-MNIST, which then count as the real ones."""
    folder, content = tmp_path / "idx", {}
    for name, images in IMAGES.items():
        content[f"{name}-images-idx3-ubyte"] = struct.pack(">IIII", 0x803, 25, 28, 28) + images.tobytes()
        content[f"{name}-labels-idx1-ubyte"] = struct.pack(">II", 0x801, 25) + LABELS.tobytes()
    folder.mkdir()
    for name, data in content.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(data))
    assert set(content) == set(CONTENT)
    monkeypatch.setattr(module, "CONTENT", {name: hashlib.sha256(data).hexdigest() for name, data in content.items()})
    monkeypatch.setattr(module, "SHARD", 10)
    return folder


@pytest.fixture(autouse=True)
def no_network(tmp_path, monkeypatch):
    """Nothing is installed, nothing cached, and no route leads out of this machine unless a test opens one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "INSIDE_PACKAGE", module.Path("usr/share/datasets/no-such-set"))

    def closed(cache):
        raise Unavailable("no network in tests")

    monkeypatch.setattr(module, "_torchvision", closed)
    monkeypatch.setattr(module, "_debian", closed)


def run(out, *, folder=None, dataset="fashion_mnist"):
    wanted = replace(PARAMS, fetch=replace(PARAMS.fetch, dataset=dataset, folder=folder and str(folder)))
    return fetch(params=wanted, out=out)


def test_shards_hold_the_images_and_their_classes(tmp_path, idx):
    out = run(tmp_path / "out", folder=idx)
    names = ["classes.txt", "shard-00000.tar", "shard-00001.tar", "shard-00002.tar"]
    assert sorted(path.name for path in (out / "train").iterdir()) == names
    for part, prefix in (("train", "train"), ("test", "t10k")):
        assert (out / part / "classes.txt").read_text().splitlines() == list(CLASSES)
        found = scan(out, part, "labelled").found
        assert [image.label for image in found] == [CLASSES[label] for label in LABELS]
        for number in (0, 9, 10, 24):
            data = (out / part / found[number].path).read_bytes()
            png = np.frombuffer(data[found[number].offset :][: found[number].length], np.uint8)
            np.testing.assert_array_equal(cv2.imdecode(png, cv2.IMREAD_UNCHANGED), IMAGES[prefix][number])
    with tarfile.open(out / "train/shard-00001.tar") as tar:
        assert tar.getnames()[:2] == ["00010.png", "00010.cls"]
        assert {(member.mtime, member.uid, member.uname) for member in tar} == {(0, 0, "")}


def test_two_runs_are_equal_bytes(tmp_path, idx):
    one, two = run(tmp_path / "one", folder=idx), run(tmp_path / "two", folder=idx)
    for path in sorted(one.rglob("*.*")):
        assert path.read_bytes() == (two / path.relative_to(one)).read_bytes()


@pytest.mark.parametrize("below", ["", "FashionMNIST/raw", "plain"])
def test_files_are_found_where_others_leave_them(tmp_path, idx, below):
    folder = tmp_path / "given"
    target = folder / below.replace("plain", "")
    target.parent.mkdir(parents=True, exist_ok=True)
    idx.rename(target)
    if below == "plain":  # unpacked by hand
        for path in target.glob("*.gz"):
            path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
            path.unlink()
    assert run(tmp_path / "out", folder=folder).exists()


@pytest.mark.parametrize("damage", ["other", "cut", "missing"])
def test_a_named_folder_must_be_right(tmp_path, idx, damage, monkeypatch):
    path = idx / "train-labels-idx1-ubyte.gz"
    data = path.read_bytes()
    content = bytearray(gzip.decompress(data))
    content[-1] += 1
    {"other": lambda: path.write_bytes(gzip.compress(bytes(content))), "cut": lambda: path.write_bytes(data[:-9]),
     "missing": path.unlink}[damage]()  # fmt: skip
    with pytest.raises(BadInput, match=r"fetch\.folder is .*train-labels-idx1-ubyte"):
        run(tmp_path / "out", folder=idx)
    assert not (tmp_path / "out").exists()


def test_the_hashes_are_those_of_the_real_files(tmp_path):
    with pytest.raises(Unavailable, match="No such file"):
        read_files(tmp_path)
    assert all(len(digest) == 64 for digest in CONTENT.values())


def test_no_dataset_leaves_a_word(tmp_path):
    out = run(tmp_path / "out", dataset="none")
    assert [path.name for path in out.iterdir()] == ["README.md"]
    assert "ingest.root" in (out / "README.md").read_text()


def test_when_no_route_works_each_says_why(tmp_path):
    with pytest.raises(OSError, match="could not be had by any route") as caught:
        run(tmp_path / "out")
    told = str(caught.value)
    for word in (
        "installed: ",
        "earlier run",
        "torchvision's download: no network",
        "unpacked: no network",
        "fetch.folder",
    ):
        assert word in told
    assert not (tmp_path / "out").exists()


def test_the_first_route_that_works_is_told(tmp_path, idx, monkeypatch, capsys):
    monkeypatch.setattr(module, "_debian", lambda cache: idx)
    run(tmp_path / "out")
    assert "Fashion-MNIST by Debian's package" in capsys.readouterr().out


@pytest.mark.parametrize("error", [RuntimeError("Error downloading"), urllib.error.URLError("no host"), EOFError()])
def test_torchvision_without_a_network(tmp_path, monkeypatch, error):
    def download(root, download):
        assert os.path.isdir(root)
        raise error

    monkeypatch.undo()
    monkeypatch.setattr("torchvision.datasets.FashionMNIST", download)
    with pytest.raises(Unavailable):
        module._torchvision(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []  # nothing half-finished stays


APT = """#!/bin/sh
echo "$@" >> {log}
case "$*" in
*lists=*update*) touch {log}.lists;;
*lists=*download*) test -e {log}.lists && cp -r {idx} package.deb;;
*download*) echo "E: Unable to locate package dataset-fashion-mnist" >&2; exit 100;;
esac
"""
DPKG = """#!/bin/sh
mkdir -p "$3/usr/share/datasets" && cp -r "$2" "$3/usr/share/datasets/fashion-mnist"
"""


def test_debians_package_without_root_or_lists(tmp_path, idx, monkeypatch):
    fake = tmp_path / "bin"
    fake.mkdir()
    for name, text in (("apt-get", APT), ("dpkg-deb", DPKG)):
        (fake / name).write_text(text.format(log=tmp_path / "log", idx=idx))
        (fake / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake}:{os.environ['PATH']}")
    real = {name: getattr(module, name) for name in ("CONTENT", "SHARD")}
    monkeypatch.undo()
    for name, value in real.items():
        monkeypatch.setattr(module, name, value)
    monkeypatch.setenv("PATH", f"{fake}:{os.environ['PATH']}")
    cache = tmp_path / "cache"
    kept = module._debian(cache)
    assert kept == cache / "usr/share/datasets/fashion-mnist"
    assert set(read_files(kept)) == set(CONTENT)
    tried = (tmp_path / "log").read_text().splitlines()
    assert len(tried) == 3  # the system's lists, then lists of its own
    assert "Dir::State::lists" not in tried[0]
    assert all("Dir::State::lists" in line for line in tried[1:])
    assert sorted(path.name for path in cache.iterdir()) == ["usr"]


def test_a_machine_without_debian_says_so(tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="there is no apt-get on this machine"):
        module._debian(tmp_path / "cache")


def test_a_tampered_download_is_never_kept(tmp_path, idx, monkeypatch):
    path = idx / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + b"!"))
    with pytest.raises(Unavailable, match="sha256 is wrong"):
        module._keep(idx, tmp_path / "cache/kept")
    assert not (tmp_path / "cache").exists()


def test_the_cache_saves_the_network(tmp_path, idx, capsys):
    kept = tmp_path / "cache/tutelage/fashion-mnist/FashionMNIST/raw"
    kept.parent.mkdir(parents=True)
    idx.rename(kept)
    run(tmp_path / "out")
    assert "earlier run" in capsys.readouterr().out
