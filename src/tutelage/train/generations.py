"""One student trained several times over under one teacher: recursive distillation.

Yan et al., VarGFaceNet, ICCVW 2019, sec. 2.6. https://arxiv.org/abs/1910.04985
"""

import copy
from collections.abc import Iterator

from tutelage.methods.method import Method
from tutelage.train.loop import Run, begin
from tutelage.train.settings import Optimiser
from tutelage.types import Nets, Network, Sizes


def generations(
    method: Method, student: Network, teacher: Network, sizes: Sizes, settings: Optimiser, *, count: int
) -> Iterator[Run[Network, Nets]]:
    """`count` runs at step 0. Train each with `fit` before asking for the next.

    The next student begins with the average that the last run ended with, what a run is kept for; the schedule, the
    optimizer and what a method trains beside the student begin anew. The teacher stays.
    """
    for _ in range(count):
        run = begin(method, student, teacher, sizes, settings)
        yield run
        student = copy.deepcopy(run.average).requires_grad_(True)
