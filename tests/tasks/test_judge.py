import json
import re
import shutil
from dataclasses import asdict, replace

import numpy as np
import pyarrow as pa
import pytest
from small_work import (
    CLASSES,
    SPEC,
    contents,
    failed,
    make_split,
    new_network,
    plant_answers,
    save,
    small_params,
    train,
)
from tiny import Tiny
from torch import nn

from tasks import latency
from tasks.answers import ask, read_answers, write_answers
from tasks.calibrate import calibrate
from tasks.checks import Check
from tasks.io import write_json
from tasks.judge import digest_of_test, judge, page
from tasks.promote import by_hand
from tasks.training import NOTE, learned_from
from tutelage.data.manifest import read_split
from tutelage.models.files import load_model
from tutelage.train.settings import Compute
from tutelage.types import BadInput, Network, Outputs

CPU = Compute(threads=1, workers=0, precision="fp32", device="cpu")
WORST = [3 * i + 1 for i in range(20)]  # twenty images of one class


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    split = make_split(folder)
    return {
        "folder": folder,
        "split": split,
        "candidate": save(folder / "candidate", new_network(1)),
        "baseline": save(folder / "baseline", new_network(2)),
        "good": save(folder / "good", train(new_network(3), split, 25)),
        "empty": folder / "champion",
    }


def run(world, tmp_path, *, candidate=(), baseline=(), champion=None, params=None, confidence=0.9, model="candidate"):
    """A verdict where candidate and baseline are wrong on the given test images."""
    world["empty"].mkdir(exist_ok=True)
    model = world[model] if isinstance(model, str) else model
    new = plant_answers(tmp_path / "new", world["split"], model, np.array(candidate), confidence)
    old = plant_answers(tmp_path / "old", world["split"], world["baseline"], np.array(baseline))
    out = tmp_path / "judge"
    judge(
        world["split"], model, new, world["baseline"], old, champion or world["empty"],
        params=params or small_params(), out=out,
    )  # fmt: skip
    return json.loads((out / "verdict.json").read_text()), out


def judged(params=None, **settings):
    params = params or small_params()
    return replace(params, judge=replace(params.judge, **settings))


def test_a_candidate_that_is_better_beyond_chance_is_promoted(world, tmp_path):
    verdict, out = run(world, tmp_path, candidate=range(10), baseline=range(30))
    assert (verdict["promote"], verdict["winner"], verdict["champion"]) == (True, "candidate", "baseline")
    assert (out / "model.safetensors").read_bytes() == (world["candidate"] / "model.safetensors").read_bytes()
    assert verdict["gain"]["error_reduction"] == pytest.approx(2 / 3)
    assert 0 < verdict["gain"]["low"] < 2 / 3 < verdict["gain"]["high"] < 1
    assert failed(verdict) == []
    assert "66.7 % lower than the supervised baseline's" in verdict["reasons"][0]
    low, high = (f"{100 * verdict['gain'][end]:.1f} %" for end in ("low", "high"))
    assert f"(95 % interval of the reduction {low} to {high})" in verdict["reasons"][0]
    for name in ("candidate", "baseline"):
        assert verdict["digests"][name] == load_model(world[name] / "model.safetensors")[1].sha256
    assert verdict["digests"]["test"] == digest_of_test(read_split(world["split"]))


def test_a_losing_candidate_leaves_the_supervised_model_and_says_so(world, tmp_path):
    verdict, out = run(world, tmp_path, candidate=range(30), baseline=range(10))
    assert (verdict["promote"], verdict["winner"]) == (False, "baseline")
    assert (out / "model.safetensors").read_bytes() == (world["baseline"] / "model.safetensors").read_bytes()
    told = " ".join(verdict["reasons"])
    assert "200.0 % higher than the supervised baseline's" in told
    assert "the baseline is better" in told
    assert "So the supervised baseline is kept." in told
    report = (out / "report.md").read_text()
    assert report.startswith("# Verdict: the baseline wins")
    assert "So the supervised baseline is kept." in report


