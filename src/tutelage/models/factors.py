"""Networks that say a feature map in fewer channels: the paraphraser of a teacher and the translator of a student.

Kim, Park, Kwak, Paraphrasing Complex Network, NeurIPS 2018, sec. 3. https://arxiv.org/abs/1802.04977
"""

import copy

from jaxtyping import Float
from torch import Tensor, nn

from tutelage.models.heads import Freezing
from tutelage.models.pairs import same_size


class Encoder(nn.Module):
    """Three 3 x 3 convolutions with leaky ReLU, from `channels` to `words`: a translator, or half a paraphraser."""

    def __init__(self, channels: int, words: int):
        super().__init__()
        self.net = _chain([nn.Conv2d(a, b, 3, padding=1) for a, b in _steps(channels, words)])

    def forward(self, maps: Tensor) -> Float[Tensor, "n words h w"]:
        return self.net(maps).float()  # type: ignore[no-any-return]


class Factors(Freezing):
    """A teacher's map, paraphrased, and a student's, translated to be compared with it.

    The encoder is frozen: the teacher's factor always comes from the copy.
    """

    def __init__(self, student: tuple[str, int], teacher: tuple[str, int], words: int):
        """Of both networks the name of a stage and its channels."""
        super().__init__()
        (self.ours, channels), (self.theirs, wanted) = student, teacher
        self.encoder, self.translator = Encoder(wanted, words), Encoder(channels, words)
        back: list[nn.Module] = [nn.ConvTranspose2d(a, b, 3, padding=1) for b, a in reversed(_steps(wanted, words))]
        self.decoder = _chain(back)
        self.frozen = copy.deepcopy(self.encoder).requires_grad_(False)

    def forward(self, student: dict[str, Tensor], teacher: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of both networks' features: the teacher's map, what the autoencoder makes of it, the student's factor and
        the teacher's; all [n, c, h, w]."""
        told = teacher[self.theirs].float()
        translated, factor = same_size(self.translator(student[self.ours]), self.frozen(told))
        return told, self.decoder(self.encoder(told)).float(), translated, factor

    def freeze(self) -> None:
        """From now on the teacher's factor is what the encoder says now."""
        self.frozen.load_state_dict(self.encoder.state_dict())


def _steps(channels: int, words: int) -> list[tuple[int, int]]:
    return [(channels, channels), (channels, words), (words, words)]


def _chain(layers: list[nn.Module]) -> nn.Sequential:
    return nn.Sequential(*(nn.Sequential(layer, nn.LeakyReLU(0.1)) for layer in layers))
