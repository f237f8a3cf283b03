"""A pool whose shards are numbers: what a kill leaves, and that the next run ends it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from small_work import make_split, small_params

from tasks import box_label, multi_label, pseudo_label
from tasks.progress import Progress
from tasks.shards import missing, store
from tutelage.data.manifest import read_split
from tutelage.train.settings import Compute

SCHEMA = pa.schema([("row", pa.int64())])
POOL = np.arange(10, 17)


def told(folder, asked, stop=None):
    """Shards of three rows that `folder` has not; at shard number `stop` somebody pulls the plug."""
    for number, rows in missing(POOL, 3, done=folder):
        if number == stop:
            raise KeyboardInterrupt
        asked.append(number)
        yield number, pa.table({"row": rows})


def stored(root, asked, stop=None, scratch="scratch"):
    return store(
        told(root / scratch, asked, stop), root / scratch, root / "out", bar=Progress("it", len(POOL)),
        schema=SCHEMA, describe=lambda folder: (folder / "manifest.json").write_text(str(len(list(folder.iterdir())))),
    )  # fmt: skip


def test_what_is_finished_is_never_made_again_and_all_of_it_appears_at_once(tmp_path):
    asked = []
    with pytest.raises(KeyboardInterrupt):
        stored(tmp_path, asked, stop=1)
    assert not (tmp_path / "out").exists()
    stored(tmp_path, asked)
    assert asked == [0, 1, 2]
    shards = sorted((tmp_path / "out").glob("shard-*.parquet"))
    assert [pq.read_table(shard)["row"].to_pylist() for shard in shards] == [[10, 11, 12], [13, 14, 15], [16]]
    assert (tmp_path / "out/manifest.json").read_text() == "3"
    assert not (tmp_path / "scratch").exists()


def test_a_manifest_that_cannot_be_written_leaves_the_shards_for_the_next_run(tmp_path):
    def full(_):
        raise OSError(28, "No space left on device")

    asked = []
    with pytest.raises(OSError, match="No space left"):
        store(
            told(tmp_path / "scratch", asked), tmp_path / "scratch", tmp_path / "out", bar=Progress("it", len(POOL)),
            schema=SCHEMA, describe=full,
        )  # fmt: skip
    assert not (tmp_path / "out").exists()
    stored(tmp_path, asked)
    assert asked == [0, 1, 2]


def test_what_is_left_of_a_labelling_whose_inputs_have_changed_goes_when_another_ends(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for stage, scratch in (("pseudo_label@2", "another"), ("pseudo_label@1", "before")):
        monkeypatch.setenv("DVC_STAGE", stage)
        with pytest.raises(KeyboardInterrupt):
            stored(Path(".tutelage/labels"), [], stop=1, scratch=scratch)
    stored(Path(".tutelage/labels"), [], scratch="now")
    assert sorted(path.parent.name for path in Path(".tutelage/labels").rglob("shard-00000.parquet")) == [
        "another", "now", "out",
    ]  # fmt: skip


def test_an_empty_pool_has_no_shards(tmp_path):
    assert missing(POOL[:0], 3, done=tmp_path) == []


@pytest.mark.parametrize("stage", [pseudo_label, box_label, multi_label])
def test_shards_of_other_arithmetic_are_made_anew_and_those_of_other_workers_are_not(tmp_path, monkeypatch, stage):
    table = read_split(make_split(tmp_path, {"pool": 1}))
    (tmp_path / "calibration.json").write_text("{}")

    def name(*, fast, **compute):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: fast)
        params = replace(small_params(), compute=Compute(device="cpu", **compute))
        about = {pseudo_label: [tmp_path], box_label: [{}, [], None], multi_label: [None]}[stage]
        return stage._fingerprint(table, *about, params)

    assert len({name(fast=False), name(fast=True), name(fast=False, threads=3)}) == 3
    assert name(fast=False, workers=3, checkpoint_seconds=1.0) == name(fast=False)
