"""How far a pseudo-box may be believed: by jitter, by overlap with others, by several detectors.

What is used while training takes tensors; what is asked once of stored boxes takes `Found`.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tutelage.data.boxes import Found, overlap


def jitter_variance(boxes: Float[Tensor, "k 4"], regressed: Float[Tensor, "k j 4"]) -> Float[Tensor, " k"]:
    """How far what a detector makes of jittered copies of a box scatters: the standard deviation of each coordinate
    over copies, over the box's mean side, averaged over the coordinates. The variance divides by copies - 1.

    Xu et al., End-to-End Semi-Supervised Object Detection with Soft Teacher, ICCV 2021, eq. 6 and 7.
    https://arxiv.org/abs/2106.09018
    """
    side = (boxes[:, 2:] - boxes[:, :2]).mean(-1).clamp_min(1e-6)
    apart = regressed - regressed.mean(1, keepdim=True)
    spread = (apart.square().sum(1) / (regressed.shape[1] - 1)).sqrt()  # Tensor.std warns where there is no box
    return spread.mean(-1) / side


def region_weight(overlaps: Float[Tensor, "*k"]) -> Float[Tensor, "*k"]:
    """Weight of a region of a pool image by its largest overlap with a pseudo-box: 0.25 + 0.75 exp(-50 exp(-15 o)).

    Wang Z. et al., Data-Uncertainty Guided Multi-Phase Learning, CVPR 2021. https://arxiv.org/abs/2103.16368
    """
    return 0.25 + 0.75 * torch.exp(-50 * torch.exp(-15 * overlaps))


def agreed(one: Found, two: Found, *, iou: float = 0.5, nms: float = 0.3) -> Found:
    """The boxes of an image that two detectors find, of each pair the surer one.

    A pair has one class and overlaps by more than `iou`. Of those kept, a box that overlaps a surer one of its class by
    more than `nms` goes. Phase 2 of Data-Uncertainty Guided Multi-Phase Learning.
    """
    from torchvision.ops import batched_nms  # seconds to import, which stages without detectors save

    pairs = (overlap(one.places, two.places) > iou) & (one.labels[:, None] == two.labels[None])
    surer = one.scores[:, None] >= two.scores[None]
    first, second = (pairs & surer).any(1), (pairs & ~surer).any(0)
    both = Found(*(np.concatenate([a[first], b[second]]) for a, b in zip(one, two, strict=True)))
    places, labels, scores = (torch.from_numpy(column) for column in both)
    keep = batched_nms(places.double(), scores.double(), labels, nms).numpy()  # surest first
    return Found(*(column[keep] for column in both))


def fused(
    detectors: Sequence[Found], *, weights: Sequence[float] = (0.9, 1.0, 1.4), iou: float = 0.6, absent: bool = True
) -> Found:
    """What several detectors find in an image, fused: boxes of a class that overlap by more than `iou` become one.

    Boxes, surest first after the detector's weight, join the fused box of their class that they overlap most, else
    start one. Its place is the mean of its boxes weighted by their weighted scores, its score their mean, times
    min(boxes, detectors) / sum of the weights. The default weights are those of Data-Uncertainty Guided Multi-Phase
    Learning for its three detectors. Where those who do not find a box have no say (not `absent`), its score is the
    weighted mean of what the others give it: chances stay chances, to be held against a threshold of one detector's.

    Solovyev et al., Weighted boxes fusion, Image and Vision Computing 2021. https://arxiv.org/abs/1910.13302
    """
    if len(weights) != len(detectors):
        raise ValueError(f"{len(detectors)} detectors have {len(weights)} weights")
    places, labels, _ = (np.concatenate(columns) for columns in zip(*detectors, strict=True))
    says = np.concatenate([np.full(len(one.scores), weight) for weight, one in zip(weights, detectors, strict=True)])
    scores = says * np.concatenate([one.scores.astype(np.float64) for one in detectors])
    centre, sums, label = np.zeros((len(scores), 4)), np.zeros((len(scores), 4)), np.full(len(scores), -1)
    mass, members, trust, count = *np.zeros((3, len(scores))), 0  # of each fused box
    for place in np.argsort(-scores, kind="stable"):
        box, mine = places[place].astype(np.float64), np.flatnonzero(label[:count] == labels[place])
        shared = overlap(box[None], centre[mine])[0]
        best = int(mine[shared.argmax()]) if shared.max(initial=0.0) > iou else count
        count, label[best] = max(count, best + 1), labels[place]
        for column, part in ((mass, scores[place]), (members, 1), (trust, says[place])):
            column[best] += part
        sums[best] += scores[place] * box
        centre[best] = sums[best] / mass[best] if mass[best] else box
    share = np.minimum(members, len(detectors)) / sum(weights) if absent else members / np.maximum(trust, 1e-12)
    score = (mass / np.maximum(members, 1) * share)[:count]
    order = np.argsort(-score, kind="stable")
    return Found(centre[order].astype(np.float32), label[order], score[order].astype(np.float32))
