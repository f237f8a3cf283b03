"""What the stages of compression will do, as far as it takes long."""

from dataclasses import replace
from pathlib import Path

from tasks.alone import alone_job
from tasks.params import Params
from tasks.training import every_label
from tasks.workload import Stages, Work, World, after, nothing, tested, training
from tutelage.models.backbone import NetworkSpec
from tutelage.models.files import load_model
from tutelage.types import BadInput

LARGE, LAST = "work/compress/teacher", "work/judge"
RUNTIMES = 4  # that export asks about the test: PyTorch and three ONNX files


def _alone(world: World, key: str) -> list[Work]:
    return training(world, alone_job(key, world.table, world.params), f"compress.{key}")


def _compact(world: World, key: str) -> list[Work]:
    """Raises BadInput for a link with `learn`: its loop has steps of its own kind."""
    link, train = world.params.compress.chain[int(key)], world.params.compress.student
    if link.learn is not None:
        name = type(link.learn).__name__
        raise BadInput(f"compress.chain.{key} is taught by {name}, a loop whose steps estimate does not try. Time it")
    job = every_label(f"compact@{key}", train, _link(world.params, int(key)), world.table)
    return training(world, job, "compress.student", _taught_by(world.params, int(key)))


def _compact_evaluate(world: World, key: str) -> list[Work]:
    return tested(world, _taught_by(world.params, 1) if key == "teacher" else _link(world.params))


def _export(world: World, key: str) -> list[Work]:
    """ONNX files answer about as fast as PyTorch does."""
    return [replace(work, amount=RUNTIMES * work.amount) for work in _compact_evaluate(world, key)]


STAGES: Stages = {
    "alone": _alone, "compact": _compact, "compact_evaluate": _compact_evaluate, "export": _export,
    "compact_judge": nothing,
}  # fmt: skip


def _link(params: Params, number: int | None = None) -> NetworkSpec:
    """The student of a link, the last one unless said otherwise."""
    number = number or params.compress.last
    return params.resized(params.compress.chain[number].network, f"compress.chain.{number}.network")


def _taught_by(params: Params, number: int) -> NetworkSpec:
    """The teacher of a link: of the first any folder with a model, which may not be there yet."""
    if number > 1:
        return _link(params, number - 1)
    teacher = params.compress.chain[1].teacher
    if (Path(teacher) / "model.safetensors").exists():
        return load_model(Path(teacher) / "model.safetensors")[1].spec
    known = {LARGE: params.resized(params.compress.network, "compress.network"), LAST: after(params, params.last)}
    if teacher not in known:
        raise BadInput(
            f"compress.chain.1.teacher is {teacher}, which is not there, so what it takes is not known. Make it, or "
            f"name one of {', '.join(known)}"
        )
    return known[teacher]
