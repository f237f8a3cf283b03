"""Probabilities of every pixel are large: of how many images they are in memory at once."""

import dataclasses
import weakref

import pytest
from multi_work import FOLDER, SHARES, SPLIT, prepare, taught

import tasks.adapt_scenes_report as adapting
import tasks.multi_evaluate as evaluating
import tasks.multi_label as labelling
from tasks.multi_training import truth_of
from tasks.training import rows_of
from tutelage.data.manifest import read_split

ASK = {
    "test": (evaluating, lambda params, teacher: evaluating.multi_evaluate(
        SPLIT, SHARES, teacher, params=params, out=FOLDER / "evaluation/segmentation")),
    "pool": (labelling, lambda params, teacher: labelling.multi_label(
        SPLIT, teacher, params=params, out=FOLDER / "again/segmentation")),
    "target": (adapting, lambda params, teacher: adapting._measured(
        teacher, (table := read_split(SPLIT)), truth_of(SPLIT, SHARES, table, params), rows_of(table, "pool"), params)),
}  # fmt: skip


@pytest.mark.parametrize("images", ASK)
def test_probabilities_of_pixels_do_not_pile_up(tmp_path, monkeypatch, images):
    monkeypatch.chdir(tmp_path)
    params = prepare(tmp_path, ("segmentation",))
    taught(params, "segmentation")
    wanted = params.multitask
    params = dataclasses.replace(params, multitask=dataclasses.replace(
        wanted, label=dataclasses.replace(wanted.label, shard_size=7),
        network=dataclasses.replace(wanted.network, tasks=("segmentation",)),
    ))  # fmt: skip
    (module, ask), say, given, alive = ASK[images], labelling.say, [], []

    def watched(*asked):
        for one in say(*asked):
            one = one._replace(segmentation=one.segmentation.copy())  # not a view of its whole batch
            given.append(weakref.ref(one.segmentation))
            alive.append(sum(each() is not None for each in given))
            yield one

    monkeypatch.setattr(module, "say", watched)
    ask(params, FOLDER / "teachers/segmentation")
    assert len(given) >= 4
    assert max(alive) <= 2
