"""The demo's images."""

import gzip
import hashlib
import io
import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from torch.utils.data import Dataset

from tasks.io import whole
from tasks.params import Params
from tasks.progress import Progress
from tutelage.data.batches import shared_out
from tutelage.types import BadInput

CLASSES = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot",
)  # fmt: skip
# sha256 of what is inside: the packages compress the same bytes differently.
CONTENT = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
SHARD = 1000  # images
MANY = 8  # shards from which on a process a core is worth its start
PACKAGE = "dataset-fashion-mnist"
INSIDE_PACKAGE = Path("usr/share/datasets/fashion-mnist")
NETWORK_SECONDS = 20  # without an answer


class Unavailable(Exception):
    """A route does not lead to the images; the message says why."""


def fetch(*, params: Params, out: Path) -> Path:
    """Nothing -> Fashion-MNIST as train/ and test/: WebDataset shards (key.png, key.cls) of 1,000 and classes.txt.

    `dataset: none` writes a README.md instead, for those who bring their own images.
    """
    if params.fetch.dataset == "none":
        with whole(out) as folder:
            (folder / "README.md").write_text("Nothing was fetched: fetch.dataset is none. See ingest.root.\n")
        return out
    files = _find(params.fetch.folder)
    total = sum(len(content) - 8 for name, content in files.items() if "labels" in name)
    with whole(out) as folder, Progress("fetch", total) as bar:
        for name, prefix in (("train", "train"), ("test", "t10k")):
            images = np.frombuffer(files[f"{prefix}-images-idx3-ubyte"], np.uint8, offset=16).reshape(-1, 28, 28)
            labels = np.frombuffer(files[f"{prefix}-labels-idx1-ubyte"], np.uint8, offset=8)
            (folder / name).mkdir()
            (folder / name / "classes.txt").write_text("\n".join(CLASSES) + "\n")
            shards = -(-len(images) // SHARD)
            for number, tar in enumerate(shared_out(_Shards(images, labels), shards, many=MANY)):
                (folder / name / f"shard-{number:05d}.tar").write_bytes(tar)
                bar.update(min(SHARD, len(images) - number * SHARD))
    return out


@dataclass(frozen=True)
class _Shards(Dataset[bytes]):
    """Images of a set as tar files, by their numbers."""

    images: UInt8[np.ndarray, "n 28 28"]
    labels: UInt8[np.ndarray, " n"]

    def __getitem__(self, number: int) -> bytes:
        first = number * SHARD
        return _pack(first, self.images[first : first + SHARD], self.labels[first : first + SHARD])


def read_files(folder: Path) -> dict[str, bytes]:
    """The four idx files of `folder`, packed (.gz) or not, each checked by its hash. Raises Unavailable."""
    files = {}
    for name, expected in CONTENT.items():
        packed, plain = folder / f"{name}.gz", folder / name
        try:
            content = gzip.decompress(packed.read_bytes()) if packed.exists() else plain.read_bytes()
        except (OSError, EOFError) as error:  # gzip.BadGzipFile is an OSError
            raise Unavailable(f"{packed}: {getattr(error, 'strerror', None) or error}") from error
        if hashlib.sha256(content).hexdigest() != expected:
            raise Unavailable(f"{packed if packed.exists() else plain} is not Fashion-MNIST's: its sha256 is wrong")
        files[name] = content
    return files


def _find(folder: str | None) -> dict[str, bytes]:
    """The files by the first route that works, or OSError with what each said. A folder that was named must do."""
    if folder is not None:
        try:
            files = read_files(_inner(Path(folder)))
            print(f"fetch: Fashion-MNIST by fetch.folder, {folder}", flush=True)
            return files
        except Unavailable as error:
            raise BadInput(
                f"fetch.folder is {folder!r}, but {error}. Put the four .gz files there, or write folder: null"
            ) from error
    cache = cache_folder()
    routes: dict[str, Callable[[], Path]] = {
        "Debian's package, installed": lambda: Path("/") / INSIDE_PACKAGE,
        f"what an earlier run left in {cache}": lambda: _inner(cache),
        "torchvision's download": lambda: _torchvision(cache),
        f"Debian's package {PACKAGE}, unpacked": lambda: _debian(cache),
    }
    failures = []
    for name, route in routes.items():
        try:
            files = read_files(route())
        except Unavailable as error:
            failures.append(f"  {name}: {error}")
            continue
        print(f"fetch: Fashion-MNIST by {name}", flush=True)
        return files
    raise OSError(
        "Fashion-MNIST could not be had by any route:\n" + "\n".join(failures) + "\nConnect to a network, or put the "
        "four files *-ubyte.gz of https://github.com/zalandoresearch/fashion-mnist into a folder and name it in "
        "params.yaml, fetch.folder. For your own images write fetch.dataset: none."
    )


def cache_folder() -> Path:
    """Where downloads are kept, so that a second checkout needs no network."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tutelage" / "fashion-mnist"


def _inner(folder: Path) -> Path:
    """The folder itself, or where torchvision or Debian's package puts the files under it."""
    for below in (folder, folder / "FashionMNIST" / "raw", folder / INSIDE_PACKAGE):
        if any((below / f"{name}{ending}").exists() for name in CONTENT for ending in (".gz", "")):
            return below
    return folder


def _torchvision(cache: Path) -> Path:
    from torchvision.datasets import FashionMNIST  # seconds to import, and other routes come first

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(NETWORK_SECONDS)  # torchvision gives none of its own
    try:
        with _beside(cache) as part:
            FashionMNIST(str(part), download=True)
            return _keep(part / "FashionMNIST" / "raw", cache / "FashionMNIST" / "raw")
    except (OSError, RuntimeError, EOFError) as error:  # RuntimeError: no mirror answered, or another checksum
        raise Unavailable(str(error).replace("\n", " ").strip()) from error
    finally:
        socket.setdefaulttimeout(before)


def _debian(cache: Path) -> Path:
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise Unavailable(f"there is no {program} on this machine")
    with _beside(cache) as part:
        try:
            _run(["apt-get", *_apt_options(), "download", PACKAGE], part)
        except Unavailable:  # most often the package lists are empty, as in a container; ours need no root
            lists = _apt_options(part / "apt")
            _run(["apt-get", *lists, "update"], part)
            _run(["apt-get", *lists, "download", PACKAGE], part)
        packages = [path.name for path in part.glob("*.deb")]
        if len(packages) != 1:
            raise Unavailable(f"apt-get left {len(packages)} packages instead of one")
        _run(["dpkg-deb", "-x", packages[0], "unpacked"], part)
        return _keep(part / "unpacked" / INSIDE_PACKAGE, cache / INSIDE_PACKAGE)


def _apt_options(folder: Path | None = None) -> list[str]:
    options = [f"Acquire::http::Timeout={NETWORK_SECONDS}", "Acquire::Retries=1", "quiet=1"]
    if folder is not None:
        (folder / "lists" / "partial").mkdir(parents=True)
        (folder / "cache" / "archives" / "partial").mkdir(parents=True)
        options += [f"Dir::State::lists={folder}/lists", f"Dir::Cache={folder}/cache", "APT::Sandbox::User=root"]
    return [word for option in options for word in ("-o", option)]


def _run(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"`{' '.join(command[:1])}` took longer than {error.timeout:.0f} s") from error
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith(("E:", "dpkg"))] or ["no reason given"]
        raise Unavailable(f"{command[0]} {command[-2] if command[-1] == PACKAGE else command[-1]}: {said[-1]}")


@contextmanager
def _beside(cache: Path) -> Iterator[Path]:
    """A new folder on the cache's disk; nothing half-finished is ever seen in the cache itself."""
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".part-", dir=cache) as folder:
        yield Path(folder)


def _keep(made: Path, kept: Path) -> Path:
    """Move `made` to `kept`, unless another run was faster; checked first, since whatever is kept stays."""
    read_files(made)
    kept.parent.mkdir(parents=True, exist_ok=True)
    if kept.exists():
        shutil.rmtree(kept)
    os.replace(made, kept)
    return kept


def _pack(first: int, images: np.ndarray, labels: np.ndarray) -> bytes:
    """Members carry no date, owner or mode of this machine, so equal images give equal bytes."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for place, (image, label) in enumerate(zip(images, labels, strict=True), start=first):
            done, png = cv2.imencode(".png", image)
            assert done
            for kind, content in (("png", png.tobytes()), ("cls", b"%d" % label)):
                member = tarfile.TarInfo(f"{place:05d}.{kind}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()
