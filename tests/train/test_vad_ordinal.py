import numpy as np
import pytest
import torch

from tutelage.metrics.classification import auroc
from tutelage.models.backbone import NetworkSpec, create
from tutelage.models.files import save_model
from tutelage.train.vad_ordinal import (
    Ranker,
    VADOrdinal,
    begin,
    first_scores,
    fit,
    load_ranker,
    pseudo_sets,
    save_ranker,
)
from tutelage.types import BadInput, Diverged

SPEC = NetworkSpec(width=4, image_size=8)
SETTINGS = VADOrdinal(rounds=2, anomalous=0.1, usual=0.3, lr=5e-3, hidden=16, trees=20)
NUMBER = 40
ODD = np.arange(NUMBER) < 4  # bright, and the others dark


def images():
    draw = torch.Generator().manual_seed(0)
    bright = torch.where(torch.from_numpy(ODD), 0.8, 0.3).view(-1, 1, 1, 1)
    return (bright + 0.1 * torch.rand(NUMBER, 3, 8, 8, generator=draw)).clamp(0, 1)


def look(places):
    return images()[places]


def begun(scores, settings=SETTINGS):
    torch.manual_seed(0)
    return begin(settings, create(SPEC, 3), scores)


def noisy():
    """Ranks that have two of the four odd images on top and the other two in the middle."""
    scores = np.linspace(0.5, 0, NUMBER)
    scores[[0, 1]] = 1.0, 0.9
    scores[[2, 3]] = 0.25, 0.26
    scores[[20, 21]] = 0.8, 0.7
    return scores


def run(scores, *, steps=40, **changes):
    made = begun(scores)
    losses = [step.terms["ordinal"].item() for step in fit(SETTINGS, made, look, steps=steps, batch=8, seed=0)]
    return made, losses


@pytest.mark.parametrize("batch", [1, 5])
def test_a_batch_without_halves_is_refused(batch):
    with pytest.raises(BadInput, match=f"a batch of {batch} has no two halves"):
        next(fit(SETTINGS, begun(noisy()), look, steps=40, batch=batch, seed=0))


def test_what_is_taken_for_odd_and_for_normal_by_hand():
    odd, usual = pseudo_sets(np.array([0.1, 0.9, 0.3, 0.2, 0.7]), VADOrdinal(anomalous=0.4, usual=0.6))
    assert (odd.tolist(), usual.tolist()) == ([1, 4], [2, 3, 0])
    odd, usual = pseudo_sets(np.zeros(3), SETTINGS)  # one each at least, and never the same
    assert len(odd) == len(usual) == 1
    assert not set(odd) & set(usual)


def test_the_first_ranking_is_the_mean_of_two():
    features = np.random.default_rng(1).normal(size=(30, 2))
    features[7] = 9.0
    scores = first_scores(features, SETTINGS, seed=3)
    assert scores.argmax() == 7
    assert scores[7] == 1.0  # of both
    assert (scores == first_scores(features, SETTINGS, seed=3)).all()
    assert scores.min() >= 0
    with pytest.raises(BadInput, match=r"1 image\(s\) are ranked"):
        first_scores(features[:1], SETTINGS, seed=0)


def test_where_the_odd_can_be_told_one_round_tells_them():
    made, losses = run(ODD.astype(float), steps=60)
    each = made.ranker.each(images()).numpy()
    assert auroc(each[0], ODD) == 1.0
    assert auroc(made.ranker(images()).numpy(), ODD) == 1.0
    torch.testing.assert_close(made.ranker(images()), made.ranker.each(images()).mean(0))
    assert np.mean(losses[25:30]) < 0.5 * losses[0]


def test_a_round_believes_the_one_before_it():
    made, _ = run(noisy())
    expected = made.ranker.eval().scorers[0](images()).detach().double().numpy()
    assert (made.scores == expected).all() or np.allclose(made.scores, expected, atol=1e-6)


def test_scorers_of_other_rounds_stay():
    made = begun(noisy())
    before = [{name: value.clone() for name, value in one.state_dict().items()} for one in made.ranker.scorers]
    steps = fit(SETTINGS, made, look, steps=8, batch=8, seed=0)
    still = []
    for step in steps:
        state = [one.state_dict() for one in made.ranker.scorers]
        still.append([all(torch.equal(v, b[k]) for k, v in s.items()) for s, b in zip(state, before, strict=True)])
        if step.number == 4:
            before[0] = {name: value.clone() for name, value in state[0].items()}
    assert still == [[False, True]] * 4 + [[True, False]] * 4


@pytest.mark.parametrize("stop", [3, 4, 5])  # before, at and after the end of a round
def test_cut_and_continued_is_bit_equal_to_never_cut(tmp_path, stop):
    whole, _ = run(noisy(), steps=8)
    first, second = begun(noisy()), begun(noisy())
    for step in fit(SETTINGS, first, look, steps=8, batch=8, seed=0):
        if step.number == stop:
            break
    torch.save(first.state_dict(), tmp_path / "run.pt")
    second.load_state_dict(torch.load(tmp_path / "run.pt", weights_only=True))
    rest = [step.number for step in fit(SETTINGS, second, look, steps=8, batch=8, seed=0)]
    assert rest == [*range(stop + 1, 9)]
    torch.testing.assert_close(second.ranker.state_dict(), whole.ranker.state_dict(), rtol=0, atol=0)
    assert (second.scores == whole.scores).all()


def test_from_a_file_it_says_the_same(tmp_path):
    torch.manual_seed(0)
    ranker = Ranker(create(SPEC, 3), SETTINGS)
    save_ranker(tmp_path / "model.safetensors", ranker, classes=["a", "b", "c"], method="here")
    assert torch.equal(load_ranker(tmp_path / "model.safetensors")(images()), ranker(images()))
    save_model(tmp_path / "other.safetensors", create(SPEC, 3), classes=["a", "b", "c"], method="here")
    with pytest.raises(BadInput, match="one for ranks of odd images is needed here"):
        load_ranker(tmp_path / "other.safetensors")


def test_what_is_wrong_is_said():
    with pytest.raises(BadInput, match="no image is both"):
        VADOrdinal(anomalous=0.6, usual=0.5)
    with pytest.raises(BadInput, match=r"high is 0\.0 and low 0\.0"):
        VADOrdinal(high=0.0)
    with pytest.raises(BadInput, match="7 steps are no whole number of 2 rounds"):
        next(fit(SETTINGS, begun(noisy()), look, steps=7, batch=8, seed=0))
    with pytest.raises(Diverged, match="not finite at step 1"):
        next(fit(SETTINGS, begun(noisy()), lambda places: look(places) * torch.nan, steps=8, batch=8, seed=0))