@pytest.mark.parametrize(("candidate", "baseline"), [(range(5, 24), range(20)), ((), (0,)), ((), ())])
def test_a_gain_that_may_be_luck_is_not_enough(world, tmp_path, candidate, baseline):
    """19 errors against 20, none against one, none against none."""
    verdict, _ = run(world, tmp_path, candidate=candidate, baseline=baseline)
    assert not verdict["promote"]
    assert "it may be luck" in " ".join(verdict["reasons"])


def test_a_class_may_not_pay_for_the_others(world, tmp_path):
    """Fewer errors overall, all of them in one class."""
    verdict, _ = run(world, tmp_path, candidate=WORST[:12], baseline=[3 * i + 2 for i in range(30)])
    assert verdict["gain"]["low"] > 0
    assert failed(verdict) == [f"F1, worst class {CLASSES[1]}"]
    assert "25.0 points on 30 images" in " ".join(verdict["reasons"])  # 2 x 18 / (18 + 30) is 0.75


def test_recall_that_was_had_for_another_class_is_no_loss(world, tmp_path):
    """The baseline says class 1 of all of class 0, so it finds all of class 1 and half of what it says is wrong."""
    verdict, _ = run(world, tmp_path, candidate=WORST[:3], baseline=[3 * i for i in range(30)])
    assert verdict["promote"]


def test_an_image_or_two_of_a_class_are_no_evidence(world, tmp_path):
    verdict, _ = run(world, tmp_path, candidate=WORST[:3], baseline=[3 * i + 2 for i in range(30)])
    worst = next(check for check in verdict["checks"] if check["name"].startswith("F1"))
    assert worst["champion"] - worst["candidate"] == pytest.approx(1 - 54 / 57)  # above the margin of 5 %
    assert verdict["promote"]


def test_a_gain_bought_with_false_confidence_fails(world, tmp_path):
    params = judged(calibration_margin=0.05)
    verdict, _ = run(world, tmp_path, candidate=range(20), baseline=range(50), params=params, confidence=0.5)
    assert "calibration error" not in failed(verdict)  # 0.9 said of 44 % right is worse still
    verdict, _ = run(world, tmp_path, candidate=range(2), baseline=range(30), params=params, confidence=0.4)
    assert failed(verdict) == ["calibration error"]


def test_a_champion_in_production_is_tested_here(world, tmp_path):
    verdict, out = run(world, tmp_path, candidate=range(10), baseline=range(60), champion=world["good"])
    accuracy = next(check for check in verdict["checks"] if check["name"] == "accuracy")
    assert accuracy["champion"] > 0.9  # it was trained on these images
    assert (verdict["promote"], verdict["winner"], verdict["champion"]) == (False, "champion", "production")
    assert "So the model in production is kept. But the supervised baseline" not in " ".join(verdict["reasons"])
    assert (out / "model.safetensors").read_bytes() == (world["good"] / "model.safetensors").read_bytes()
    assert verdict["digests"]["champion"] == load_model(world["good"] / "model.safetensors")[1].sha256


def test_a_candidate_that_beats_production_is_promoted(world, tmp_path):
    poor = save(tmp_path / "champion", new_network(9))
    verdict, _ = run(world, tmp_path, candidate=range(10), baseline=range(30), champion=poor)
    assert (verdict["promote"], verdict["winner"], verdict["champion"]) == (True, "candidate", "production")
    assert "not inferior to the model in production" in verdict["reasons"][1]


@pytest.mark.parametrize(("better", "winner"), [(range(10), "candidate"), (range(60), "baseline")])
def test_what_the_winner_has_learned_from_goes_with_it_into_production(world, tmp_path, better, winner):
    models = {name: tmp_path / name for name in ("candidate", "baseline")}
    for name, folder in models.items():
        shutil.copytree(world[name], folder)
        write_json(folder / NOTE, ["holdout", name])
    _, out = run({**world, **models}, tmp_path, candidate=better, baseline=range(30))
    assert learned_from(out) == ["holdout", winner]
    production = by_hand(out, tmp_path / "registry")
    with pytest.raises(BadInput, match=r"production has learned from the hold-out.*Take a model trained without it"):
        calibrate(world["split"], production, params=small_params(), out=tmp_path / "calibration")


