"""Several tasks draw their own share of the labelled scenes."""

import dataclasses

import pytest
from box_work import small
from project import known
from scene_work import coco_set

from tasks.box_params import ScenesSplit
from tasks.multi_scenes_split import multi_scenes_split
from tasks.scenes_ingest import scenes_ingest
from tasks.scenes_split import scenes_split
from tutelage.data.manifest import read_split
from tutelage.types import BadInput


@pytest.fixture
def scenes(tmp_path, monkeypatch):
    """Eight labelled scenes, of which boxes have three: params and what was ingested."""
    monkeypatch.chdir(tmp_path)
    params = small(known(), split=ScenesSplit(images=3, holdout=0.25))
    for name, number, start in (("labelled", 8, 0), ("pool", 7, 20), ("test", 4, 40)):
        coco_set(tmp_path / "images", name, number, start=start)
    return params, scenes_ingest(tmp_path / "images", params=params, out=tmp_path / "ingest")


def with_split(params, **wanted):
    return dataclasses.replace(params, multitask=dataclasses.replace(params.multitask, split=ScenesSplit(**wanted)))


def shown(folder):
    roles = read_split(folder)["role"].to_pylist()
    return roles.count("labelled") + roles.count("holdout")


def test_as_many_scenes_are_labelled_as_multitask_says(scenes, tmp_path):
    params, ingested = scenes
    boxes = scenes_split(ingested, params=params, out=tmp_path / "boxes")
    several = multi_scenes_split(ingested, params=with_split(params, holdout=0.25), out=tmp_path / "several")
    assert (shown(boxes), shown(several)) == (3, 8)
    same = multi_scenes_split(ingested, params=with_split(params, images=3, holdout=0.25), out=tmp_path / "same")
    assert (same / "split.parquet").read_bytes() == (boxes / "split.parquet").read_bytes()


def test_refusals_name_the_section_that_was_read(scenes, tmp_path):
    params, _ = scenes
    coco_set(tmp_path / "images", "labelled", 8, classes=("cat", "dog"), bare=range(1, 8))
    again = scenes_ingest(tmp_path / "images", params=params, out=tmp_path / "again")

    def drawn(seed):
        seeded = dataclasses.replace(with_split(params, images=2, holdout=0.5), seed=seed)
        return multi_scenes_split(again, params=seeded, out=tmp_path / "none")

    with pytest.raises(BadInput, match=r"Raise multitask\.split\.images, lower multitask\.split\.holdout"):
        list(map(drawn, range(20)))  # the one scene with objects is held out, or in the pool


def test_scenes_without_a_pool_are_refused_before_a_specialist_is_trained(scenes, tmp_path):
    """Detection has a pool by its own `split.images`, and goes on without one; a student of several tasks does not."""
    params, _ = scenes
    own = dataclasses.replace(params.detection, ingest=dataclasses.replace(params.detection.ingest, pool=None))
    params = dataclasses.replace(params, detection=own)
    ingested = scenes_ingest(tmp_path / "images", params=params, out=tmp_path / "alone")
    every = with_split(params, holdout=0.25)
    with pytest.raises(
        BadInput, match=r"pool is empty.*Set detection\.ingest\.pool, or lower multitask\.split\.images"
    ):
        multi_scenes_split(ingested, params=every, out=tmp_path / "several")
    multi_scenes_split(ingested, params=with_split(params, images=6, holdout=0.25), out=tmp_path / "several")
