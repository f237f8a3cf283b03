"""A link of the compression chain."""

from pathlib import Path

from tasks.lesson import teach
from tasks.lesson_params import LessonParams
from tasks.params import Params
from tasks.teaching import LEARNED, Teaching
from tasks.training import every_label, run
from tutelage.data.manifest import read_split
from tutelage.types import BadInput


def compact(split: Path, teacher: Path, *, params: Params, out: Path) -> Path:
    """Train a smaller network on labelled images and the pool, with what the teacher answers in every step:
    model.safetensors, curve.csv. A link with `learn` is trained by that loop instead, on labelled images.
    """
    chain = params.compress.chain
    if not out.name.isdigit() or int(out.name) not in chain:
        raise BadInput(f"{out} does not say its link: write work/compress/students/N, N from 1 to {len(chain)}")
    link, train, name = chain[int(out.name)], params.compress.student, f"compact@{out.name}"
    network = params.resized(link.network, f"compress.chain.{out.name}.network")
    table, weights = read_split(split), teacher / "model.safetensors"
    if link.learn is None:
        return run(every_label(name, train, network, table, teacher=weights), table, params, out, LEARNED)
    wanted = LessonParams(
        steps=train.steps,
        labelled_batch=train.labelled_batch,
        start=train.start,
        network=link.network,
        learn=link.learn,
    )
    return teach(Teaching(name=name, wanted=wanted, network=network, table=table, params=params, weights=weights), out)
