"""One network for four tasks against four networks: parameters and time to answer.  python -m benchmarks.specialists

Same backbone, pyramid and heads, untrained: what they answer does not matter to their size. Both take turns, so that a
noisy machine slows both; the ratio is the median over the turns. The detector's floor keeps it from sorting what an
untrained head finds.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence

import torch

from benchmarks.turns import take_turns
from tutelage.models.detectors import DetectorSpec
from tutelage.models.files import count_parameters
from tutelage.models.multi import MultiNet
from tutelage.models.multi_spec import MultiSpec
from tutelage.multi_types import Multi
from tutelage.types import TASKS

FLOOR = 0.5  # of the scores of found boxes


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--images", type=int, default=8, help="in a batch")
    arguments.add_argument("--batches", type=int, default=2, help="of each side in a turn")
    arguments.add_argument("--turns", type=int, default=15)
    arguments.add_argument("--size", type=int, default=96, help="pixels")
    arguments.add_argument("--backbone", default="small_resnet")
    arguments.add_argument("--classes", type=int, default=10)
    asked = arguments.parse_args()
    torch.set_num_threads(1)
    shared = DetectorSpec(backbone=asked.backbone, image_size=asked.size, score_floor=FLOOR)
    student = MultiNet(MultiSpec(detector=shared), asked.classes, download=False).eval()
    each = [MultiNet(MultiSpec(tasks=(task,), detector=shared), asked.classes, download=False).eval() for task in TASKS]
    sizes = [[count_parameters(net) for net in nets] for nets in ([student], each)]
    print(f"parameters: {sizes[0][0]:,} against {sum(sizes[1]):,} of {len(TASKS)} specialists", end="")
    print(f", a share of {sizes[0][0] / sum(sizes[1]):.3f}")
    images = torch.rand(asked.images, 3, asked.size, asked.size)
    times = take_turns(
        answering([student], images, asked.batches), answering(each, images, asked.batches), turns=asked.turns
    )
    ratios = sorted(ours / theirs for ours, theirs in times)
    ours = 1000 * statistics.median(ours for ours, _ in times)
    print(
        f"time: {statistics.median(ratios):.3f} of theirs ({ratios[0]:.3f} to {ratios[-1]:.3f}); {ours:.1f} ms a batch"
    )
    return 0


def answering(nets: Sequence[Multi], images: torch.Tensor, batches: int) -> Callable[[], int]:
    """Asks every network for its answers to `batches` batches and says how many."""

    def work() -> int:
        with torch.inference_mode():
            for _ in range(batches):
                for net in nets:
                    net.answers(images)
        return batches

    return work


if __name__ == "__main__":
    sys.exit(main())
