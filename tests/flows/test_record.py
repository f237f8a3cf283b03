"""A DVC that is ended while it writes dvc.lock costs no stage."""

import pytest
import yaml
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from toy import Toy, runs_of, step, story
from voluptuous import Invalid

from flows.record import COPY, readable

WHOLE = """schema: '2.0'
stages:
  ingest:
    cmd: python -m tasks ingest
    deps:
    - path: mine
      hash: md5
      md5: 0cc175b9c0f1b6a831c399e269772661.dir
      size: 12
      nfiles: 3
    params:
      params.yaml:
        ingest.labels:
        ingest.root: mine
    outs:
    - path: work/ingest
      hash: md5
      md5: 92eb5ffee6ae2fec3ad71c777531578f.dir
      size: 34
      nfiles: 2
  split:
    cmd: python -m tasks split
"""


def test_where_dvc_cannot_read_what_was_cut_off_that_is_known() -> None:
    assert readable(WHOLE)
    cuts = [WHOLE[:length] for length in range(len(WHOLE))]
    refused = [cut for cut in cuts if not dvc_reads(cut)]
    assert len(refused) > len(cuts) / 3
    assert not [cut for cut in refused if readable(cut)]


def dvc_reads(lock: str) -> bool:
    try:
        COMPILED_LOCKFILE_SCHEMA(yaml.safe_load(lock))
    except (yaml.YAMLError, Invalid):
        return False
    return True


def test_a_record_that_was_cut_off_is_put_back_and_nothing_runs_again(toy: Toy) -> None:
    toy.stages(a=step("a"), b=step("b", "a"))
    story(toy.root, [["b"]])
    lock = toy.root / "dvc.lock"
    whole = lock.read_bytes()
    lock.write_bytes(whole[:-40])
    again = story(toy.root, [["b"]], return_state=True)
    assert runs_of(again.state_details.flow_run_id) == {"a": "Cached", "b": "Cached"}
    assert lock.read_bytes() == whole
    (toy.root / COPY).unlink()
    lock.write_bytes(b"")
    with pytest.raises(ValueError, match=r"`git checkout dvc\.lock` brings back"):
        story(toy.root, [["b"]])
