"""Several teachers as one model."""

import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.adapting import network_of
from tasks.committee_params import Member
from tasks.io import whole, write_json
from tasks.params import Params
from tasks.training import NOTE, Job, every_label, fingerprint, labels_of, learned_from, rows_of, run
from tutelage.data.manifest import classes_of, read_split
from tutelage.models.backbone import Backbone
from tutelage.models.files import save_committee
from tutelage.train.pate import shares

FINISHED = Path(".tutelage/members")  # of a committee that was cut off


def committee(split: Path, *, params: Params, out: Path) -> Path:
    """Train the members of `committee`, each from a seed of its own, on the labelled images, and bind them together:
    model.safetensors, which any stage takes for a teacher's, committee.json, and learned_from.json, of all members.

    The hold-out stays unseen by those that are trained here. A member that is finished is not trained again where this
    was cut off.
    """
    table, found, told = read_split(split), [], []
    for net, images, member, place in _members(table, params):
        found.append((net, place))
        told.append({"spec": asdict(net.spec), "images": images, "model": member.model})
    with whole(out) as folder:
        nets = [net for net, _ in found]
        save_committee(
            folder / "model.safetensors", nets, classes=classes_of(table), method=f"Committee of {len(nets)}"
        )
        write_json(folder / "committee.json", {"members": told, "disjoint": params.committee.disjoint})
        if roles := _learned_from(params):
            write_json(folder / NOTE, roles)
    for _, place in found:
        if place is not None:
            shutil.rmtree(place)
    return out


def _learned_from(params: Params) -> list[str]:
    """What all members together have learned from. [] where a member does not say, unless another has the hold-out."""
    taken = [learned_from(Path(one.model)) for one in params.committee.every() if one.model is not None]
    own = ["labelled"] if len(taken) < len(params.committee.every()) else []
    roles = sorted({*own, *(role for roles in taken for role in roles)})
    return roles if all(taken) or "holdout" in roles else []


def _members(table: pa.Table, params: Params) -> Iterator[tuple[Backbone, int | None, Member, Path | None]]:
    """Each network, how many labelled images it learned from, and the folder that it was finished in."""
    members, rows = params.committee.every(), rows_of(table, "labelled")
    own = [rows] * len(members)
    if params.committee.disjoint:
        own = shares(rows, len(members), np.random.default_rng(params.seed))
    for number, (member, seen) in enumerate(zip(members, own, strict=True)):
        if member.model is not None:
            yield network_of(Path(member.model) / "model.safetensors", table), None, member, None
            continue
        job, seeded = _job(number, member, seen, table, params), replace(params, seed=params.seed + number)
        place = FINISHED / fingerprint(job, table, seeded)
        if not (place / "model.safetensors").exists():
            run(job, table, seeded, place)
        yield network_of(place / "model.safetensors", table), len(seen), member, place


def _job(number: int, member: Member, rows: np.ndarray, table: pa.Table, params: Params) -> Job:
    network = params.resized(member.network, "committee.members.network")
    job = every_label(f"committee@{number + 1}", params.committee.train, network, table, roles=("labelled",))
    return replace(job, labeled=rows, labels=labels_of(table, rows))
