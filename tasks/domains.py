"""The adaptation demo's images."""

import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from tasks.adapt_params import Domains
from tasks.compose import Garments, left_out
from tasks.io import whole
from tasks.progress import Progress
from tutelage.data.textures import TARGET, texture

_LEVELS = (0.6, 1.0)  # how bright a garment may be before its background


def domains(fetched: Path, *, params: Any, out: Path) -> Path:
    """Fashion-MNIST -> source/ and target_test/ (class folders), target/ (no classes): garments on black, and other
    garments before coloured textures, as the difference of both, which is how MNIST-M was made of MNIST.

    An image depends on the seed, its set and its number alone. Ganin et al., DANN, JMLR 2016, sec. 5.2.4.
    """
    if left_out(fetched, out):
        return out
    wanted: Domains = params.adapt.domains
    train, test = Garments(fetched, "train"), Garments(fetched, "test")
    ordered = np.random.default_rng(params.seed).permutation(len(train))
    sets = (
        ("source", train, ordered[: wanted.source]),
        ("target", train, ordered[wanted.source : wanted.source + wanted.target]),
        ("target_test", test, np.random.default_rng(params.seed).permutation(len(test))[: wanted.test]),
    )
    with whole(out) as folder, Progress("domains", sum(len(places) for _, _, places in sets)) as bar:
        for name, garments, places in sets:
            for number, place in enumerate(places):
                picture, label = garments.picture(int(place))
                if name != "source":
                    picture = before(picture, np.random.default_rng([params.seed, zlib.crc32(name.encode()), number]))
                into = folder / name / ("" if name == "target" else garments.classes[label])
                into.mkdir(parents=True, exist_ok=True)
                done, data = cv2.imencode(".png", picture[..., ::-1])
                assert done
                (into / f"{number:05d}.png").write_bytes(data.tobytes())
                bar.update(1)
    return out


def before(picture: UInt8[np.ndarray, "s s 3"], rng: np.random.Generator) -> UInt8[np.ndarray, "s s 3"]:
    """The difference of a texture and the garment."""
    behind = texture(len(picture), TARGET, rng) * 255
    apart: np.ndarray = np.abs(behind - rng.uniform(*_LEVELS) * picture)
    return np.round(apart).clip(0, 255).astype(np.uint8)
