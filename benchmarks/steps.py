"""What a training step of each method costs, as a ratio to a step of kd:  python -m benchmarks.steps [METHOD ...]

Same networks, batch, precision, process. Both take turns, so that a noisy machine slows both; the ratio is the median
over the turns. kd against itself says how much of a ratio is noise. Methods without a pool get no pool, as in a run.
Exits 1 for a method over the limit that is not in EXCEPTIONS, and for one whose networks do not fit.
"""

import argparse
import itertools
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from accelerate import Accelerator

from benchmarks.turns import CLASSES, random_batch, take_turns
from tasks.params import load
from tutelage.methods import METHODS, Method
from tutelage.methods.afid import AFID
from tutelage.models.backbone import NetworkSpec, create
from tutelage.train.device import accelerator, precision
from tutelage.train.loop import begin, fit
from tutelage.train.settings import Optimiser
from tutelage.types import BadInput, Sizes

ROOT = Path(__file__).parents[1]
LIMIT, LONG = 1.3, 1_000_000
REFERENCE = "kd"
EXCEPTIONS = {  # what may cost more than LIMIT, and why
    "ab": "a connector with batch norm, and a margin for each neuron of the teacher, at every stage",
    "factor_transfer": "an autoencoder of the teacher's map and a translator, both 3 x 3 convolutions, learn too",
    "fsp": "products of all channels of one stage with all of the next, for each image, and adapters of all stages",
    "mcl": "three further copies of all behind the first stage, and 12 pairs of branches with 256 memories an image",
    "pcl": "two views of each image, branches, and a moving average of all that answers too",
    "rkd": "the angles of all n x n x n triples of a batch, in full precision",
    "shrinkteanet": "adapters with batch norm at every stage, beside the embedding's",
    "sskd": "both networks see four turns of each image, as the paper has it",
}


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("methods", nargs="*", metavar="METHOD", help="by name; all if none is named")
    arguments.add_argument("--steps", type=int, default=4, help="of each side in a turn")
    arguments.add_argument("--turns", type=int, default=9)
    arguments.add_argument("--teacher", type=int, default=32, help="width of the teacher's first stage")
    arguments.add_argument("--student", type=int, default=16)
    arguments.add_argument("--labelled", type=int, default=32, help="images in a batch")
    arguments.add_argument("--pool", type=int, default=96)
    arguments.add_argument("--processor", action="store_true", help="seconds of the CPU, where other work shares it")
    asked = arguments.parse_args()
    if unknown := set(asked.methods) - set(METHODS):
        arguments.error(f"no method is named {', '.join(sorted(unknown))}: choose from {', '.join(METHODS)}")
    compute = load(ROOT / "params.yaml").compute
    engine = accelerator(compute)
    low = precision(compute, cpu=engine.device.type == "cpu")
    print(f"{engine.device}, precision {low}, {torch.get_num_threads()} threads, {asked}", flush=True)
    found, unfit = measure(asked, engine)
    print("\n".join(verdict(found)))
    return 1 if unfit or any(ratio > LIMIT and name not in EXCEPTIONS for name, ratio in found.items()) else 0


def measure(asked: argparse.Namespace, engine: Accelerator) -> tuple[dict[str, float], list[str]]:
    """The ratio of each method, and those whose networks do not fit."""
    found, unfit = {}, []
    for name in asked.methods or METHODS:
        try:
            sides = [stepper(METHODS[each](), METHODS[name], engine, asked) for each in (name, REFERENCE)]
        except BadInput as error:
            print(f"{name}: not timed, its networks do not fit: {error}", flush=True)
            unfit.append(name)
            continue
        times = take_turns(*sides, turns=asked.turns, processor=asked.processor)
        found[name] = statistics.median(ours / theirs for ours, theirs in times)
        milliseconds = 1000 * statistics.median(ours for ours, _ in times)
        print(f"{name:24} {found[name]:6.2f}  {milliseconds:8.1f} ms", flush=True)
    return found, unfit


def verdict(found: dict[str, float]) -> Iterator[str]:
    """What is over the limit, dearest first, and the reason that is known for it."""
    over = sorted((ratio, name) for name, ratio in found.items() if ratio > LIMIT)
    yield f"{len(found) - len(over)} of {len(found)} methods cost at most {LIMIT} of a step of {REFERENCE}; above it:"
    for ratio, name in reversed(over):
        yield f"{name:24} {ratio:6.2f}  {EXCEPTIONS.get(name, 'NO REASON IS KNOWN: make it cheaper')}"


def specs(judged: type[Method], asked: argparse.Namespace) -> tuple[NetworkSpec, NetworkSpec]:
    """Student and teacher that fit a method; where tokens are compared, transformers of 2 and 4 blocks of the teacher's
    width. A reference runs on the networks of the method that it is measured against."""
    if judged is AFID:
        return NetworkSpec(name="interacting_resnet", width=asked.student), NetworkSpec(width=asked.teacher)
    if judged.tokens:
        return NetworkSpec(name="small_vit_2", width=asked.teacher), NetworkSpec(
            name="small_vit_4", width=asked.teacher
        )
    return NetworkSpec(width=asked.student), NetworkSpec(width=asked.teacher)


def stepper(method: Method, judged: type[Method], engine: Accelerator, asked: argparse.Namespace) -> Callable[[], int]:
    """Takes `asked.steps` steps and says how many."""
    torch.manual_seed(0)
    pool = asked.pool if method.pool else 0
    student, teacher = (create(spec, CLASSES) for spec in specs(judged, asked))
    run = begin(method, student, teacher, Sizes(asked.labelled, pool, CLASSES, LONG), Optimiser())
    batches = itertools.cycle([random_batch(asked.labelled, pool) for _ in range(3)])

    def work() -> int:
        feed = itertools.islice(batches, asked.steps)
        return sum(1 for _ in fit(method, run, feed, Optimiser(), steps=LONG, accelerator=engine))

    return work


if __name__ == "__main__":
    sys.exit(main())
