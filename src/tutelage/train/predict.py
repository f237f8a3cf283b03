"""What a network says of many images, a batch at a time: memory does not grow with their number."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from accelerate import Accelerator
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from tutelage.data.batches import on_device
from tutelage.data.images import Images
from tutelage.data.unseen import Ready
from tutelage.train.device import accelerator
from tutelage.train.settings import Compute
from tutelage.types import BadInput, Network, Outputs

Look = Callable[[Float[Tensor, "n 3 h w"]], Float[Tensor, "n 3 h w"]]
AHEAD = 3  # chunks that are read before they are asked for


def as_it_is(images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
    """The plain view."""
    return images


def looks(number: int, *, flip: bool) -> list[Look]:
    """The first `number` of five small changes under which a class stays: none, mirrored, moved by one pixel.

    Without `flip` the mirrored one is left out, so there are four. What a network says of all is surer than of one.
    """
    moved: list[Look] = [partial(_moved, x=x, y=y) for x, y in ((1, 0), (-1, 0), (0, 1))]
    return [as_it_is, *[_mirrored][: int(flip)], *moved][:number]


def _mirrored(images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
    return images.flip(-1)


def _moved(images: Float[Tensor, "n 3 h w"], *, x: int, y: int) -> Float[Tensor, "n 3 h w"]:
    """Pixels that enter at an edge repeat it."""
    height, width = images.shape[-2:]
    padded = functional.pad(images, (1, 1, 1, 1), mode="replicate")
    return padded[..., 1 + y : 1 + y + height, 1 + x : 1 + x + width]


class Plain(Dataset[torch.Tensor]):
    """Images without noise, a chunk of rows at a time; uint8 [n, 3, h, w]."""

    def __init__(self, images: Images, chunks: Sequence[Int[np.ndarray, " _"]]):
        self.images, self.chunks = images, chunks

    def __len__(self) -> int:
        return len(self.chunks)

    def __getitem__(self, place: int) -> torch.Tensor:
        return torch.from_numpy(self.images.many(self.chunks[place])).permute(0, 3, 1, 2)


def logits(
    network: Network,
    images: Images,
    chunks: Sequence[Int[np.ndarray, " _"]],
    *,
    compute: Compute,
    views: Sequence[Look] = (as_it_is,),
) -> Iterator[Float[np.ndarray, "b c"]]:
    """Logits of each chunk of rows, in order, the mean over `views`. The network is put in eval mode, on the device."""
    return (said for said, _ in described(network, images, chunks, compute=compute, views=views))


def described(
    network: Network, images: Images, chunks: Sequence[Int[np.ndarray, " _"]], *, compute: Compute,
    views: Sequence[Look] = (as_it_is,),
) -> Iterator[tuple[Float[np.ndarray, "b c"], Float[np.ndarray, "b d"]]]:  # fmt: skip
    """Logits of each chunk as `logits` gives them, with embeddings of the first view."""
    engine = accelerator(compute)
    network = network.eval().to(engine.device)
    for seen in batches_of(images, chunks, compute=compute, device=engine.device):
        yield _said(network, seen, engine, views)


def described_of(
    network: Network, parts: Iterable[Ready], *, compute: Compute, views: Sequence[Look]
) -> Iterator[tuple[Ready, tuple[Float[np.ndarray, "b c"], Float[np.ndarray, "b d"]]]]:
    """As `described`, of images that no table has: each part with what is said of it, [0, 0] of one without images."""
    engine = accelerator(compute)
    network = network.eval().to(engine.device)
    nothing = np.zeros((0, 0), np.float32)
    for part in parts:
        seen = on_device(part.pixels, engine.device)
        yield part, _said(network, seen, engine, views) if part.names else (nothing, nothing)


def _said(
    network: Network, seen: Float[Tensor, "n 3 h w"], engine: Accelerator, views: Sequence[Look]
) -> tuple[Float[np.ndarray, "n c"], Float[np.ndarray, "n d"]]:
    # Not around the yield: who asks for the next batch must not find gradients switched off.
    with torch.inference_mode(), engine.autocast():
        said, embedded = zip(*(_ends(network(look(seen))) for look in views), strict=True)
        mean = torch.stack(said).mean(0) if len(said) > 1 else said[0]
        return mean.cpu().numpy(), embedded[0].cpu().numpy()


def _ends(outputs: Outputs) -> tuple[Float[Tensor, "n c"], Float[Tensor, "n d"]]:
    """Without the maps, which would fill the memory when there are several views."""
    return outputs.logits.float(), outputs.embedding.float()


def describe(
    network: Network, images: Images, rows: Int[np.ndarray, " n"], *, compute: Compute, batch: int,
    look: Look = as_it_is,
) -> tuple[Float[np.ndarray, "n c"], Float[np.ndarray, "n d"]]:  # fmt: skip
    """Logits and embeddings of sets that fit in memory. The network is put in eval mode, on the device."""
    chunks = [rows[i : i + batch] for i in range(0, len(rows), batch)]
    parts = list(described(network, images, chunks, compute=compute, views=[look]))
    if not parts:
        return np.zeros((0, 0), np.float32), np.zeros((0, 0), np.float32)
    said, embedded = zip(*parts, strict=True)
    return np.concatenate(said), np.concatenate(embedded)


def batches_of(
    images: Images, chunks: Sequence[Int[np.ndarray, " _"]], *, compute: Compute, device: torch.device
) -> Iterator[Float[Tensor, "n 3 h w"]]:
    """The images of each chunk of rows, in order, in 0..1 and on `device`."""
    plain, pinned = Plain(images, chunks), device.type == "cuda"
    if images.cached:  # what lies decoded in memory, or soon will, is faster read here than sent from another process
        parts = _ahead(plain, pinned=pinned)
    else:
        parts = iter(DataLoader(plain, batch_size=None, num_workers=compute.workers, pin_memory=pinned))
    for pixels in parts:
        yield pixels.to(device, non_blocking=True).float().div_(255)


def _ahead(plain: Plain, *, pinned: bool) -> Iterator[torch.Tensor]:
    """The chunks in order, read by a thread while the network looks at those before."""

    def read(place: int) -> torch.Tensor:
        return plain[place].pin_memory() if pinned else plain[place]

    with ThreadPoolExecutor(1) as pool:
        waiting = deque(pool.submit(read, place) for place in range(min(AHEAD, len(plain))))
        for place in range(AHEAD, len(plain) + AHEAD):
            pixels = waiting.popleft().result()
            if place < len(plain):
                waiting.append(pool.submit(read, place))
            yield pixels


def predict(
    network: Network,
    images: Images,
    rows: Int[np.ndarray, " n"],
    *,
    compute: Compute,
    batch: int,
    views: Sequence[Look] = (as_it_is,),
) -> Float[np.ndarray, "n c"]:
    """All logits at once, for sets that fit in memory."""
    chunks = [rows[i : i + batch] for i in range(0, len(rows), batch)]
    parts = list(logits(network, images, chunks, compute=compute, views=views))
    return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)


def checked(logits: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n c"]:
    """`logits` as they are. Raises BadInput where a number of them is not finite: no class and no score is right."""
    if not np.isfinite(logits).all():
        raise BadInput("the model answers with numbers that are not finite. Train it again, at a lower optimiser.lr")
    return logits
