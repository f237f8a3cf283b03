"""A network that names pixels, at one level of its pyramid or two, as adversarial adaptation takes it.

Tsai et al. Learning to Adapt Structured Output Space for Semantic Segmentation. CVPR 2018, sec. 4.3.
https://arxiv.org/abs/1802.10349
"""

from jaxtyping import Float
from torch import Tensor, nn

from tutelage.models.multi import DenseHead, MultiNet


class MapLevels(nn.Module):
    """Logits of the segmentation head and, with `second`, of a head of its own on the coarsest level of the pyramid."""

    def __init__(self, network: MultiNet, *, second: bool = False):
        super().__init__()
        spec = network.spec
        self.network, self.second = network, second
        out = network.classes + 1
        self.head: nn.Module = (
            DenseHead(1, spec.detector.channels, spec.dense_width, out) if second else nn.Identity()
        )  # fmt: skip

    def forward(self, images: Float[Tensor, "n 3 s s"]) -> tuple[Float[Tensor, "n d s s"], ...]:
        outputs = self.network(images)
        assert outputs.segmentation is not None
        if not self.second:
            return (outputs.segmentation,)
        name, coarsest = list(outputs.pyramid.items())[-1]
        return outputs.segmentation, self.head({name: coarsest}, images.shape[-1]).float()
