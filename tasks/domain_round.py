"""A round of adaptation to images that have arrived and look otherwise."""

from dataclasses import replace
from pathlib import Path

from tasks.adapt_student import adapted
from tasks.io import read_json
from tasks.params import Params
from tasks.training import passed
from tutelage.data.manifest import read_split
from tutelage.models.files import load_model


def domain_round(watched: Path, model: Path, *, params: Params, out: Path) -> Path:
    """What `watch` found, the model that the rounds ended with -> model.safetensors, curve.csv.

    Trained by the candidate of `adapt` that the drift calls for. Where nothing has drifted `model` is passed on, and
    passed.json says why.
    """
    told = read_json(watched / "drift.json")
    if told["answer"] is None:
        return passed(model, told["advice"], out)
    spec = load_model(model / "model.safetensors")[1].spec
    wanted, weights = params.adapt.candidates[told["answer"]], model / "model.safetensors"
    return adapted(wanted, read_split(watched), weights, None, params=replace(params, network=spec), out=out)
