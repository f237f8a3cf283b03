"""Mean teachers are better role models: Weight-averaged consistency targets improve semi-supervised deep learning
results. Tarvainen, Valpola. NeurIPS 2017. https://arxiv.org/abs/1703.01780"""

from dataclasses import dataclass

from torch import nn

from tutelage.data.warping import warped
from tutelage.losses.ramps import sigmoid_ramp
from tutelage.losses.soft_boxes import dense_consistency
from tutelage.methods.detection.method import DetectionMethod, Part, both_views, learn_and_look, of_the_pool
from tutelage.methods.method import Clock, check
from tutelage.models.average import follow
from tutelage.types import Detector, DetectorNets, Losses, SceneBatch, Sizes


@dataclass(frozen=True, kw_only=True)
class MeanTeacher(DetectionMethod):
    """Say of each position of a pool image what a moving average of yourself says of it, without a threshold.

    The paper is of classification. Here an answer is of a position, so the teacher sees the weak view moved to where
    the strong one lies; and the distance is divided by how many positions the teacher sees objects in, not by all.
    Of faster_rcnn the positions are those of its proposal network.
    """

    teacher = "copy"
    weight: float = 1.0  # c
    decay: float = 0.999  # alpha, at most; the teacher of step t averages over no more than t + 1 steps
    ramp: float = 0.03  # share of the run over which the weight grows; the authors: 5 of 180 epochs
    pseudo: float = 0.0  # weight of the boxes that were written before the run; the paper has none
    unsupervised: float = 1.0  # the guard's factor on the consistency and the pseudo-boxes

    def __post_init__(self) -> None:
        check(self, shares=("decay", "ramp"), weights=("weight", "pseudo", "unsupervised"))

    def init(self, student: Detector, teacher: Detector, sizes: Sizes) -> nn.Module:
        return Clock(sizes.steps)

    def loss(self, nets: DetectorNets, batch: SceneBatch) -> Losses:
        clock, known, pool = nets.extra, both_views(batch.labeled), batch.pool
        assert isinstance(clock, Clock)
        noisy = Part(pool.strong, pool.strong_boxes, pool.weight)
        (task, pseudo), seen = learn_and_look(nets.student, known, noisy)
        student = seen.dense["logits"][len(known.images) :]
        # Of an empty pool nobody is asked: the distance to itself is a zero in the graph.
        teacher = nets.teacher.dense(warped(pool.weak, pool.move))["logits"] if len(pool.weak) else student.detach()
        scale = self.unsupervised * self.weight * sigmoid_ramp(clock.progress(self.ramp))
        consistency = {"consistency": scale * dense_consistency(student, teacher)}
        return task | of_the_pool(pseudo, self.unsupervised * self.pseudo) | consistency

    def after_step(self, nets: DetectorNets, step: int) -> None:
        super().after_step(nets, step)
        follow(nets.teacher, nets.student, step, most=self.decay)
