"""All methods of detection, by the name they have in params.yaml. One file each; this table is the only registry."""

from tutelage.methods.detection.dug_multiphase import DUGMultiPhase
from tutelage.methods.detection.kd import KD
from tutelage.methods.detection.mean_teacher import MeanTeacher
from tutelage.methods.detection.method import DetectionMethod
from tutelage.methods.detection.stac import STAC
from tutelage.methods.detection.supervised import Supervised
from tutelage.methods.detection.unbiased_teacher import UnbiasedTeacher

__all__ = ["DETECTION_METHODS", "DetectionMethod"]

DETECTION_METHODS: dict[str, type[DetectionMethod]] = {
    "dug_multiphase": DUGMultiPhase,
    "kd": KD,
    "mean_teacher": MeanTeacher,
    "stac": STAC,
    "supervised": Supervised,
    "unbiased_teacher": UnbiasedTeacher,
}