def test_production_stays_but_a_better_baseline_is_pointed_at(world, tmp_path):
    poor = save(tmp_path / "champion", new_network(9))
    verdict, _ = run(world, tmp_path, candidate=range(12), baseline=range(10), champion=poor)
    assert (verdict["promote"], verdict["winner"]) == (False, "champion")
    assert "the supervised baseline is better than it beyond chance" in verdict["reasons"][-1]


def test_a_baseline_that_is_better_than_production_by_one_image_is_not_pointed_at(world, tmp_path):
    poor = save(tmp_path / "champion", new_network(9))
    network, card = load_model(poor / "model.safetensors")
    wrong = np.flatnonzero(~ask(read_split(world["split"]), network, card, compute=CPU, batch=90).right)
    verdict, _ = run(world, tmp_path, candidate=wrong, baseline=wrong[1:], champion=poor)
    assert verdict["reasons"][-1] == "So the model in production is kept."


def test_a_row_of_the_page_has_the_candidates_number_before_the_champions():
    checks = [Check("accuracy", 0.5, 0.25, "above", True, ""), Check("size", 12_000, None, "below", False, "")]
    said = page("Verdict", ["Why."], [asdict(one) for one in checks], ("candidate", "compared with"))
    assert said.splitlines()[4:] == [
        "| check | candidate | compared with | rule |  |",
        "| --- | --- | --- | --- | --- |",
        "| accuracy | 0.5000 | 0.2500 | above | passed |",
        "| size | 12,000 | - | below | **failed** |",
    ]


def test_margin_is_what_the_interval_may_lack(world, tmp_path):
    """The candidate equals a perfect champion: not above, but within any margin."""
    perfect = read_answers(plant_answers(tmp_path / "p", world["split"], world["good"], np.array([])))
    assert perfect.right.all()
    args = {"candidate": range(1), "baseline": range(30), "champion": world["good"]}
    assert "accuracy" in failed(run(world, tmp_path, **args, params=judged(margin=0.0))[0])
    assert "accuracy" not in failed(run(world, tmp_path, **args, params=judged(margin=0.9))[0])


def test_the_model_in_production_is_no_news(world, tmp_path):
    verdict, _ = run(world, tmp_path, candidate=range(1), baseline=range(30), champion=world["candidate"])
    assert not verdict["promote"]
    assert verdict["reasons"] == ["Not promoted: the candidate is the model in production, byte for byte."]


def test_a_champion_of_other_classes_cannot_be_compared(world, tmp_path):
    other = save(tmp_path / "champion", new_network(9), ["cat", "dog", "eel"])
    with pytest.raises(BadInput, match=r"cat.*cannot be compared.*empty"):
        run(world, tmp_path, champion=other)
    assert not (tmp_path / "judge").exists()


def test_an_evaluation_of_another_model_is_refused(world, tmp_path):
    new = plant_answers(tmp_path / "new", world["split"], world["good"], np.array([]))
    old = plant_answers(tmp_path / "old", world["split"], world["baseline"], np.array([]))
    world["empty"].mkdir(exist_ok=True)
    inputs = (world["split"], world["candidate"], new, world["baseline"], old, world["empty"])
    with pytest.raises(BadInput, match="tested another model"):
        judge(*inputs, params=small_params(), out=tmp_path / "judge")


@pytest.mark.parametrize("other", ["candidate", "baseline"])
def test_an_evaluation_on_other_images_is_refused(world, tmp_path, other):
    """Also the baseline's where another model is in production."""
    inputs = [world["split"]]
    for name in ("candidate", "baseline"):
        inputs += [world[name], plant_answers(tmp_path / name, world["split"], world[name], np.array([]))]
    said = read_answers(tmp_path / other)
    write_answers(tmp_path / other, replace(said, ids=said.ids[::-1]))
    with pytest.raises(BadInput, match=f"the {other} was tested on other images"):
        judge(*inputs, world["good"], params=small_params(), out=tmp_path / "judge")


