import pytest
import torch
from interrupted import continues

from tutelage.data.keypoints import Posed
from tutelage.losses.heatmaps import gaussian_maps, map_mse, peaks, spatial_kl
from tutelage.models.poses import Ensemble, PoseNet, PoseSpec
from tutelage.train.okdhp import OKDHP, begin, fit, losses
from tutelage.train.settings import Optimiser
from tutelage.types import BadInput, Diverged

SETTINGS = Optimiser(warmup_steps=1, lr=0.01)
SPEC = PoseSpec(width=8, depth=1, image_size=8)


def net(seed=0):
    torch.manual_seed(seed)
    return PoseNet(SPEC, ("spot", "other"))


def batch(n=12, seed=1):
    """A bright pixel somewhere; the second point, which is not always visible, lies opposite."""
    draw = torch.Generator().manual_seed(seed)
    x, y = torch.randint(8, (2, n), generator=draw)
    images = torch.zeros(n, 3, 8, 8)
    images[torch.arange(n), :, y, x] = 1
    spot = torch.stack([x, y], dim=-1) + 0.5
    return Posed(images, torch.stack([spot, 8 - spot], dim=1), torch.stack([torch.ones(n), x > 2], dim=1).bool())


def trained(method, student, steps=3, data=None):
    run = begin(method, student, SETTINGS)
    return run, list(fit(method, run, [data or batch()] * steps, SETTINGS, steps=steps))


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_terms_by_hand():
    method, seen = OKDHP(ensemble=2.0, weight=3.0, ramp=0.5), batch()
    run = begin(method, net(), SETTINGS)
    run.student.eval()
    run.extra.eval()
    maps = run.student.seen(seen.images)
    said, mixed = run.extra(maps, run.student(seen.images))
    wanted = gaussian_maps(seen.points / 8, size=(4, 4), sigma=1.0)
    found = losses(method, run, seen, progress=1.0)
    assert len(said) == 3
    torch.testing.assert_close(found["task"], sum(map_mse(one, wanted, seen.visible) for one in said))
    torch.testing.assert_close(found["ensemble"], 2 * map_mse(mixed, wanted, seen.visible))
    apart = sum(spatial_kl(one, mixed, seen.visible) for one in said)
    torch.testing.assert_close(found["distillation"], 3 * apart)
    young = losses(method, run, seen, progress=0.0)
    torch.testing.assert_close(young["distillation"], 0.006737947 * found["distillation"])


def test_branches_that_are_alike_have_nothing_to_tell_each_other():
    run = begin(OKDHP(), net(), SETTINGS)
    for each in run.extra.branches:
        each.load_state_dict(run.student.branch.state_dict())
    terms = losses(OKDHP(), run, batch(), progress=1.0)
    torch.testing.assert_close(terms["distillation"], torch.tensor(0.0), atol=1e-6, rtol=0)
    torch.testing.assert_close(terms["task"], 3 * terms["ensemble"])


def test_one_branch_is_plain_training_whatever_the_weights():
    plain, seen = net(), batch()
    optimizer = torch.optim.Adam(plain.parameters(), lr=0.01)
    for _ in range(1):
        maps = plain(seen.images)
        optimizer.zero_grad()
        map_mse(maps, gaussian_maps(seen.points / 8, size=(4, 4), sigma=1.0), seen.visible).backward()
        optimizer.step()
    run, taken = trained(OKDHP(branches=1), net(), steps=1)
    assert [*taken[0].terms] == ["task"]
    assert same(run.student, plain)
    again, _ = trained(OKDHP(branches=1, weight=0.0, ensemble=9.0), net(), steps=1)
    assert same(run.student, again.student)


def test_gradient_reaches_all_branches_and_their_weights():
    method = OKDHP()
    run = begin(method, net(), SETTINGS)
    losses(method, run, batch(), progress=1.0)["distillation"].backward()
    named = [*run.student.named_parameters(), *run.extra.named_parameters()]
    shift = ("branch.1.bias", "branches.0.1.bias", "branches.1.1.bias")  # a constant of a map says nothing of its peak
    assert [name for name, p in named if name not in shift and (p.grad is None or not p.grad.any())] == []


def test_finds_a_bright_pixel():
    data = batch(24)
    run, taken = trained(OKDHP(), net(), steps=60, data=data)
    assert taken[-1].terms["task"] < 0.3 * taken[0].terms["task"]
    found = peaks(run.student.eval()(data.images)) * 8
    near = (found - data.points).abs().amax(-1) <= 1
    assert near[:, 0].float().mean() > 0.9


def test_a_run_that_was_cut_goes_on_as_if_it_had_not_been(tmp_path):
    continues(
        lambda: begin(OKDHP(), net(), SETTINGS), lambda run, seen: fit(OKDHP(), run, seen, SETTINGS, steps=4),
        [batch()] * 4, 2, tmp_path,
    )  # fmt: skip


def test_images_of_one_colour_without_a_visible_point_stay_finite():
    blank = Posed(torch.ones(4, 3, 8, 8), torch.zeros(4, 2, 2), torch.zeros(4, 2, dtype=torch.bool))
    run, taken = trained(OKDHP(), net(), data=blank)
    assert all(term == 0 for step in taken for term in step.terms.values())
    assert all(value.isfinite().all() for value in run.student.state_dict().values())


def test_a_loss_that_is_not_finite_stops_before_it_changes_anything():
    data, run = batch(), begin(OKDHP(), net(), SETTINGS)
    before = {name: value.clone() for name, value in run.student.named_parameters()}
    data.images[0] = torch.nan
    with pytest.raises(Diverged, match="step 1"):
        list(fit(OKDHP(), run, [data], SETTINGS, steps=1))
    assert all(torch.equal(value, before[name]) for name, value in run.student.named_parameters())


def test_wrong_settings_are_refused_by_name():
    for fields, said in (({"branches": 0}, "branches"), ({"ramp": 1.5}, "ramp"), ({"sigma": 0.0}, "sigma")):
        with pytest.raises(BadInput, match=f"{said} of OKDHP"):
            OKDHP(**fields)
    assert isinstance(begin(OKDHP(branches=2), net(), SETTINGS).extra, Ensemble)
