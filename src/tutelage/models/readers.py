"""Networks that read a row of things: the columns of a convolutional network, and three ways to make a string of them.

END, and the blank of CTC, is the number of classes; PAD stands behind END.
"""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from tutelage.models.backbone import NetworkSpec, create
from tutelage.models.beams import beam_search, closed
from tutelage.models.files import load_net, write_weights
from tutelage.types import BadInput

Kind = Literal["autoregressive", "parallel", "ctc"]


@dataclass(frozen=True, kw_only=True)
class ReaderSpec:
    """What a reader is made from."""

    __pydantic_config__ = {"extra": "forbid"}
    kind: Kind = "autoregressive"  # one symbol after the other; all at once (parallel); or a symbol a column (ctc)
    trunk: int = 16  # channels of small_resnet's first stage
    width: int = 64  # of columns and of what makes a string of them, a multiple of 4
    dropout: float = 0.0  # of columns

    def __post_init__(self) -> None:
        if self.trunk < 1 or self.width < 4 or self.width % 4 or not 0 <= self.dropout < 1:
            raise BadInput(f"{self}: trunk is 1 or more, width a multiple of 4, dropout at least 0 and below 1")


class Columns(nn.Module):
    """What a convolutional network sees in each column of an image, told from left to right and from right to left."""

    def __init__(self, spec: ReaderSpec, size: int):
        super().__init__()
        self.trunk = create(NetworkSpec(width=spec.trunk, image_size=size), 1)
        self.lstm = nn.LSTM(
            list(self.trunk.widths.values())[-1], spec.width // 2, bidirectional=True, batch_first=True
        )  # fmt: skip
        self.dropout = nn.Dropout(spec.dropout)

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n t d"]:
        coarsest = list(self.trunk(images).features.values())[-1]
        told: Tensor = self.lstm(self.dropout(coarsest.mean(2).transpose(1, 2).float()))[0]
        dropped: Tensor = self.dropout(told)
        return dropped


class Reader(nn.Module, ABC):
    """Reads strings of up to `longest` of `classes` symbols."""

    def __init__(self, spec: ReaderSpec, *, classes: int, longest: int, size: int):
        super().__init__()
        self.spec, self.classes, self.longest, self.size = spec, classes, longest, size
        self.columns = Columns(spec, size)
        self.head = nn.Linear(spec.width, classes + 1)

    @abstractmethod
    def forward(self, images: Float[Tensor, "n 3 h w"], words: Int[Tensor, "n l"]) -> Float[Tensor, "n _ v"]:
        """Logits over symbols and END, a place each: after the `words` before it, where the reader heeds them."""

    @abstractmethod
    def read(self, images: Float[Tensor, "n 3 h w"], beam: int = 1) -> Int[Tensor, "n k l"]:
        """The k likeliest strings, best first: `beam` of a reader that has a choice, else one. Without a graph."""

    if TYPE_CHECKING:  # nn.Module.__call__ is typed Any

        def __call__(self, images: Tensor, words: Tensor) -> Tensor: ...


class Autoregressive(Reader):
    """A recurrent cell that says one symbol after another and looks at columns by what it has said."""

    def __init__(self, spec: ReaderSpec, *, classes: int, longest: int, size: int):
        super().__init__(spec, classes=classes, longest=longest, size=size)
        self.said = nn.Embedding(classes + 1, spec.width)  # END also stands before the first symbol
        self.cell = nn.GRUCell(2 * spec.width, spec.width)
        self.mix = nn.Linear(2 * spec.width, spec.width)

    def forward(self, images: Float[Tensor, "n 3 h w"], words: Int[Tensor, "n l"]) -> Float[Tensor, "n l v"]:
        columns = self.columns(images)
        state, last = columns.mean(1), torch.full((len(images),), self.classes, device=images.device)
        logits = []
        for place in range(words.shape[1]):
            said, state = self.step(last, state, columns)
            logits.append(said)
            last = words[:, place].clamp_min(0)
        return torch.stack(logits, dim=1)

    def step(
        self, last: Int[Tensor, " m"], state: Float[Tensor, "m d"], columns: Float[Tensor, "m t d"]
    ) -> tuple[Float[Tensor, "m v"], Float[Tensor, "m d"]]:
        """Logits of the next symbol and the state after `last`."""
        state = self.cell(torch.cat([self.said(last), attended(state[:, None], columns)[:, 0]], dim=-1), state)
        seen = attended(state[:, None], columns)[:, 0]
        logits: Tensor = self.head(self.mix(torch.cat([state, seen], dim=-1)).tanh())
        return logits, state

    @torch.no_grad()
    def read(self, images: Float[Tensor, "n 3 h w"], beam: int = 1) -> Int[Tensor, "n k l"]:
        columns = self.columns(images)
        wide = columns.repeat_interleave(beam, dim=0)
        return beam_search(
            lambda last, state: self.step(last, state, wide), columns.mean(1),
            beam=beam, longest=self.longest, end=self.classes,
        )  # fmt: skip