def test_a_model_that_is_too_large_fails_on_size(world, tmp_path):
    large = save(tmp_path / "large", new_network(1, replace(SPEC, width=8)))
    verdict, _ = run(world, tmp_path, candidate=range(5), baseline=range(40), model=large)
    assert "size" in failed(verdict)
    size = next(check for check in verdict["checks"] if check["name"] == "size")
    assert size["candidate"] > 3 * size["champion"]


def test_equal_inputs_give_equal_bytes_even_where_the_clock_was_asked(world, tmp_path, monkeypatch, capsys):
    large = save(tmp_path / "large", new_network(1, replace(SPEC, width=6)))
    found = []
    for ratio in (1.0, 1.2):  # what a quiet and a busy machine measure
        monkeypatch.setattr(latency, "measure", lambda *_, ratio=ratio: ratio)
        (tmp_path / f"{ratio}").mkdir()
        _, out = run(world, tmp_path / f"{ratio}", candidate=range(5), baseline=range(40), model=large)
        found.append(contents(out))
        assert f"takes {ratio:.2f} times" in capsys.readouterr().out
    assert found[0] == found[1]


def test_equal_architectures_are_not_timed(world, tmp_path, monkeypatch):
    monkeypatch.setattr(latency, "measure", lambda *_: pytest.fail("measured"))
    verdict, _ = run(world, tmp_path, candidate=range(5), baseline=range(40))
    assert verdict["promote"]


@pytest.mark.parametrize(
    ("ratio", "counted", "kept"),
    [(1.0, 9.0, True), (2.0, 1.0, False), (1.45, 1.4, True), (1.55, 1.4, True), (1.45, 1.6, False), (1.55, 1.6, False)],
)
def test_near_the_limit_the_counted_operations_decide(ratio, counted, kept):
    assert latency.within(ratio, 1.5, counted) is kept


class OneConvolution(Network):
    def __init__(self):
        super().__init__()
        self.map, self.head = nn.Conv2d(3, 5, 3, padding=1), nn.Linear(5, 2)

    def forward(self, images):
        embedding = self.map(images).mean((2, 3))
        return Outputs(self.head(embedding), embedding, {})


def test_operations_by_hand():
    # 8 x 8 places, 5 maps, 3 x 3 x 3 weights, each a product and a sum; then 5 x 2
    assert latency.operations(OneConvolution(), 8) == 2 * (8 * 8 * 5 * 27 + 10)


def test_operations_are_counted_where_the_network_lies():
    """A champion that was asked for answers lies on the GPU; "meta" stands for one."""
    assert latency.operations(Tiny(4).to("meta"), 8) == latency.operations(Tiny(4), 8)


def test_a_slower_network_measures_slower_and_the_log_says_how_slow(capsys):
    wide = new_network(0, replace(SPEC, width=48))
    assert latency.measure((wide, 64), (new_network(0), 12), CPU, ("candidate", "baseline")) > 2
    at = r"candidate [\d.]+ ms an image \([\d,]+ images/s\), baseline [\d.]+ ms an image \([\d,]+ images/s\)"
    assert re.fullmatch(f"latency at batch 1: {at}\nlatency at batch 32: {at}\n", capsys.readouterr().out)


def test_what_the_clock_says_is_of_one_image():
    assert latency.told(32, {"student": 0.064}) == "student 2.00 ms an image (500 images/s)"


def test_digest_of_the_test_split_changes_with_a_label(world, tmp_path):
    table = read_split(world["split"])
    rows = table.to_pylist()
    other_pixels, other_label = {"sha256": "0" * 64}, {"label": 2}  # the first image of each role is of class 0
    for role, change, same in (
        ("pool", other_pixels, True), ("holdout", other_label, True),
        ("test", other_pixels, False), ("test", other_label, False),
    ):  # fmt: skip
        place = next(i for i, row in enumerate(rows) if row["role"] == role)
        changed = [dict(row) for row in rows]
        changed[place] |= change
        other = pa.Table.from_pylist(changed, table.schema)
        assert (digest_of_test(other) == digest_of_test(table)) is same


