"""Key points of objects: a network taught by people alone, and the same with branches that learn from each other."""

import hashlib
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tasks import text
from tasks.adapting import about
from tasks.carry import CHECKPOINTS, carry_on
from tasks.io import whole, write_json
from tasks.params import Params
from tasks.pictures import contact_sheet
from tasks.training import rows_of
from tutelage.data.batches import on_device
from tutelage.data.images import Images
from tutelage.data.keypoints import Poses, of_coco, of_pictures
from tutelage.data.manifest import read_split
from tutelage.losses.heatmaps import peaks
from tutelage.metrics.keypoints import pck
from tutelage.models.files import count_parameters
from tutelage.models.poses import Ensemble, PoseNet, save_poses
from tutelage.train import checkpoint
from tutelage.train.device import accelerator, arithmetic
from tutelage.train.okdhp import OKDHP, Run, begin, fit
from tutelage.types import BadInput

PICTURES, ENLARGED = 12, 4  # in the report
FILES = {"train": "labelled.json", "test": "test.json"}  # of a folder with COCO JSON


@dataclass(frozen=True)
class Said:
    """Where a network, or an ensemble, puts the points of all test objects, in pixels."""

    points: np.ndarray  # [n, j, 2]
    parameters: int


def keypoints(data: Path, *, params: Params, out: Path) -> Path:
    """A split, or a folder with labelled.json and test.json (COCO) -> networks that find key points:
    NAME.safetensors, NAME.csv (curve), scores.json, report.md.

    Of a split, points are the extreme ones of what is bright on black; of COCO JSON, its `keypoints`, or the extreme
    ones of masks. NAME is student, one branch of `keypoints.learn`, or alone, the same network from the points alone.
    `tutelage.models.poses.load_poses` reads them.
    """
    wanted = params.keypoints
    train, test = _poses(data, params)
    scratch = CHECKPOINTS / _key(params, train)
    learners = {"alone": replace(wanted.learn, branches=1), "student": wanted.learn}
    runs = {name: _taught(name, learn, train, params, scratch / name) for name, learn in learners.items()}
    said = {name: _said(run, test, params) for name, run in runs.items()}
    if isinstance(runs["student"].extra, Ensemble):
        said["ensemble"] = _said(runs["student"], test, params, together=True)
    content = _scores(said, train, test, wanted.alpha)
    with whole(out) as folder:
        for name, run in runs.items():
            save_poses(folder / f"{name}.safetensors", run.student, method=about(learners[name]))
            shutil.copy(scratch / name / "curve.csv", folder / f"{name}.csv")
        write_json(folder / "scores.json", content)
        (folder / "report.md").write_text(_markdown(content, test, said["student"]))
    shutil.rmtree(scratch)
    found = ", ".join(f"{name} {text.percent(one['pck'])}" for name, one in content["test"].items())
    print(f"keypoints: PCK@{wanted.alpha:g} of {len(test.objects)} objects: {found}", flush=True)
    return out


def _poses(data: Path, params: Params) -> tuple[Poses, Poses]:
    """To learn from, and to test."""
    size = params.keypoints.network.image_size
    if (data / FILES["train"]).exists():
        found = {
            name: of_coco(data / file, size=size, max_pixels=params.ingest.max_pixels) for name, file in FILES.items()
        }
        for _, told in found.values():
            print("".join(f"  {line}\n" for line in told), end="")
        train, test = found["train"][0], found["test"][0]
        _check_alike(data, train, test)
        return train, test
    table = read_split(data)
    images = Images.open(table, size)
    rows = np.sort(np.concatenate([rows_of(table, role) for role in ("labelled", "holdout")]))
    return of_pictures(images, rows), of_pictures(images, rows_of(table, "test"))


def _check_alike(data: Path, train: Poses, test: Poses) -> None:
    """Raises BadInput where what is learned is not what is tested, or the very same."""
    if train.joints != test.joints:
        raise BadInput(
            f"{data / FILES['train']} has the key points {', '.join(train.joints)}, {data / FILES['test']} "
            f"{', '.join(test.joints)}: mark the same ones in both. The extreme ones of masks are taken where no "
            "object of a file has `keypoints`"
        )
    known = {found.pixels.tobytes() for found in train.objects}
    copies = sum(found.pixels.tobytes() in known for found in test.objects)
    if copies:
        raise BadInput(
            f"{copies} of {len(test.objects)} objects of {data / FILES['test']} are in {data / FILES['train']} too, so "
            "they test nothing. Leave their images out of one of the files"
        )


