"""The last stage of CyCADA."""

from pathlib import Path

import torch

from tasks.adapting import about, network_of, scratch_of, two_domains
from tasks.carry import carry_on, results
from tasks.params import Params
from tutelage.data.manifest import classes_of, read_split
from tutelage.models.backbone import Backbone
from tutelage.models.files import load_translator, save_model
from tutelage.train.adversarial import translated_pairs
from tutelage.train.cycada import begin, fit
from tutelage.train.device import accelerator


def adapt_features(split: Path, translation: Path, translated: Path, *, params: Params, out: Path) -> Path:
    """Align answers on the target with those on the translated source, from a model of that: model.safetensors,
    curve.csv. No label is read.
    """
    table, wanted = read_split(split), params.adapt.features
    classes, device = classes_of(table), accelerator(params.compute).device
    torch.manual_seed(params.seed)
    model, translator = translated / "model.safetensors", translation / "translator.safetensors"
    generator = load_translator(translator).to(device)
    side = params.network.image_size
    images = torch.zeros(2, 3, side, side, device=device)
    run = begin(wanted.cycada, network_of(model, table).train().to(device), images)
    scratch = scratch_of("cycada", wanted, table, params, model, translator=translator)
    sizes = max(1, wanted.batch // 2), wanted.batch  # the source comes in two views
    carry_on(
        "adapt@cycada", run,
        lambda: fit(
            wanted.cycada, run,
            translated_pairs(
                two_domains(
                    "adapt@cycada", table, params, begins="teacher", start=run.step, stop=wanted.steps, batch=sizes
                ),
                generator,
            ),
            params.optimiser,
        ),
        steps=wanted.steps, compute=params.compute, scratch=scratch,
    )  # fmt: skip
    with results(out, scratch) as folder:
        assert isinstance(run.average, Backbone)
        save_model(folder / "model.safetensors", run.average, classes=classes, method=about(wanted.cycada))
    return out
