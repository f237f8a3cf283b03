"""The detector of most tests of detection."""

import torch
import torch.nn.functional as F
from torch import nn

from tutelage.models.parts import by_part
from tutelage.types import Detections, Detector, Look


class TinyDetector(Detector):
    """The smallest detector that answers like a real one: one level of stride 4, batch norm, three classes.

    Cells whose centre lies in a box are to find it; cells of a box of weight 0 are ignored.
    """

    def __init__(self, width: int = 8, classes: int = 3, floor: float = 0.05):
        super().__init__()
        self.classes, self.widths, self.floor = classes, {"p2": width}, floor
        self.body = nn.Sequential(
            nn.Conv2d(3, width, 4, 4),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
        )
        self.head = nn.Conv2d(width, classes + 4, 1)

    def forward(self, images, targets=None, weight=None, *, look=False, parts=None, known=None):
        assert len(images), "a network is never asked about nothing"
        maps = self.pyramid(images)
        said = self.head(maps["p2"]).flatten(2).transpose(1, 2).float()
        logits, sides = said.split([self.classes, 4], dim=-1)
        if targets is None and not look:
            return self._found(logits, sides, images.shape[-1])
        losses = {}
        if targets is not None:
            weight = torch.ones(len(images)) if weight is None else weight
            known = torch.ones(len(images), self.classes, device=images.device) if known is None else known
            losses = by_part(
                parts, lambda s: self._losses(logits[s], sides[s], targets[s], weight[s], known[s], images.shape[-1])
            )
        dense = {"logits": logits, "deltas": sides}
        return Look(losses, maps, dense, (), logits.new_zeros(0, self.classes + 1)) if look else losses

    def pyramid(self, images):
        return {"p2": self.body(4 * images - 2)}

    def _centres(self, size, device=None):
        steps = torch.arange(2, size, 4, device=device).float()
        y, x = torch.meshgrid(steps, steps, indexing="ij")
        return torch.stack([x, y], dim=-1).reshape(-1, 2)

    def _losses(self, logits, sides, targets, weight, known, size):
        sums, trusted, places, placed = 0, 0, 0, 0
        for said, box, target, trust, told in zip(logits, sides, targets, weight, known, strict=True):
            right, cell, of_place, goal = self._goal(target, size, said.device)
            wrong = (told * F.binary_cross_entropy_with_logits(said, right, reduction="none")).sum(-1)
            sums = sums + trust * (cell * wrong).sum()
            trusted = trusted + trust * (cell * right.amax(-1)).sum()
            places = places + trust * (of_place * F.smooth_l1_loss(box, goal, reduction="none").sum(-1)).sum()
            placed = placed + trust * of_place.sum()
        return {"classification": sums / trusted.clamp(min=1), "box": places / placed.clamp(min=1)}

    def _goal(self, target, size, device):
        centres = self._centres(size, device)
        right = torch.zeros(len(centres), self.classes, device=device)
        cell, of_place = torch.ones(len(centres), device=device), torch.zeros(len(centres), device=device)
        goal = torch.zeros(len(centres), 4, device=device)
        for place, label, weight, place_weight in zip(*target, strict=True):
            inside = ((centres > place[:2]) & (centres < place[2:])).all(-1)
            right = torch.where(inside[:, None], F.one_hot(label, self.classes).float(), right)
            cell, of_place = torch.where(inside, weight, cell), torch.where(inside, place_weight, of_place)
            sides = torch.cat([centres - place[:2], place[2:] - centres], dim=-1) / 4
            goal = torch.where(inside[:, None], sides, goal)
        return right, cell, of_place, goal

    @torch.no_grad()
    def _found(self, logits, sides, size):
        centres = self._centres(size, logits.device)
        found = []
        for said, side in zip(logits.sigmoid(), sides, strict=True):
            score, label = said.max(-1)
            places = torch.cat([centres - 4 * side[:, :2], centres + 4 * side[:, 2:]], dim=-1).clamp(0, size)
            order = score.argsort(descending=True, stable=True)
            sure = order[score[order] > self.floor]
            found.append(Detections(places[sure], label[sure], score[sure]))
        return found
