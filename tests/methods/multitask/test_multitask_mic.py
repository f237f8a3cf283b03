import copy
import math

import pytest
import torch
from multi_fixtures import CLASSES, SIZE, multi_batch, multi_net, multi_nets
from torch import nn

from tutelage.data.patches import GREY
from tutelage.methods.multitask.mic import MIC
from tutelage.methods.multitask.pixels import class_mixed, pseudo_named, unnamed
from tutelage.models.average import FrozenMulti
from tutelage.multi_types import Multi, MultiOutputs
from tutelage.train import checkpoint
from tutelage.train.loop import begin, fit
from tutelage.train.settings import Optimiser
from tutelage.types import IGNORE, BadInput, Sizes

OFF = {"mixed": 0.0, "masked": 0.0}
SURE, DOUBT = math.log(97), math.log(27)  # of class 1 among four: 97 / 100 and 27 / 30


class Saying(Multi):
    """Says that each pixel is of class 1, as surely as the first channel tells. A student says nothing."""

    def __init__(self, factor=1.0):
        super().__init__()
        self.tasks, self.classes, self.widths = ("segmentation",), CLASSES, {}
        self.factor, self.seen = nn.Parameter(torch.tensor(factor)), []

    def forward(self, images, rows=None):
        self.seen.append(images)
        own = images if rows is None else images[rows["segmentation"]]
        logits = torch.zeros(len(own), CLASSES + 1, *own.shape[2:])
        logits[:, 1] = own[:, 0]
        return MultiOutputs({"8": images}, None, None, self.factor * logits, None)

    def answers(self, images):
        raise NotImplementedError


def nets_of(method):
    nets = multi_nets(method, Saying(0.0))
    return nets._replace(teacher=FrozenMulti(Saying()))


def batch_of(first):
    """Pool images whose teacher is as sure of each pixel as `first` [n, h, w] says."""
    found = multi_batch(labeled=2, pool=len(first), segmentation=[0, 1])
    found.pool.images[:, 0] = first
    return found


def blank(*values):
    return torch.tensor(values)[:, None, None].expand(len(values), SIZE, SIZE).clone()


