"""detectron2's configuration files and weights.

detectron2 is imported where it is used: the library works without it.
"""

import difflib
import re
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.models.detectors import DetectorSpec
from tutelage.types import BadInput

HEADS = ("StandardROIHeads", "Res5ROIHeads")


def configure(spec: DetectorSpec, classes: int) -> Any:
    """The configuration (a detectron2 CfgNode) with what the spec says in place of what it says.

    Raises BadInput where it is not there, cannot be read, or has losses that are not weighted here.
    """
    from detectron2.config import get_cfg

    path, ours = _file(spec.config)
    config = get_cfg()
    try:
        config.merge_from_file(str(path), allow_unsafe=ours)  # the zoo's files compute their anchors in Python
    except (KeyError, ValueError, AssertionError) as error:
        raise BadInput(f"detector.config is {spec.config!r}, which detectron2 cannot read: {error}") from error
    model = config.MODEL
    model.DEVICE, model.MASK_ON, model.KEYPOINT_ON = "cpu", False, False
    model.ROI_HEADS.NUM_CLASSES = model.RETINANET.NUM_CLASSES = classes
    model.ROI_HEADS.SCORE_THRESH_TEST = model.RETINANET.SCORE_THRESH_TEST = spec.score_floor
    model.ROI_HEADS.NMS_THRESH_TEST = model.RETINANET.NMS_THRESH_TEST = spec.nms
    config.TEST.DETECTIONS_PER_IMAGE = spec.max_detections
    model.RETINANET.TOPK_CANDIDATES_TEST = spec.candidates
    if not spec.pretrained:
        model.BACKBONE.FREEZE_AT = 0
        for part in (model.RESNETS, model.FPN, model.RETINANET):
            part.NORM = "BN" if part.NORM == "FrozenBN" else part.NORM
    _check(config, spec.config)
    return config


def _file(config: str) -> tuple[Path, bool]:
    """Where a configuration is, and whether it is one of detectron2's own."""
    import detectron2

    zoo = Path(detectron2.__file__).parent / "model_zoo/configs"
    if config.endswith(".yaml") and (zoo / config).is_file():
        return zoo / config, True
    if config.endswith(".yaml") and Path(config).is_file():
        return Path(config), False
    known = [str(path.relative_to(zoo)) for path in zoo.glob("COCO-Detection/*.yaml")]
    near = ", ".join(difflib.get_close_matches(config, known, n=3, cutoff=0.0))
    raise BadInput(
        f"detector.config is {config!r}, which is neither a YAML file here nor a name in detectron2's model zoo. "
        f"Near: {near}"
    )


def _check(config: Any, name: str) -> None:
    """Raises BadInput for a configuration whose losses are not weighted here."""
    model = config.MODEL
    kind = model.META_ARCHITECTURE
    wanted: list[tuple[str, Any, tuple[Any, ...]]] = [
        ("MODEL.META_ARCHITECTURE", kind, ("GeneralizedRCNN", "RetinaNet"))
    ]
    if kind == "GeneralizedRCNN":
        wanted += [
            ("MODEL.PROPOSAL_GENERATOR.NAME", model.PROPOSAL_GENERATOR.NAME, ("RPN",)),
            ("MODEL.ROI_HEADS.NAME", model.ROI_HEADS.NAME, HEADS),
            ("MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE", model.ROI_BOX_HEAD.USE_SIGMOID_CE, (False,)),
        ]
    for key, value, allowed in wanted:
        if value not in allowed:
            raise BadInput(f"{name} has {key} {value!r}: supported are {', '.join(map(str, allowed))}")


def load_weights(net: Any, weights: str, spec: DetectorSpec) -> None:
    """Warns where only some of the backbone's weights are there, as of ImageNet, which knows no pyramid.

    Raises BadInput where the file is not there or none of them fits.
    """
    from detectron2.checkpoint import DetectionCheckpointer

    here = re.match(r"\w+://", weights) is None
    if not weights or (here and not Path(weights).is_file()):
        raise BadInput(
            f"{spec.config} has MODEL.WEIGHTS {weights!r}, which is no file here. Put it there, or set "
            "detector.pretrained to false"
        )
    drawn = _blanked(net.backbone)
    try:
        DetectionCheckpointer(net).load(weights)
    except OSError as error:
        raise BadInput(
            f"{weights} cannot be fetched ({error}). Download it elsewhere, name its path in a copy of the "
            "configuration's MODEL.WEIGHTS, or set detector.pretrained to false"
        ) from error
    missing = {name: value for name, value in net.backbone.named_parameters() if value.isnan().any()}
    if len(missing) == len(drawn):
        raise BadInput(f"{weights} has no weight that fits the backbone of {spec.config}: it is of another network")
    for name, value in missing.items():
        value.data.copy_(drawn[name])
    if missing:
        warnings.warn(
            f"{weights} has {len(drawn) - len(missing)} of the {len(drawn)} weights of the backbone of {spec.config}: "
            f"the others are drawn, such as {min(missing)}",
            stacklevel=2,
        )


def _blanked(backbone: nn.Module) -> dict[str, Tensor]:
    """The parameters as they are drawn. NaN in their place tells which ones no file had."""
    drawn = {name: value.detach().clone() for name, value in backbone.named_parameters()}
    for value in backbone.parameters():
        value.data.fill_(torch.nan)
    return drawn
