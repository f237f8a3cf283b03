"""A model for machines without PyTorch."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from tasks.answers import rows_and_labels
from tasks.io import whole, write_json
from tasks.latency import BATCHES, per_call
from tasks.params import Params
from tasks.text import percent, table
from tutelage.data.images import Images
from tutelage.data.manifest import read_split
from tutelage.models.export import FILES, CannotRun, Session, write_fp16, write_fp32, write_int8
from tutelage.models.files import Card, load_model
from tutelage.types import BadInput, Network

Answer = Callable[[np.ndarray], np.ndarray]
AGREES = 1e-4  # what float32 logits of two runtimes may differ by


@dataclass(frozen=True)
class Variant:
    """One precision of a model, as it was measured on the test split. No clock went in: equal inputs, equal bytes."""

    file: str
    bytes: int
    max_difference: float  # of a logit, to PyTorch in float32
    accuracy: float


def export(split: Path, model: Path, *, params: Params, out: Path) -> Path:
    """A model's folder -> model.onnx for any number of images, its half precision and 8-bit copies, export.json,
    report.md, and latency.json, which DVC does not track: it says what this machine took.

    Fails when the float32 file answers otherwise than PyTorch. Where a copy cannot be made, or not be run, `out` has
    the others, and it fails at its end.
    """
    network, card = load_model(model / "model.safetensors")
    data = read_split(split)
    rows, labels = rows_and_labels(data, card, "test")
    images = Images.open(data, card.image_size)
    torch.set_num_threads(params.compute.threads)
    ask = partial(_ask, images=images, rows=rows, batch=params.evaluate.batch)
    truth = ask(_exact(network))
    with whole(out) as folder:
        files = {name: folder / file for name, file in FILES.items()}
        write_fp32(network, files["fp32"], size=card.image_size)
        failed = _convert(files)
        sessions, answers = _run(files, ask, failed, threads=params.compute.threads)
        found = {}
        for name, said in answers.items():
            apart, right = float(np.abs(said - truth).max()), float((said.argmax(1) == labels).mean())
            found[name] = Variant(FILES[name], files[name].stat().st_size, apart, right)
        _check(found["fp32"], model)
        write_json(folder / "export.json", _content(found, card))
        (folder / "report.md").write_text(_markdown(str(model), found, failed))
        took = _latency(sessions, card.image_size)
        clock = {"model": card.sha256, "threads": params.compute.threads, "milliseconds_per_image": took}
        write_json(folder / "latency.json", clock)
    for name, variant in found.items():
        batches = ", ".join(f"{took[name][str(n)]:.3f} ms an image at batch {n}" for n in BATCHES)
        print(f"{name}: {variant.bytes:,} bytes, {percent(variant.accuracy, 2)} right, {batches}", flush=True)
    if failed:
        raise BadInput(f"{'; '.join(failed)}. The other files are in {out}. Choose another network.name to have all")
    return out


def _convert(files: dict[str, Path]) -> list[str]:
    """Make the smaller copies of the float32 file; what cannot be is taken from `files`, and told."""
    failed = []
    for name, write in (("fp16", write_fp16), ("int8", write_int8)):
        try:
            write(files["fp32"], files[name])
        except BadInput:
            raise  # of what is not installed
        except (ValueError, RuntimeError) as error:
            failed.append(_left_out(files, name, f"cannot be made of this network ({error})"))
    return failed


def _run(
    files: dict[str, Path], ask: Callable[[Answer], np.ndarray], failed: list[str], *, threads: int
) -> tuple[dict[str, Session], dict[str, np.ndarray]]:
    """The sessions of `files` and what they answer. A smaller copy without answers, or whose numbers were too large for
    it, is left out, and told in `failed`.

    Raises BadInput where the float32 file cannot be run.
    """
    sessions, answers = {}, {}
    for name in list(files):
        try:
            sessions[name] = Session(files[name], threads=threads)
            answers[name] = ask(sessions[name])
            if name != "fp32" and not np.isfinite(answers[name]).all():
                raise CannotRun("it answers with numbers that are not finite")
        except CannotRun as error:
            if name == "fp32":
                raise BadInput(f"onnxruntime cannot run this network ({error}). Choose another network.name") from error
            sessions.pop(name, None), answers.pop(name, None)
            failed.append(_left_out(files, name, f"cannot be run ({error})"))
    return sessions, answers


def _left_out(files: dict[str, Path], name: str, why: str) -> str:
    """Takes a file away; what to tell of it."""
    path = files.pop(name)
    path.unlink(missing_ok=True)
    return f"{path.name} {why}"


def _exact(network: Network) -> Answer:
    """PyTorch in float32 on the CPU, whatever `compute` says."""
    network = network.cpu().eval()

    def answer(pixels: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(torch.from_numpy(pixels)).logits.numpy()

    return answer


def _ask(answer: Answer, images: Images, rows: np.ndarray, batch: int) -> np.ndarray:
    chunks = [rows[i : i + batch] for i in range(0, len(rows), batch)]
    pixels = (images.many(chunk).transpose(0, 3, 1, 2).astype(np.float32) / 255 for chunk in chunks)
    return np.concatenate([answer(np.ascontiguousarray(x)) for x in pixels])


def _check(exact: Variant, model: Path) -> None:
    if not exact.max_difference <= AGREES:  # nan too
        raise BadInput(
            f"{exact.file} of {model} answers up to {exact.max_difference:.2g} away from PyTorch, {AGREES:g} is "
            "allowed: this network cannot be exported faithfully. Choose another network.name"
        )


def _latency(sessions: dict[str, Session], size: int) -> dict[str, dict[str, float]]:
    """Milliseconds an image, for each precision and batch."""
    took: dict[str, dict[str, float]] = {name: {} for name in sessions}
    for batch in BATCHES:
        images = np.random.default_rng(0).random((batch, 3, size, size), np.float32)
        seconds = per_call([partial(session, images) for session in sessions.values()])
        for name, median in zip(sessions, seconds, strict=True):
            took[name][str(batch)] = 1000 * median / batch
    return took


def _content(found: dict[str, Variant], card: Card) -> dict[str, object]:
    return {
        "model": card.sha256,
        "parameters": card.parameters,
        "image_size": card.image_size,
        "classes": card.classes,
        "variants": {name: asdict(variant) for name, variant in found.items()},
    }


def _markdown(name: str, found: dict[str, Variant], failed: list[str]) -> str:
    rows = [
        [kind, v.file, f"{v.bytes:,}", percent(v.accuracy, 2), f"{v.max_difference:.2g}"] for kind, v in found.items()
    ]
    header = ["precision", "file", "bytes", "test accuracy", "largest difference of a logit to PyTorch"]
    return "\n\n".join([f"# Export of {name}", *(f"{why}." for why in failed), table(header, rows)]) + "\n"
