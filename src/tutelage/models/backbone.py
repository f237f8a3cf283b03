"""Any timm backbone as a Network, and a small residual one for small images.

timm is imported where it is used: it takes longer to load than most stages take to run.
"""

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tutelage.models.grown import Architecture, Behind, check_layers
from tutelage.models.interacting import Interacting
from tutelage.models.layout import layout
from tutelage.models.tokens import Ask, small_vit, through_blocks
from tutelage.types import BadInput, Network, Outputs

SMALL_VITS = {f"small_vit_{blocks}": blocks for blocks in (1, 2, 3, 4, 6, 8, 12)}
OWN = ("small_resnet", "interacting_resnet", *SMALL_VITS)  # networks that are not timm's, of any width


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """What a network is made from. `small_resnet` has three stages of `width`, 2 `width` and 4 `width` channels,
    `interacting_resnet` is two of it that answer as one (method `afid`); `small_vit_4` is a vision transformer of 4
    blocks."""

    __pydantic_config__ = {"extra": "forbid"}
    name: str = "small_resnet"  # interacting_resnet, one of SMALL_VITS or any name of timm.list_models()
    width: int = 32  # of small_resnet's first stages and of small_vit's tokens; others have their own
    image_size: int = 28  # pixels; images are resized to this square
    pretrained: bool = False  # published weights of timm's networks, which are downloaded
    added: Architecture = ()  # layers behind the stages, equally many behind each: what oracle_search found

    def __post_init__(self) -> None:
        check_layers(self.added)
        if self.width < 1 or self.image_size < 8:
            raise BadInput(f"{self}: width is at least 1 channel, image_size at least 8 pixels")
        if self.name in OWN and self.pretrained:
            raise BadInput(f"network.pretrained is true, but {self.name} has no published weights. Set it to false")
        if self.name not in OWN:
            _check_known(self.name)


class Backbone(Network):
    """A timm network that returns logits, embedding and one feature map a stage."""

    def __init__(self, spec: NetworkSpec, classes: int, *, download: bool):
        super().__init__()
        self.spec = spec
        self.net: Any = _made(spec, classes, download)
        mean, std = normalisation(spec)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        self.layout = layout(self)
        self.to(memory_format=self.layout)
        self.widths, self.embedding_width = _dry_run(self, spec.image_size)
        if spec.added:
            _add(self)

    def forward(self, images: Tensor, *, tokens: Ask | None = None) -> Outputs:
        """`tokens` asks a vision transformer for what it computes on its way; of others it raises BadInput."""
        normal = ((images - self.mean) / self.std).contiguous(memory_format=self.layout)
        seen = None
        if tokens is None:
            last, maps = self.net.forward_intermediates(normal)
        else:
            last, maps, seen = through_blocks(self.net, normal, tokens)
        embedding = self.net.forward_head(last, pre_logits=True)
        head = self.net.get_classifier()
        # Of others, as two heads whose answers are averaged or a convolution, only the network knows how they answer.
        logits = head(embedding) if isinstance(head, nn.Linear | nn.Identity) else self.net.forward_head(last)
        # Losses are taken in full precision whatever the network computes in.
        features = {f"stage{i}": m for i, m in enumerate(maps, start=1)}
        return Outputs(logits.float(), embedding.float(), features, seen)


def create(spec: NetworkSpec, classes: int, *, download: bool = True) -> Backbone:
    """A new network. Random weights are drawn from torch's global state.

    `download=False` leaves published weights out even where the spec names them: for files that hold their own.
    """
    return Backbone(spec, classes, download=download and spec.pretrained)


def normalisation(spec: NetworkSpec) -> tuple[Float[Tensor, "3 1 1"], Float[Tensor, "3 1 1"]]:
    """Mean and standard deviation that pixels in 0..1 are normalised by.

    Published weights fix them, each its own; without, grey half-way is zero and the range is -1..1.
    """
    mean: tuple[float, ...] = (0.5,) * 3
    std: tuple[float, ...] = (0.5,) * 3
    if spec.pretrained:
        from timm.models import get_pretrained_cfg

        if published := get_pretrained_cfg(spec.name):  # None: timm has no weights of it, and says so when it is made
            mean, std = published.mean, published.std
    return torch.tensor(mean).view(3, 1, 1), torch.tensor(std).view(3, 1, 1)