def test_an_image_counts_by_the_share_of_its_pixels_that_the_teacher_is_sure_of():
    """The student says nothing, so a pixel costs ln 4. Of the first image the teacher is sure of a quarter."""
    first = blank(DOUBT, DOUBT)
    first[0, :, : SIZE // 4] = SURE
    method = MIC(mixed=0.0, masked=3.0, ratio=0.0, unsupervised=0.5)
    terms = method.loss(nets_of(method), batch_of(first))
    torch.testing.assert_close(terms["masked"], torch.tensor(0.5 * 3.0 * math.log(4) * 0.25 / 2))
    assert terms["mixed"] == terms["entropy"] == 0


def test_pixels_from_beyond_the_edge_are_nobodys():
    """Half of the only image is outside, where teacher and student are less sure: that neither costs nor counts."""
    first = blank(SURE)
    first[:, : SIZE // 2] = DOUBT
    found, method = batch_of(first), MIC(mixed=0.0, ratio=0.0)
    found.pool.truth.segmentation.weight[:, : SIZE // 2] = 0
    nets = nets_of(method)._replace(student=Saying())
    torch.testing.assert_close(method.loss(nets, found)["masked"], torch.tensor(-0.5 * math.log(0.97)))
    assert unnamed(found.pool).own.float().mean() == 0.5


def test_a_mix_has_pixels_and_labels_of_half_of_the_classes_and_trust_in_them():
    """Labelled images have background and one square of class 1; a target image of which nothing is believed."""
    found = batch_of(blank(DOUBT, DOUBT, DOUBT))
    plain = pseudo_named(Saying(), found.pool, confidence=0.968)
    assert (plain.target == 1).all()
    assert (plain.weight == 0).all()
    mix = class_mixed(found.labeled, plain)
    for place in range(3):
        turn = place % 2
        given = found.labeled.truth.segmentation.target[turn]
        over = mix.weight[place] == 1
        assert over.sum() in (16 * 16, SIZE * SIZE - 16 * 16)  # one of the two
        assert len(given[over].unique()) == 1
        assert (mix.target[place] == torch.where(over, given, 1)).all()
        source, target = found.labeled.images[turn], found.pool.images[place]
        assert (mix.images[place] == torch.where(over, source, target)).all()


def test_a_mix_pastes_nothing_that_is_ignored_or_not_trusted_and_nothing_where_nobody_named_pixels():
    found = batch_of(blank(DOUBT))
    plain = unnamed(found.pool)
    found.labeled.truth.segmentation.target[:] = IGNORE
    assert all(torch.equal(*pair) for pair in zip(class_mixed(found.labeled, plain), plain, strict=True))
    bare = multi_batch(segmentation=[]).labeled
    assert class_mixed(bare, plain) is plain


def test_a_mixed_pixel_costs_what_it_costs():
    """Teacher sure of nothing: only pasted pixels cost, ln 4 each; all pixels count."""
    method = MIC(masked=0.0, mixed=2.0)
    nets, found = nets_of(method), batch_of(blank(DOUBT))
    torch.manual_seed(1)
    term = method.loss(nets, found)["mixed"]
    torch.manual_seed(1)
    share = class_mixed(found.labeled, pseudo_named(Saying(), found.pool, confidence=0.968)).weight.mean()
    torch.testing.assert_close(term, 2 * share * math.log(4))


def test_fda_is_a_setting():
    """With everything but style off the source carries the target's amplitude, and entropy is that of a guess."""
    method = MIC(**OFF, styled=1.0, beta=0.0, entropy=0.005)
    nets, found = nets_of(method), batch_of(blank(0.25, 0.75))
    found.labeled.images[:] = 0.5
    terms = method.loss(nets, found)
    torch.testing.assert_close(terms["entropy"], torch.tensor(0.005))  # ln 4 / ln 4, whatever eta
    seen = nets.student.seen[0]
    torch.testing.assert_close(seen[:2, 0].mean((1, 2)), torch.tensor([0.25, 0.75]))
    assert len(seen) == 4
    assert nets.teacher.net.seen == []
    off = method.loss(nets, found)["segmentation"]
    torch.testing.assert_close(off, torch.tensor(math.log(4)))


def test_what_is_off_is_not_seen():
    """Alone with its source a run costs what a supervised one does; the pool does not move batch norm."""
    method = MIC(**OFF)
    nets = nets_of(method)
    terms = method.loss(nets, batch_of(blank(SURE, SURE)))
    assert [len(images) for images in nets.student.seen] == [2]
    assert set(terms) == {"segmentation", "mixed", "masked", "entropy"}
    torch.stack(list(terms.values())).sum().backward()


def test_the_student_sees_squares_hidden_and_the_teacher_the_whole_image():
    method = MIC(mixed=0.0, block=0.25, ratio=0.5)
    nets, found = nets_of(method), batch_of(blank(SURE, DOUBT))
    method.loss(nets, found)
    assert torch.equal(nets.teacher.net.seen[0], found.pool.images)
    shown = nets.student.seen[0][2:]
    hidden = (shown == GREY).all(1)
    cells = hidden.reshape(2, 4, SIZE // 4, 4, SIZE // 4).float().mean((2, 4))
    assert ((cells == 0) | (cells == 1)).all()
    assert 0.1 < hidden.float().mean() < 0.9
    assert (shown[~hidden[:, None].expand_as(shown)] == found.pool.images[~hidden[:, None].expand_as(shown)]).all()


def test_the_teacher_is_a_moving_average():
    method = MIC(decay=0.9)
    nets = multi_nets(method)
    bias = nets.student.heads["segmentation"].last.bias
    before = nets.teacher.net.heads["segmentation"].last.bias.clone()
    with torch.no_grad():
        bias.add_(1.0)
    method.after_step(nets, 100)
    after = nets.teacher.net.heads["segmentation"].last.bias
    torch.testing.assert_close(after - before, torch.full_like(before, 0.1))
    method.after_step(nets, 1)  # young: half
    torch.testing.assert_close(after - before, torch.full_like(before, 0.55))


def test_labels_of_the_pool_are_not_read():
    """Whatever is known of the target's classes, boxes or depth, and whatever its pixels are said to be."""
    method, student = MIC(styled=0.5, entropy=0.1, confidence=0.0), multi_net().eval()
    full = multi_batch()
    segments = full.pool.truth.segmentation
    other = multi_batch(classification=[], detection=[], depth=[]).pool.truth
    other = other._replace(segmentation=segments._replace(target=2 - segments.target))
    found = []
    for truth in (full.pool.truth, other):
        torch.manual_seed(4)
        found.append(method.loss(multi_nets(method, student), full._replace(pool=full.pool._replace(truth=truth))))
    assert found[0] == found[1]
    assert all(found[0][name] > 0 for name in ("mixed", "masked", "entropy"))


def test_a_network_without_a_head_for_pixels_is_refused_and_an_empty_pool_is_not():
    method = MIC(styled=1.0)
    with pytest.raises(BadInput, match="heads for depth: adaptation of pixels needs segmentation"):
        method.loss(multi_nets(method, multi_net(("depth",))), multi_batch(pool=0))
    terms = method.loss(multi_nets(method), multi_batch(pool=0))
    assert terms["mixed"] == terms["masked"] == terms["entropy"] == 0
    torch.stack(list(terms.values())).sum().backward()


def test_a_run_that_was_cut_goes_on_as_if_it_had_not_been(engine, tmp_path):
    """The teacher moves on too, and the squares that hide are those that would have."""
    method, batches, settings = MIC(confidence=0.0), [multi_batch() for _ in range(3)], Optimiser(warmup_steps=1)
    student, sizes = multi_net(), Sizes(2, 3, CLASSES, 3)

    def go(run, seen):
        list(fit(method, run, seen, settings, steps=3, accelerator=engine))
        return run

    torch.manual_seed(7)
    whole = go(begin(method, copy.deepcopy(student), None, sizes, settings), batches)
    torch.manual_seed(7)
    cut = go(begin(method, copy.deepcopy(student), None, sizes, settings), batches[:2])
    checkpoint.save(cut, tmp_path / "run.pt")
    again = begin(method, multi_net(), None, sizes, settings)
    assert checkpoint.restore(again, tmp_path / "run.pt")
    go(again, batches[2:])
    for one, other in ((whole.nets.student, again.nets.student), (whole.nets.teacher, again.nets.teacher)):
        assert all(
            torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
        )
    assert isinstance(whole.nets.teacher.train(), FrozenMulti)
    assert not whole.nets.teacher.net.training
