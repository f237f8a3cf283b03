"""What a training step of each method costs, as a ratio to a step of kd:  python -m benchmarks.steps [METHOD ...]

Same networks, batch, precision, process. Both take turns, so that a noisy machine slows both; the ratio is the median
over the turns. kd against itself says how much of a ratio is noise. Methods without a pool get no pool, as in a run.
"""

import argparse
import itertools
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import Accelerator

from benchmarks.turns import CLASSES, random_batch, take_turns
from tasks.params import load
from tutelage.methods import METHODS, Method
from tutelage.models.backbone import NetworkSpec, create
from tutelage.train.device import accelerator, precision
from tutelage.train.loop import begin, fit
from tutelage.train.settings import Optimiser
from tutelage.types import BadInput, Sizes

ROOT = Path(__file__).parents[1]
LIMIT, LONG = 1.3, 1_000_000
REFERENCE = "kd"


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("methods", nargs="*", metavar="METHOD", help="by name; all if none is named")
    arguments.add_argument("--steps", type=int, default=4, help="of each side in a turn")
    arguments.add_argument("--turns", type=int, default=9)
    arguments.add_argument("--teacher", type=int, default=32, help="width of the teacher's first stage")
    arguments.add_argument("--student", type=int, default=16)
    arguments.add_argument("--labelled", type=int, default=32, help="images in a batch")
    arguments.add_argument("--pool", type=int, default=96)
    asked = arguments.parse_args()
    if unknown := set(asked.methods) - set(METHODS):
        arguments.error(f"no method is named {', '.join(sorted(unknown))}: choose from {', '.join(METHODS)}")
    compute = load(ROOT / "params.yaml").compute
    engine = accelerator(compute)
    low = precision(compute, cpu=engine.device.type == "cpu")
    print(f"{engine.device}, precision {low}, {torch.get_num_threads()} threads, {asked}", flush=True)
    found: dict[str, float] = {}
    for name in asked.methods or METHODS:
        try:
            sides = [stepper(METHODS[each](), engine, asked) for each in (name, REFERENCE)]
        except BadInput as error:
            print(f"{name}: not timed, its networks do not fit: {error}", flush=True)
            continue
        times = take_turns(*sides, turns=asked.turns)
        found[name] = statistics.median(ours / theirs for ours, theirs in times)
        milliseconds = 1000 * statistics.median(ours for ours, _ in times)
        print(f"{name:24} {found[name]:6.2f}  {milliseconds:8.1f} ms", flush=True)
    over = {name: ratio for name, ratio in sorted(found.items(), key=lambda pair: -pair[1]) if ratio > LIMIT}
    print(f"over {LIMIT}: {', '.join(f'{name} {ratio:.2f}' for name, ratio in over.items()) or 'none'}")
    return 0


def stepper(method: Method, engine: Accelerator, asked: argparse.Namespace) -> Callable[[], int]:
    """Takes `asked.steps` steps and says how many."""
    torch.manual_seed(0)
    pool = asked.pool if method.pool else 0
    student, teacher = (create(NetworkSpec(width=width), CLASSES) for width in (asked.student, asked.teacher))
    run = begin(method, student, teacher, Sizes(asked.labelled, pool, CLASSES, LONG), Optimiser())
    batches = itertools.cycle([random_batch(asked.labelled, pool) for _ in range(3)])

    def work() -> int:
        feed = itertools.islice(batches, asked.steps)
        return sum(1 for _ in fit(method, run, feed, Optimiser(), steps=LONG, accelerator=engine))

    return work


if __name__ == "__main__":
    sys.exit(main())
