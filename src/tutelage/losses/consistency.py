"""How far two predictions for one image are apart."""

from jaxtyping import Float
from torch import Tensor


def softmax_mse(student: Float[Tensor, "n c"], teacher: Float[Tensor, "n c"]) -> Float[Tensor, " n"]:
    """Squared distance between the probabilities behind two sets of logits, each row divided by the classes.

    No gradient reaches `teacher`. Tarvainen and Valpola, Mean teachers are better role models, NeurIPS 2017, with
    the division of the authors' code. https://arxiv.org/abs/1703.01780
    """
    return (student.softmax(-1) - teacher.detach().softmax(-1)).square().mean(-1)
