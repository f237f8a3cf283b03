"""What the pipeline costs over the bare work, as ratios in one run:  python -m benchmarks.overhead [--flow]

Both sides of training and of labelling take turns on the CPU, so that a noisy machine slows both; those of memory and
of the flow run once, one after the other. `--flow` adds the flow against the bare stage commands, on the demo's params
in two fresh folders (about ten minutes). A limit that is not met makes it end with 1.
"""

import argparse
import hashlib
import itertools
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
import yaml

from benchmarks.turns import random_batch, take_turns
from tasks.params import load
from tasks.pseudo_label import pseudo_label, shards, told_by
from tasks.rules import Rules
from tutelage.data.images import Images
from tutelage.data.manifest import SPLIT, describe, write_split
from tutelage.methods.supervised import Supervised
from tutelage.models.average import average_into
from tutelage.models.backbone import NetworkSpec, create
from tutelage.models.files import load_model, save_model
from tutelage.train.device import accelerator, precision
from tutelage.train.loop import begin, fit
from tutelage.train.settings import Compute, Optimiser
from tutelage.types import Sizes

ROOT = Path(__file__).parents[1]
LIMIT = 0.5  # of scores, from which labels are kept
COMPUTE = Compute(threads=2, workers=0, device="cpu")


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--flow", action="store_true", help="also time the flow against the bare commands")
    arguments.add_argument("--memory-of", type=Path, help=argparse.SUPPRESS)  # one side of the memory ratio
    asked = arguments.parse_args()
    if asked.memory_of:
        print(peak_memory(asked.memory_of))
        return 0
    met = [
        report("training steps/s over a bare loop", training(), at_least=0.95),
        report("labelling images/s over a bare forward pass", labelling(), at_least=0.90),
        report("memory of labelling 100,000 over 10,000 images", memory(), at_most=1.10),
    ]
    if asked.flow:
        met.append(report("flow's wall time over the stage commands' sum", flow(), at_most=1.10))
    return 0 if all(met) else 1


def report(name: str, ratio: float, *, at_least: float = 0.0, at_most: float = float("inf")) -> bool:
    """Whether the limit is met, which is told."""
    wanted, met = f">= {at_least}" if at_least else f"<= {at_most}", at_least <= ratio <= at_most
    print(f"{name}: {ratio:.3f} ({wanted}: {'met' if met else 'NOT MET'})", flush=True)
    return met


def ratio(ours: Callable[[], int], bare: Callable[[], int], turns: int = 7) -> float:
    """Median over turns of (our work a second) / (bare work a second)."""
    return statistics.median(needed / taken for taken, needed in take_turns(ours, bare, turns=turns))


def training() -> float:
    """`fit` against the ten lines that anybody would write for the same network, batches, average and precision."""
    torch.manual_seed(0)
    engine, settings, steps = accelerator(COMPUTE), Optimiser(), 30
    batches = [random_batch(64, 0) for _ in range(5)]
    method, student = Supervised(), create(NetworkSpec(), 10)
    run = begin(method, student, None, Sizes(400, 0, 10, 100_000), settings)

    def ours() -> int:
        feed = itertools.islice(itertools.cycle(batches), steps)
        return sum(1 for _ in fit(method, run, feed, settings, steps=100_000, accelerator=engine))

    net, average = create(NetworkSpec(), 10).train(), create(NetworkSpec(), 10)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.03, momentum=0.9, nesterov=True, weight_decay=5e-4)
    low = precision(COMPUTE, cpu=True) == "bf16"

    def bare() -> int:
        for batch in itertools.islice(itertools.cycle(batches), steps):
            images = torch.cat([batch.labeled.strong, batch.labeled.weak]).float() / 255
            with torch.autocast("cpu", torch.bfloat16, enabled=low):
                logits = net(images).logits
            loss = F.cross_entropy(logits, batch.labeled.labels.repeat(2))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 10.0)
            optimizer.step()
            average_into(average, net, decay=0.999)
            loss.item()
        return steps

    return ratio(ours, bare)