def _made(spec: NetworkSpec, classes: int, download: bool) -> nn.Module:
    if spec.name == "small_resnet":
        return small_resnet(spec.width, classes)
    if spec.name == "interacting_resnet":
        return Interacting([small_resnet(spec.width, 0) for _ in range(2)], classes)
    if spec.name in SMALL_VITS:
        return small_vit(SMALL_VITS[spec.name], spec.width, classes=classes, image_size=spec.image_size)
    return from_timm(spec.name, classes, download)


def _check_known(name: str) -> None:
    import timm

    if not timm.is_model(name):
        near = ", ".join(get_close_matches(name.lower(), timm.list_models(), n=5, cutoff=0.5)) or "none"
        raise BadInput(f"network.name is {name!r}, which timm {timm.__version__} does not know. Near: {near}")


def small_resnet(width: int, classes: int) -> nn.Module:
    """Stem of stride 2, then three stages of one basic block: 4 x 4 positions are left of 28 x 28 pixels."""

    from timm.models.byobnet import ByoBlockCfg, ByobNet, ByoModelCfg

    widths = (width, 2 * width, 4 * width)
    blocks = tuple(
        ByoBlockCfg("basic", d=1, c=channels, s=1 if i == 0 else 2, gs=0, br=1.0) for i, channels in enumerate(widths)
    )
    config = ByoModelCfg(blocks=blocks, stem_type="3x3", stem_chs=width, stem_pool="")
    net: nn.Module = ByobNet(config, num_classes=classes, zero_init_last=False)
    for module in net.modules():  # timm's start is made for long runs: after 1,000 steps it is 8 points behind torch's
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.reset_parameters()
    return net


def from_timm(name: str, classes: int, download: bool) -> nn.Module:
    """Raises BadInput where timm does not know the network, cannot say what it sees on the way, or cannot download its
    published weights."""
    import timm

    _check_known(name)
    if download and not timm.is_model_pretrained(name):
        raise BadInput(
            f"network.pretrained is true, but timm {timm.__version__} has no weights of {name}. Set it to false"
        )
    try:
        net: nn.Module = timm.create_model(name, pretrained=download, num_classes=classes)
    except OSError as error:  # as those of huggingface_hub and urllib are
        raise BadInput(
            f"network.pretrained is true, but the published weights of {name} could not be downloaded ({error}). Set "
            "it to false, or copy ~/.cache/huggingface from a machine that has downloaded them"
        ) from error
    if not hasattr(net, "forward_intermediates"):
        raise BadInput(f"network.name is {name!r}, which has no forward_intermediates in timm {timm.__version__}")
    return net


def _add(net: Backbone) -> None:
    """Put the layers of its spec behind the stages. Raises BadInput where they do not fit."""
    stages: Any = getattr(net.net, "stages", [])
    layers = net.spec.added
    if len(stages) != len(net.widths) or len(layers) % len(stages):
        raise BadInput(
            f"network.added has {len(layers)} layers, but {net.spec.name} has {len(stages)} stages that layers can "
            "stand behind, equally many behind each. Leave it out, or use small_resnet"
        )
    depth = len(layers) // len(stages)
    for place, width in enumerate(net.widths.values()):
        mine = layers[place * depth : (place + 1) * depth]
        stages[place] = Behind(stages[place], mine, width).to(memory_format=net.layout)


@torch.no_grad()
def _dry_run(net: Backbone, size: int) -> tuple[dict[str, int], int]:
    training = net.training
    net.eval()
    try:
        outputs = net(torch.zeros(1, 3, size, size))
    except (RuntimeError, AssertionError, TypeError, IndexError, ValueError) as error:
        raise BadInput(
            f"{net.spec.name} cannot take images of {size} pixels ({error}). Set network.image_size to what it takes, "
            "or choose another network.name"
        ) from error
    net.train(training)
    return {name: m.shape[1] for name, m in outputs.features.items()}, outputs.embedding.shape[1]
