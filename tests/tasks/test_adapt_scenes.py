"""Pixels of a target without labels, through every stage on small files; what is hidden stays hidden."""

import dataclasses
import os
import signal
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from fresh import killed
from multi_work import params_of, scenes
from project import known
from scene_work import coco_set

import tasks.adapt_scenes_student as student_stage
import tasks.adapt_scenes_train as train_stage
from tasks import carry, scene_loops
from tasks.adapt_scenes import as_scenes
from tasks.adapt_scenes_ingest import adapt_scenes_ingest
from tasks.adapt_scenes_params import SceneCandidate
from tasks.adapt_scenes_report import adapt_scenes_report, closed, summary
from tasks.adapt_scenes_split import adapt_scenes_split
from tasks.adapt_scenes_student import adapt_scenes_student
from tasks.adapt_scenes_train import adapt_scenes_train
from tasks.io import read_json
from tasks.multi_training import source_of
from tasks.multi_truth import Unlabelled
from tasks.scene_loops import Said
from tutelage.data.manifest import read_split
from tutelage.methods.multitask.mic import MIC
from tutelage.methods.multitask.must import MuST
from tutelage.models.multi_files import load_multi
from tutelage.train.adaptsegnet import AdaptSegNet
from tutelage.train.bdl import BDL
from tutelage.train.cycada import CyCADA
from tutelage.train.cycada_whole import CyCADAStages
from tutelage.train.cyclegan import CycleGAN
from tutelage.types import IGNORE, BadInput

FOLDER = Path("work/adapt_scenes")
SPLIT = FOLDER / "split"
MIX = MIC(styled=1.0, entropy=0.1, confidence=0.0, block=0.25)
FAINT = CycleGAN(width=2, blocks=1, critic_width=2, history=2, semantic=1.0, perceptual=0.1)
LINES = ("source", "baseline", "oracle")
FEW = {"steps": 3, "labelled_batch": 2, "pool_batch": 2}
CANDIDATES = {
    "mix": SceneCandidate(learn=MIX, start="scratch", **FEW),
    "critics": SceneCandidate(learn=AdaptSegNet(critic_width=2), levels=2, **FEW),
    "adabn": SceneCandidate(learn=MuST(), norms="target", **FEW | {"pool_batch": 0}),
    "both_ways": SceneCandidate(
        learn=BDL(translate=FAINT, align=AdaptSegNet(critic_width=2), rounds=1), norms="target", **FEW
    ),
    "stages": SceneCandidate(learn=CyCADAStages(translate=FAINT, align=CyCADA(critic_width=2), aligning=0.3), **FEW),
}


def small():
    params = params_of()
    own = params.adapt_scenes
    run = {"steps": 3, "labelled_batch": 2}
    adapt = dataclasses.replace(
        own,
        ingest=dataclasses.replace(
            own.ingest, root="images", labelled="labelled.json", pool="pool.json", test="test.json"
        ),
        network=dataclasses.replace(params.multitask.network, tasks=("segmentation",)),
        optimiser=dataclasses.replace(own.optimiser, warmup_steps=1),
        source=dataclasses.replace(own.source, **run),
        baseline=dataclasses.replace(own.baseline, **run | {"steps": 6}),
        oracle=dataclasses.replace(own.oracle, **run),
        candidates=CANDIDATES,
        adapted="mix",
    )
    return dataclasses.replace(params, adapt_scenes=adapt)


def prepare(root, params, pool=scenes, **kinds):
    for name, number, start in (("labelled", 8, 0), ("test", 4, 40)):
        scenes(root / "images", name, number, start=start, depth=False, **kinds)
    pool(root / "images", "pool", 7, start=20)
    ingested = adapt_scenes_ingest(Path("images"), params=params, out=FOLDER / "ingest")
    return adapt_scenes_split(ingested, params=params, out=SPLIT)


