"""AdaBN: Revisiting Batch Normalization For Practical Domain Adaptation. Li, Wang, Shi, Liu, Hou. 2016.
https://arxiv.org/abs/1603.04779"""

from collections.abc import Iterable

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from tutelage.types import BadInput


def renorm(net: nn.Module, batches: Iterable[Float[Tensor, "n 3 h w"]]) -> None:
    """The means and variances of all batch norms become those of these images alone, each batch counted alike; weights
    stay. Raises BadInput for a network without batch norm."""
    if not any(isinstance(module, _BatchNorm) for module in net.modules()):
        raise BadInput(
            "the network has no batch norm whose statistics could be taken from the target (those of published weights "
            "are frozen). Leave `norms: target` out, or train one from scratch"
        )
    update_bn(batches, net)
