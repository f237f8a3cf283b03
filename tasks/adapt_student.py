"""One way to adapt the model of the source."""

from pathlib import Path

import torch

from tasks.adapting import about, job_of, network_of, scratch_of, two_domains
from tasks.carry import carry_on, results
from tasks.params import Params
from tasks.training import run
from tutelage.data.manifest import classes_of, read_split
from tutelage.models.backbone import Backbone, create
from tutelage.models.files import save_model
from tutelage.train import adaptsegnet
from tutelage.train.adaptsegnet import AdaptSegNet, Levels
from tutelage.train.device import accelerator
from tutelage.types import BadInput


def adapt_student(split: Path, source: Path, translation: Path, *, params: Params, out: Path) -> Path:
    """Train the candidate that OUT names, work/adapt/candidates/NAME, on source labels and the target's images:
    model.safetensors, curve.csv. Labels of the target are in none of its inputs.
    """
    table, known = read_split(split), params.adapt.candidates
    if out.name not in known:
        raise BadInput(f"{out} does not say its candidate: write work/adapt/candidates/NAME, of {', '.join(known)}")
    wanted, model = known[out.name], source / "model.safetensors"
    learner = wanted.learn
    if not isinstance(learner, AdaptSegNet):
        job = job_of(out.name, wanted, table, params, model, translation / "translator.safetensors")
        return run(job, table, params, out)
    torch.manual_seed(params.seed)
    classes, device = classes_of(table), accelerator(params.compute).device
    network = network_of(model, table) if wanted.start == "source" else create(params.network, len(classes))
    black = torch.zeros(2, 3, params.network.image_size, params.network.image_size, device=device)
    state = adaptsegnet.begin(learner, Levels(network).to(device), black, params.optimiser)
    scratch = scratch_of(out.name, wanted, table, params, model)
    sizes = wanted.labelled_batch, wanted.pool_batch
    carry_on(
        f"adapt@{out.name}", state,
        lambda: adaptsegnet.fit(
            learner, state, two_domains(table, params, start=state.step, stop=wanted.steps, batch=sizes),
            params.optimiser, steps=wanted.steps,
        ),
        steps=wanted.steps, compute=params.compute, scratch=scratch,
    )  # fmt: skip
    with results(out, scratch) as folder:
        assert isinstance(state.average, Levels)
        average = state.average.network
        assert isinstance(average, Backbone)
        save_model(folder / "model.safetensors", average, classes=classes, method=about(learner))
    return out