@pytest.fixture
def params(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = small()
    prepare(tmp_path, found)
    return found


def trained(params, *names, folder=FOLDER):
    """Bytes of each network's file. Candidates begin with the first folder's source."""
    found = {}
    for name in names:
        if name in LINES:
            out = adapt_scenes_train(SPLIT, params=params, out=folder / name)
        else:
            out = adapt_scenes_student(SPLIT, FOLDER / "source", params=params, out=folder / "candidates" / name)
        found[name] = (out / "model.safetensors").read_bytes()
    return found


def report(params):
    return adapt_scenes_report(SPLIT, FOLDER, params=params, out=FOLDER / "report")


def test_from_scenes_to_three_lines_and_labels_of_the_target_reach_the_oracle_alone(params):
    """Masks of the target get other classes, those of the test are taken away: only the oracle minds."""
    assert not any("hold-out" in note for note in read_json(SPLIT / "report.json")["notes"])  # none is wanted
    names = (*LINES, *CANDIDATES)
    before = trained(params, *names)
    assert len(set(before.values())) == len(names)
    told = read_json(report(params) / "summary.json")
    assert told["images"] == 4
    assert list(told["candidates"]) == sorted(CANDIDATES)
    assert told["lines"]["adapted"] == told["candidates"]["mix"]
    assert set(told["lines"]) == {*LINES, "adapted"}
    assert told["gap"] == told["lines"]["oracle"]["miou"] - told["lines"]["baseline"]["miou"]
    text = (FOLDER / "report/summary.md").read_text()
    assert (
        "\n\nUnequal training: adapt_scenes.baseline.steps is 6, mix has 3 steps together, so it has had more" in text
    )
    assert "\n\nUnequal training: adapt_scenes.oracle" not in text
    words = ("source alone, which", "the fair baseline", "adapted (mix)", "oracle, taught the target", "| critics |")
    assert all(word in text for word in words)
    net, card = load_multi(FOLDER / "candidates/critics/model.safetensors")
    assert net.tasks == ("segmentation",)
    assert card.method.startswith("AdaptSegNet(")

    hidden = pq.read_table(SPLIT / "truth.parquet")
    assert set(hidden["id"].to_pylist()) == {i for i in read_split(SPLIT)["id"].to_pylist() if i.startswith("pool/")}
    moved = hidden.set_column(1, "label", pc.subtract(pa.scalar(1, hidden["label"].type), hidden["label"]))
    pq.write_table(moved.cast(hidden.schema), SPLIT / "truth.parquet")
    seen = pq.read_table(SPLIT / "boxes.parquet")
    pq.write_table(seen.filter(pc.invert(pc.starts_with(seen["id"], "test/"))), SPLIT / "boxes.parquet")
    after = trained(params, *names, folder=Path("again"))
    assert {name for name in names if after[name] != before[name]} == {"oracle"}


def test_statistics_of_the_target_change_nothing_else_and_who_starts_from_the_source_knows_what_it_knows(params):
    way = dataclasses.replace(CANDIDATES["adabn"], pool_batch=2, norms="training")
    still = dataclasses.replace(params.adapt_scenes.optimiser, lr=1e-9)
    ways = {"adabn": dataclasses.replace(way, norms="target"), "plain": way}
    adapt = dataclasses.replace(params.adapt_scenes, candidates=ways, adapted="plain", optimiser=still)
    params = dataclasses.replace(params, adapt_scenes=adapt)
    trained(params, "source", *ways)
    folders = (FOLDER / "candidates/adabn", FOLDER / "candidates/plain", FOLDER / "source")
    mine, plain, source = (load_multi(folder / "model.safetensors")[0].state_dict() for folder in folders)
    norms = {name for name in mine if name.endswith(("running_mean", "running_var", "num_batches_tracked"))}
    assert {name for name in mine if not torch.equal(mine[name], plain[name])} == norms
    assert all(torch.allclose(plain[name], source[name], atol=1e-6) for name in set(plain) - norms)


def test_who_goes_on_from_the_source_is_not_shown_its_images_again(params, monkeypatch):
    """Batches are of as many of the same images: drawn anew where a way begins with the source, alike from scratch."""
    seen = {}

    def noted(job, table, known, out, **_):
        seen[out.name] = source_of(job, table, known)[0].labeled.images

    for stage in (student_stage, train_stage):
        monkeypatch.setattr(stage, "train_multi", noted)
    adapt_scenes_train(SPLIT, params=params, out=FOLDER / "source")
    for name in ("adabn", "mix"):
        adapt_scenes_student(SPLIT, FOLDER / "source", params=params, out=FOLDER / "candidates" / name)
    assert torch.equal(seen["source"], seen["mix"])
    assert not torch.equal(seen["source"], seen["adabn"])


def test_each_image_of_the_target_counts_alike_in_its_statistics(params, monkeypatch):
    """Batches count alike, so none is left with the one image that seven are beyond six."""
    sizes, evaluate = [], dataclasses.replace(params.adapt_scenes.evaluate, batch=6)
    params = dataclasses.replace(params, adapt_scenes=dataclasses.replace(params.adapt_scenes, evaluate=evaluate))
    monkeypatch.setattr(student_stage, "renorm", lambda _, batches: sizes.extend(map(len, batches)))
    trained(params, "source", "adabn")
    assert sizes == [4, 3]


def test_a_candidate_may_have_views_of_its_own(params):
    own, way = params.adapt_scenes.views, CANDIDATES["adabn"]
    ways = {name: dataclasses.replace(way, views=views) for name, views in {
        "given": None, "same": own, "other": dataclasses.replace(own, negative=1.0),
    }.items()}  # fmt: skip
    params = dataclasses.replace(
        params, adapt_scenes=dataclasses.replace(params.adapt_scenes, candidates=ways, adapted="other")
    )
    found = trained(params, "source", *ways)
    assert found["given"] == found["same"] != found["other"]


@pytest.mark.parametrize("name", CANDIDATES)
def test_a_candidate_that_is_killed_goes_on_and_ends_with_the_same_weights(params, monkeypatch, name):
    trained(params, "source")
    params = dataclasses.replace(params, compute=dataclasses.replace(params.compute, checkpoint_seconds=0.0))
    update, seen = carry.Progress.update, []

    def dies(self, number, text=""):
        update(self, number, text)
        seen.append(number)
        if len(seen) == 3:  # the second step is in a checkpoint, the third was lost
            os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(carry.Progress, "update", dies)
        assert killed(lambda: trained(params, name)) == -signal.SIGKILL
    assert not (FOLDER / "candidates" / name).exists()
    assert len(list(Path(".tutelage/checkpoints").rglob("run.pt"))) == 1
    continued = trained(params, name)
    assert not list(Path(".tutelage/checkpoints").iterdir())
    assert continued == trained(params, name, folder=Path("other"))


def test_what_a_network_named_moves_with_the_view_and_frames_stay_unnamed(params, monkeypatch):
    """Labels of the pool reach the pairs as the view has moved the images; what lies beyond an image is nobody's."""
    seen = []
    monkeypatch.setattr(scene_loops, "carry_on", lambda *_, **__: 1 / 0)
    monkeypatch.setitem(scene_loops.LOOPS, BDL, lambda learn, looped, student: (seen.append(looped), None, None))
    trained(params, "source")
    with pytest.raises(ZeroDivisionError):
        trained(params, "both_ways")
    (looped,) = seen
    size, pool = looped.size, looped.source.pool
    labels = torch.arange(len(pool))[:, None, None].repeat(1, size, size).numpy() % 3
    labels[:, 0] = IGNORE
    said, truth = Said(looped.unlabelled, labels), looped.unlabelled.truth
    low = Unlabelled(dataclasses.replace(truth, sizes=truth.sizes // [1, 2]), pool)  # images half as high as wide
    for place in range(len(pool)):
        known = Said(low, labels)(place).segmentation
        inside = low(place).segmentation.weight > 0
        assert 0.4 < inside.mean() < 0.6
        assert (known.target[0] == IGNORE).all()
        assert (known.target[~inside] == IGNORE).all()
        assert (known.target[1:][inside[1:]] == place % 3).all()
        around = dataclasses.replace(looped, unlabelled=low).blank()[place]
        assert torch.equal(around == IGNORE, torch.from_numpy(~inside))
    (pair,) = looped.pairs(0, 1, said)
    (blank,) = looped.pairs(0, 1)
    assert torch.equal(pair.target, blank.target)
    assert (blank.pseudo == IGNORE).all()
    assert ((pair.pseudo != IGNORE).flatten(1).float().mean(1) > 0.3).all()
    whole = torch.cat([*looped.target()])
    assert whole.shape == (len(pool), 3, size, size)


def test_a_target_without_masks_has_no_oracle_and_the_rest_goes_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    params = small()
    prepare(tmp_path, params, pool=coco_set)
    assert (
        "hidden"
        in read_json(adapt_scenes_train(SPLIT, params=params, out=FOLDER / "oracle") / "unavailable.json")["reason"]
    )
    trained(params, "source", "baseline", *CANDIDATES)
    told = read_json(report(params) / "summary.json")
    assert (told["gap"], told["lines"]["oracle"], told["closed"]) == (None, None, dict.fromkeys(CANDIDATES))
    assert "there is no oracle" in (FOLDER / "report/summary.md").read_text()


def test_objects_of_the_source_without_a_mask_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=r"12 images of the source or the test.*such as labelled/"):
        prepare(tmp_path, small(), masks=False)


def test_a_target_whose_images_were_all_refused_ends_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def broken(root, name, number, start):
        scenes(root, name, number, start=start)
        for path in (root / name).rglob("*.png"):
            path.write_bytes(b"no image")

    with pytest.raises(BadInput, match=r"The pool is empty, so .* Set adapt_scenes\.ingest\.pool\n"):
        prepare(tmp_path, small(), pool=broken)


def boxes_alone(params, **candidates):
    own = params.adapt_scenes
    network = dataclasses.replace(own.network, tasks=("detection",))
    ways = candidates or {"adabn": CANDIDATES["adabn"]}
    adapt = dataclasses.replace(own, network=network, candidates=ways, adapted=next(iter(ways)))
    return dataclasses.replace(params, adapt_scenes=adapt)


def test_boxes_without_masks_are_adapted_by_statistics_of_the_target(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    params = boxes_alone(small())
    prepare(tmp_path, params, masks=False)
    mine = trained(params, *LINES, "adabn")
    assert len(set(mine.values())) == 4
    told = read_json(report(params) / "summary.json")
    assert set(told["lines"]["oracle"]) == {"ap", "ap50"}
    assert told["gap"] == told["lines"]["oracle"]["ap"] - told["lines"]["baseline"]["ap"]
    assert "| way | AP | AP50 | of the gap |" in (FOLDER / "report/summary.md").read_text()
    net, _ = load_multi(FOLDER / "candidates/adabn/model.safetensors")
    assert net.tasks == ("detection",)
    with pytest.raises(BadInput, match=r"source answers \('detection',\) at .*\('segmentation',\) at .*Train it again"):
        report(small())


def test_what_names_pixels_finds_no_boxes_and_one_task_is_adapted_at_a_time():
    with pytest.raises(ValueError, match=r"candidates\.mix learns.* by MIC, which names pixels.*write pool_batch: 0"):
        boxes_alone(small(), mix=CANDIDATES["mix"])
    own = small().adapt_scenes
    network = dataclasses.replace(own.network, tasks=("segmentation", "detection"))
    with pytest.raises(ValueError, match=r"network\.tasks is \['detection', 'segmentation'\]: one is adapted"):
        dataclasses.replace(own, network=network)


def test_refusals_name_the_section_that_was_read(params):
    own = dataclasses.replace(params.adapt_scenes.ingest, labelled="labelled")
    wrong = dataclasses.replace(params, adapt_scenes=dataclasses.replace(params.adapt_scenes, ingest=own))
    with pytest.raises(BadInput, match=r"^adapt_scenes\.ingest\.labelled is 'labelled'"):
        adapt_scenes_ingest(Path("images"), params=wrong, out=FOLDER / "ingest")
    with pytest.raises(BadInput, match="names no network: write work/adapt_scenes/source, baseline or oracle"):
        adapt_scenes_train(SPLIT, params=params, out=FOLDER / "teacher")
    with pytest.raises(BadInput, match=r"does not say its candidate.*mix, critics"):
        adapt_scenes_student(SPLIT, FOLDER / "source", params=params, out=FOLDER / "candidates/mike")


def test_the_committed_params_can_be_read_as_scenes():
    own = as_scenes(known())
    assert own.multitask.tasks == ["segmentation"]
    assert own.detection.ingest.pool == "target/pool.json"


def test_the_share_of_the_gap_by_hand():
    lines = {name: {"miou": score} for name, score in {"source": 0.1, "baseline": 0.2, "oracle": 0.6}.items()}
    ways = {"a": {"miou": 0.5}, "b": {"miou": 0.1}}
    told = summary(lines, ways, "a", score="miou")
    assert told["closed"] == pytest.approx({"a": 0.75, "b": -0.25})
    assert told["gap"] == pytest.approx(0.4)
    assert closed(0.5, 0.6, 0.6) is None  # no gap
    assert closed(0.5, 0.6, None) is None
    without = {name: lines[name] for name in ("source", "baseline")}
    assert summary(without, ways, "a", score="miou")["gap"] is None
