"""Source images that look as if they came from the target."""

from pathlib import Path

import cv2
import numpy as np
import torch

from tasks.adapting import network_of, scratch_of, two_domains
from tasks.carry import carry_on, results
from tasks.params import Params
from tasks.training import rows_of
from tutelage.data.images import Images
from tutelage.data.manifest import read_split
from tutelage.models.files import save_translator
from tutelage.models.translators import Translator
from tutelage.train.cyclegan import begin, fit
from tutelage.train.device import accelerator

SHOWN = 12  # images of samples.png


def translate(split: Path, model: Path, *, params: Params, out: Path) -> Path:
    """Train generators between source and target -> translator.safetensors (source to target), curve.csv, samples.png.

    `model`, of the source alone, sees to it that images keep their class. No label is read.
    """
    table, wanted = read_split(split), params.adapt.translate
    watcher, device = network_of(model / "model.safetensors", table), accelerator(params.compute).device
    torch.manual_seed(params.seed)
    run = begin(wanted.cyclegan, size=params.network.image_size, device=device)
    scratch = scratch_of("translate", wanted, table, params, model / "model.safetensors")
    half = max(1, wanted.batch // 2)  # the source comes in two views
    carry_on(
        "translate", run,
        lambda: fit(
            wanted.cyclegan, run,
            two_domains(
                "translate", table, params, begins="scratch", start=run.step, stop=wanted.steps,
                batch=(half, wanted.batch),
            ),
            watcher.requires_grad_(False).to(device), params.optimiser, steps=wanted.steps,
        ),
        steps=wanted.steps, compute=params.compute, scratch=scratch,
    )  # fmt: skip
    there = run.generators.there
    assert isinstance(there, Translator)
    with results(out, scratch) as folder:
        save_translator(folder / "translator.safetensors", there)
        rows = rows_of(table, "labelled")[:SHOWN]
        plain = torch.from_numpy(Images.open(table, params.network.image_size).many(rows)).permute(0, 3, 1, 2)
        with torch.inference_mode():
            made = there.eval()(plain.to(device).float().div(255)).cpu()
        sheet = torch.cat([torch.cat(list(x), dim=-1) for x in (plain.float().div(255), made)], dim=-2)
        pixels = np.round(sheet.permute(1, 2, 0).numpy()[..., ::-1] * 255).astype(np.uint8)
        cv2.imwrite(str(folder / "samples.png"), pixels)
    return out