def _key(params: Params, train: Poses) -> str:
    """A name for checkpoints that no other data or params share."""
    told = f"{params.keypoints} {params.seed} {arithmetic(params.compute)} {train.joints}"
    digest = hashlib.sha256(told.encode())
    for found in train.objects:
        for array in (found.pixels, found.points, found.visible):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def _taught(name: str, learn: OKDHP, train: Poses, params: Params, folder: Path) -> Run:
    """Trained to its end, continued where it was cut off."""
    wanted = params.keypoints
    torch.manual_seed(params.seed)
    net = PoseNet(wanted.network, train.joints).to(accelerator(params.compute).device)
    run = begin(learn, net, wanted.optimiser)

    def steps() -> Any:
        seen = train.batches(
            wanted.batch, start=run.step, stop=wanted.steps, seed=params.seed, zoom=wanted.zoom, shift=wanted.shift
        )
        return fit(learn, run, seen, wanted.optimiser, steps=wanted.steps)

    carry_on(f"keypoints {name}", run, steps, steps=wanted.steps, compute=params.compute, scratch=folder)
    checkpoint.write(run.state_dict(), folder / "run.pt")  # the network that follows may be cut too
    return run


@torch.no_grad()
def _said(run: Run, test: Poses, params: Params, *, together: bool = False) -> Said:
    """By the student, or by all branches `together`."""
    net, device = run.student.eval(), next(run.student.parameters()).device
    run.extra.eval()
    size, batch = params.keypoints.network.image_size, params.evaluate.batch
    found = []
    for first in range(0, len(test.objects), batch):
        images = on_device(test.at(np.arange(first, min(first + batch, len(test.objects)))).images, device)
        maps = net(images)
        if together:
            maps = run.extra(net.seen(images), maps)[1]
        found.append(peaks(maps).cpu().numpy() * size)
    parameters = count_parameters(net) + (count_parameters(run.extra) if together else 0)
    return Said(np.concatenate(found), parameters)


def _scores(said: dict[str, Said], train: Poses, test: Poses, alpha: float) -> dict[str, Any]:
    """The content of scores.json."""
    truth, visible = (np.stack([found[place] for found in test.objects]) for place in (1, 2))
    sides = np.array([found.side for found in test.objects])
    scores = {}
    for name, each in said.items():
        shares = pck(truth, each.points, visible=visible, sides=sides, alpha=alpha)
        joints = {joint: None if np.isnan(x) else float(x) for joint, x in zip(test.joints, shares, strict=True)}
        scores[name] = {"pck": float(np.nanmean(shares)), "joints": joints, "parameters": each.parameters}
    return {"alpha": alpha, "objects": {"train": len(train.objects), "test": len(test.objects)}, "test": scores}


def _markdown(content: dict[str, Any], test: Poses, said: Said) -> str:
    rows = [
        [name, text.percent(one["pck"]), *map(text.percent, one["joints"].values()),
         f"{one['parameters']:,}"]
        for name, one in content["test"].items()
    ]  # fmt: skip
    shown = [_marked(found.pixels, points) for found, points in zip(test.objects[:PICTURES], said.points, strict=False)]
    parts = [
        "# Key points",
        f"A point is found within {content['alpha']:g} of the longer side of its object's box (PCK), of "
        f"{content['objects']['test']} test objects; {content['objects']['train']} were learned from.",
        text.table(["network", "mean", *test.joints, "parameters"], rows),
        f"What the student says:\n\n![points marked in red]({contact_sheet(shown, columns=6, zoom=1)})",
    ]
    return "\n\n".join(parts) + "\n"


def _marked(pixels: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The image enlarged, a red square on each point."""
    large = pixels.repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1)
    for x, y in (points * ENLARGED).astype(int):
        large[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3] = (255, 60, 60)
    return large