class Parallel(Reader):
    """Answers all places at once, none knowing what the others say."""

    def __init__(self, spec: ReaderSpec, *, classes: int, longest: int, size: int):
        super().__init__(spec, classes=classes, longest=longest, size=size)
        self.places = nn.Parameter(torch.randn(longest + 1, spec.width))
        self.look = nn.MultiheadAttention(spec.width, 4, batch_first=True)
        self.mix = nn.Sequential(nn.Linear(spec.width, spec.width), nn.ReLU())

    def forward(self, images: Float[Tensor, "n 3 h w"], words: Int[Tensor, "n l"]) -> Float[Tensor, "n l v"]:
        columns = self.columns(images)
        places = self.places[: words.shape[1]].expand(len(images), -1, -1)
        seen, _ = self.look(places, columns, columns, need_weights=False)
        logits: Tensor = self.head(self.mix(seen))
        return logits

    @torch.no_grad()
    def read(self, images: Float[Tensor, "n 3 h w"], beam: int = 1) -> Int[Tensor, "n 1 l"]:
        asked = torch.zeros(len(images), self.longest + 1, dtype=torch.long, device=images.device)
        return closed(self(images, asked).argmax(-1), end=self.classes)[:, None]


class Frames(Reader):
    """A symbol or the blank for each column, read by CTC's best path."""

    def forward(self, images: Float[Tensor, "n 3 h w"], words: Int[Tensor, "n l"]) -> Float[Tensor, "n t v"]:
        logits: Tensor = self.head(self.columns(images))
        return logits

    @torch.no_grad()
    def read(self, images: Float[Tensor, "n 3 h w"], beam: int = 1) -> Int[Tensor, "n 1 l"]:
        best = self.head(self.columns(images)).argmax(-1)
        return best_path(best, longest=self.longest, blank=self.classes)[:, None]


READERS: dict[Kind, type[Reader]] = {"autoregressive": Autoregressive, "parallel": Parallel, "ctc": Frames}


def create_reader(spec: ReaderSpec, *, classes: int, longest: int, size: int) -> Reader:
    """A reader with weights drawn from torch's state, for images `size` pixels high."""
    return READERS[spec.kind](spec, classes=classes, longest=longest, size=size)


def save_reader(path: Path, net: Reader, *, classes: list[str]) -> None:
    """A file that load_reader reads."""
    about = {"spec": asdict(net.spec), "longest": net.longest, "size": net.size}
    write_weights(path, net, {"task": "strings", "method": "", "classes": classes, **about})


def load_reader(path: Path) -> tuple[Reader, list[str]]:
    """The reader in eval mode, and its classes. Raises BadInput for anything but a file that save_reader wrote."""
    net, told = load_net(
        path, "strings",
        lambda about, classes: create_reader(
            ReaderSpec(**about["spec"]), classes=classes, longest=about["longest"], size=about["size"]
        ),
    )  # fmt: skip
    return net, told["classes"]


def attended(queries: Float[Tensor, "n q d"], columns: Float[Tensor, "n t d"]) -> Float[Tensor, "n q d"]:
    """Scaled dot-product attention of queries over columns."""
    return F.scaled_dot_product_attention(queries, columns, columns)


def best_path(frames: Int[Tensor, "n t"], *, longest: int, blank: int) -> Int[Tensor, "n l"]:
    """Equal neighbours made one, then blanks left out (Graves et al. 2006, sec. 3.1); at most `longest` symbols."""
    changed = F.pad(frames[:, 1:] != frames[:, :-1], (1, 0), value=True)
    words = torch.full((len(frames), longest + 1), blank, device=frames.device)
    for row, kept in enumerate((changed & (frames != blank)).unbind()):
        symbols = frames[row, kept][:longest]
        words[row, : len(symbols)] = symbols
    return closed(words, end=blank)