def labelling() -> float:
    """From decoded images to finished shards, against forward passes over the same decoded images."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table, model = _pool(folder, 20_000), _model(folder)
        network, card = load_model(model)
        params = load(ROOT / "params.yaml")
        images = Images.open(table, 28)
        rows = np.arange(len(images))
        images.many(rows)
        rules = Rules(teacher=card.sha256, limits=(LIMIT,) * 10)

        def ours() -> int:
            say = told_by(network, images, rules, COMPUTE)
            made = shards(table["id"], rows, say, rules, params.pseudo_label, done=folder, number=1)
            return sum(shard.num_rows for _, shard in made)

        low = precision(COMPUTE, cpu=True) == "bf16"

        def bare() -> int:
            pixels = torch.from_numpy(images.many(rows)).permute(0, 3, 1, 2)
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=low):
                for chunk in pixels.split(params.pseudo_label.batch):
                    seen = chunk.float() / 255
                    for look in rules.looks:
                        network(look(seen))
            return len(rows)

        return ratio(ours, bare, turns=5)


def memory() -> float:
    """Largest resident memory of labelling a large pool over that of a small one, each in a process of its own."""
    peaks = []
    for images in (10_000, 100_000):
        with tempfile.TemporaryDirectory() as name:
            _made_ready(Path(name), images)
            command = [sys.executable, "-m", "benchmarks.overhead", "--memory-of", name]
            said = subprocess.run(command, cwd=ROOT, check=True, text=True, capture_output=True).stdout
        peaks.append(float(said.splitlines()[-1]))
    print(f"  peaks: {peaks[0]:.0f} and {peaks[1]:.0f} MB")
    return peaks[1] / peaks[0]


def peak_memory(folder: Path) -> float:
    """MB, of the stage as it labels the pool of `folder`."""
    params = load(ROOT / "params.yaml")
    os.chdir(folder)
    pseudo_label(folder / "split", folder, folder / "calibration", params=params, out=folder / "labels")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _made_ready(folder: Path, number: int) -> None:
    """All that the stage reads, for a pool of `number` images."""
    table, model = _pool(folder, number), _model(folder)
    (folder / "split").mkdir()
    truth = pa.table({"id": pa.array([], pa.string()), "label": pa.array([], pa.int32())})
    write_split(folder / "split", table, truth)
    _, card = load_model(model)
    (folder / "calibration").mkdir()
    content = {
        "teacher": card.sha256, "temperature": 1.0, "alignment": None, "views": 1, "flip": False,
        "classes": [{"threshold": LIMIT}] * 10, "target_precision": 0.9, "out_of_distribution": None,
    }  # fmt: skip
    (folder / "calibration/calibration.json").write_text(json.dumps(content))


def flow() -> float:
    """Wall time of the flow, cold, over that of the bare commands of the stages that it ran, on the demo's params."""
    with tempfile.TemporaryDirectory() as name:
        whole, bare = (_copy(Path(name) / kind) for kind in ("flow", "bare"))
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "flows.expand"], cwd=whole, check=True, env=_env(), stdout=sys.stderr)
        wall = time.perf_counter() - began
        # dvc.lock lists stages in the order in which they ended: each after what it needs.
        stages = yaml.safe_load((whole / "dvc.lock").read_text())["stages"].values()
        began = time.perf_counter()
        for stage in stages:
            subprocess.run(stage["cmd"], shell=True, cwd=bare, check=True, env=_env(), stdout=sys.stderr)
        alone = time.perf_counter() - began
    print(f"  flow {wall:.0f} s, bare commands of {len(stages)} stages {alone:.0f} s")
    return wall / alone


def _copy(folder: Path) -> Path:
    names = ("tasks", "flows", "src", "registry", ".dvc")
    for name in names:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "cache", "tmp"))
    for name in ("dvc.yaml", ".dvcignore", "params.yaml", "prefect.toml"):
        shutil.copy(ROOT / name, folder / name)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    return folder


def _env() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1", "PYTHONPATH": "src"}


def _model(folder: Path) -> Path:
    net = create(NetworkSpec(), 10)
    path = folder / "model.safetensors"
    save_model(path, net, classes=[str(i) for i in range(10)], method="none")
    return path


def _pool(folder: Path, number: int) -> pa.Table:
    """A split whose pool has `number` rows: a thousand different images, named again and again."""
    rng, offset, places, data = np.random.default_rng(0), 0, [], b""
    for _ in range(1000):
        encoded = cv2.imencode(".png", rng.integers(0, 256, (28, 28, 3), np.uint8))[1].tobytes()
        places.append((offset, len(encoded), hashlib.sha256(encoded).hexdigest()))
        data, offset = data + encoded, offset + len(encoded)
    (folder / "images.bin").write_bytes(data)
    starts, lengths, digests = zip(*(places[i % 1000] for i in range(number)), strict=True)
    columns = {
        "id": [f"pool/{i:07d}.png" for i in range(number)], "source": ["pool"] * number,
        "path": ["images.bin"] * number, "offset": starts, "length": lengths, "sha256": digests,
        "width": [28] * number, "height": [28] * number, "domain": [""] * number, "role": ["pool"] * number,
        "label": [None] * number,
    }  # fmt: skip
    return describe(pa.table(columns, schema=SPLIT), roots={"pool": str(folder)}, classes=[str(i) for i in range(10)])


if __name__ == "__main__":
    sys.exit(main())