def test_images_of_one_group_prove_no_more_than_one_image_would(world, tmp_path):
    """All of the test as one group, by a pattern that finds the same in every path: each draw is the test itself."""
    params = small_params()
    verdict, _ = run(
        world, tmp_path, candidate=range(10), baseline=range(30),
        params=replace(params, split=replace(params.split, groups="()")),
    )  # fmt: skip
    assert verdict["gain"]["low"] == verdict["gain"]["high"] == pytest.approx(2 / 3)


LATE = range(40, 80)  # where the baseline errs
EARLY = "test-(0)[0-3]"  # a slice of 40 images


def test_a_candidate_that_is_better_on_the_whole_may_not_lose_a_slice(world, tmp_path):
    verdict, out = run(world, tmp_path, candidate=range(12), baseline=LATE, params=judged(slices="test-0([0-3]|4)"))
    assert failed(verdict) == ["accuracy, worst slice 0"]  # ten of its ten images
    assert "accuracy falls for 0 (100.0 points on 10 images)" in " ".join(verdict["reasons"])
    verdict, out = run(world, tmp_path, candidate=range(12), baseline=LATE, params=judged(slices=EARLY))
    assert not verdict["promote"]
    assert "accuracy falls for 0 (30.0 points on 40 images)" in " ".join(verdict["reasons"])
    assert verdict["slices"] == [{"name": "0", "images": 40, "units": 40, "candidate": 0.7, "champion": 1.0}]
    report = (out / "report.md").read_text()
    assert "| 0 | 40 | 0.7000 | 1.0000 |" in report
    assert "prove little" not in report
    held, _ = run(world, tmp_path, candidate=range(12), baseline=LATE, params=judged(slices=EARLY, class_margin=0.4))
    assert held["promote"]


@pytest.mark.parametrize("lost", [1, 3])
def test_a_slice_of_three_images_says_little(world, tmp_path, lost):
    """Where all three are lost, every draw of them is the same."""
    params = judged(slices="test-(00)[0-2]")
    verdict, out = run(world, tmp_path, candidate=range(lost), baseline=LATE, params=params)
    assert verdict["promote"]
    assert "Of fewer than 10 images or groups, which prove little: 00." in (out / "report.md").read_text()


def test_a_slice_of_a_few_groups_says_little_however_many_images_they_are(world, tmp_path):
    """Forty frames of four videos are four tosses."""
    params = judged(slices=EARLY)
    params = replace(params, split=replace(params.split, groups="test-(0[0-3])"))
    verdict, _ = run(world, tmp_path, candidate=range(40), baseline=range(40, 90), params=params)
    assert verdict["slices"] == [{"name": "0", "images": 40, "units": 4, "candidate": 0.0, "champion": 1.0}]
    assert "accuracy, worst slice 0" not in failed(verdict)


def test_images_of_no_slice_are_in_none_and_without_a_pattern_nothing_is_told(world, tmp_path):
    verdict, _ = run(world, tmp_path, candidate=range(10), baseline=range(30), params=judged(slices="test-0(8|7)"))
    assert [(one["name"], one["images"]) for one in verdict["slices"]] == [("7", 10), ("8", 10)]
    plain, out = run(world, tmp_path, candidate=range(10), baseline=range(30))
    assert "slices" not in plain
    assert not any("slice" in check["name"] for check in plain["checks"])
    assert "slice" not in (out / "report.md").read_text()


def test_a_pattern_that_finds_nothing_is_told_with_an_image(world, tmp_path):
    with pytest.raises(BadInput, match=r"judge.slices \(site-\) finds nothing.*such as labelled/test-000.png"):
        run(world, tmp_path, params=judged(slices="site-"))
