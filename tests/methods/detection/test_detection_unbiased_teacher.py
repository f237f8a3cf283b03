import pytest
import torch
from scene_fixtures import SIZE, Scripted, detector_nets, found, scene_batch, scripted_nets

from tutelage.methods.detection.counts import Counts
from tutelage.methods.detection.opinions import steady, surer
from tutelage.methods.detection.unbiased_teacher import UnbiasedTeacher
from tutelage.types import BadInput, Boxes, Detections, Detector


def past(**fields):
    return UnbiasedTeacher(burn_in=0.0, **fields)


def learned(method, student, teacher, batch=None):
    """Terms, and the boxes that the student learned of the pool."""
    nets = scripted_nets(method, student, teacher)
    terms = method.loss(nets, batch or scene_batch())
    return terms, student.asked[-1][1][6:]


def test_what_the_teacher_is_sure_of_moves_to_the_strong_view():
    """Four images of 100 and three boxes of 1 whose places teach nothing, times 4."""
    student, batch = Scripted(), scene_batch()
    answers = found(0.71, 0.69, labels=[2, 1]), found(0.9), found(), found(0.7)
    terms, pool = learned(past(), student, Scripted(*answers), batch)
    assert [each.labels.tolist() for each in pool] == [[2], [0], [], [0]]
    assert pool[0].places.tolist() == [[SIZE - 6, 2, SIZE - 2, 6]]
    assert terms["pool_classification"].item() == pytest.approx(4 * 403)
    assert terms["pool_box"].item() == pytest.approx(4 * 400)
    assert terms["classification"].item() == 600 + 8  # labelled images count twice, weak and strong
    assert student.asked[0][2].tolist() == [1] * 10


def test_thresholds_may_differ_by_class():
    answers = found(0.6, 0.8, 0.6, labels=[0, 1, 2])
    _, pool = learned(past(thresholds=(0.5, 0.9, 0.6)), Scripted(), Scripted(answers))
    assert pool[0].labels.tolist() == [0, 2]


def drawn(*labels):
    """An image in which people drew boxes of these classes."""
    one = torch.ones(len(labels))
    return Boxes(torch.zeros(len(labels), 4), torch.tensor(labels, dtype=torch.int64), one, one)


def searched(images, classes=3):
    return torch.ones(images, classes, dtype=torch.bool)


def test_a_class_is_counted_where_somebody_looked_for_it():
    """Two objects of class 0 in the one image of two that was searched for it; for class 2 nobody looked."""
    counts, known = Counts(10, 3), torch.tensor([[True, True, False], [False, True, False]])
    counts.choose([drawn(0, 0), drawn(1)], known, [found(0.9, 0.9, labels=[0, 2])])
    torch.testing.assert_close(counts.objects, 0.01 * torch.tensor([2.0, 0.5, 0.0]))
    torch.testing.assert_close(counts.found.sum(1), 0.01 * torch.tensor([1.0, 0.0, 0.0]))


def test_counted_thresholds_keep_as_many_boxes_as_people_drew():
    """An image has 1.5 objects of class 0, 0.5 of class 1, none of class 2; a box of weight 0 is no object."""
    counts, unsure = Counts(10, 3), drawn(1, 1)._replace(weight=torch.zeros(2))
    given = [drawn(0, 0), drawn(0, 1), unsure]
    answers = found(0.95, 0.85, 0.55, 0.35, 0.15, labels=[0, 0, 2, 1, 0]), found(0.65, 0.25, labels=[0, 0])
    kept = counts.choose(given[:2], searched(2), answers)
    torch.testing.assert_close(counts.thresholds(), torch.tensor([0.65, 0.35, 2.0]))
    assert [each.labels.tolist() for each in kept] == [[0, 0, 1], [0]]
    torch.testing.assert_close(counts.objects, torch.tensor([0.015, 0.005, 0.0]))
    assert counts.found.sum().item() == pytest.approx(0.01 * 7 / 2)
    counts = Counts(10, 3)
    counts.choose(given, searched(3), answers)
    torch.testing.assert_close(counts.thresholds()[:2], torch.tensor([0.85, 0.35]))
    torch.testing.assert_close(counts.objects, 0.01 * torch.tensor([1, 1 / 3, 0]))


def test_counted_thresholds_go_along_where_scores_fall():
    counts = Counts(10, 1)
    for step in range(400):
        scores = [s * (1 - step / 800) for s in (0.9, 0.8, 0.3)]
        (kept,) = counts.choose([drawn(0, 0)], searched(1, 1), [found(*scores)])
    assert kept.scores.tolist() == pytest.approx(scores[:2])
    assert kept.scores.max() < 0.5


def test_nothing_is_counted_where_there_is_no_pool():
    counts = Counts(10, 1)
    assert counts.choose([drawn(0)], searched(1, 1), []) == []
    assert not counts.objects.any()


def test_a_student_learns_what_the_counts_keep():
    """One object an image, and scores far below any fixed threshold: the surest is learned."""
    batch = scene_batch()
    batch = batch._replace(labeled=batch.labeled._replace(weak_boxes=(drawn(0),) * 3))
    _, pool = learned(past(count=True), Scripted(), Scripted(found(0.3, 0.2, 0.12)), batch)
    assert [each.labels.tolist() for each in pool] == [[0]] * 4
    with pytest.raises(BadInput, match="none with count"):
        past(count=True, thresholds=(0.5,))


def test_a_box_that_the_strong_view_hardly_shows_has_no_weight():
    batch = scene_batch()
    batch = batch._replace(pool=batch.pool._replace(move=batch.pool.move + torch.tensor([[0.0, 0, -18.5], [0, 0, 0]])))
    _, pool = learned(past(), Scripted(), Scripted(found(0.9, 0.9, places=[[2, 2, 22, 6], [14, 2, 22, 6]])), batch)
    assert [each.places.tolist() for each in pool] == [[[0, 2, 3.5, 6]]] * 4  # from -16.5 to 3.5, and all of it outside
    assert pool[0].weight.tolist() == [0]


def test_a_box_that_noise_hides_in_the_strong_view_has_no_weight():
    """Of one box half is under noise, of the other all but two pixels of 16."""
    batch = scene_batch()
    clear = torch.ones_like(batch.pool.clear)
    clear[:, 2:4], clear[:, :, 19:] = False, False
    batch = batch._replace(pool=batch.pool._replace(clear=clear, visible=torch.tensor(0.4)))
    answers = found(0.9, 0.9, places=[[18, 2, 22, 6], [2, 2, 6, 6]])
    _, pool = learned(past(), Scripted(), Scripted(answers), batch)
    assert [each.weight.tolist() for each in pool] == [[1, 0]] * 4


def test_a_burn_in_on_labels_looks_at_nothing_else():
    method, student = UnbiasedTeacher(burn_in=0.5), Scripted()
    nets = scripted_nets(method, student, Scripted(found(0.9)), steps=10)
    for step in range(10):
        terms = method.loss(nets, scene_batch())
        assert student.asked[-1][3] == [6, 0 if step < 5 else 4]
        assert bool(terms["pool_classification"] > 0) == (step >= 5)
        method.after_step(nets, step + 1)
    assert len(nets.teacher.net.asked) == 5


def test_a_burn_in_may_learn_what_was_written_before():
    method, student = UnbiasedTeacher(burn_in=0.5, offline=0.5), Scripted()
    terms = method.loss(scripted_nets(method, student, Scripted(found(0.9))), scene_batch())
    assert terms["pool_classification"].item() == pytest.approx(0.5 * 201.6)


def test_the_teacher_begins_as_the_student_that_the_burn_in_left():
    method = UnbiasedTeacher(burn_in=0.5, decay=0.75)
    nets = detector_nets(method, steps=10)

    def change():
        with torch.no_grad():
            nets.student.head.bias.add_(1.0)

    for step in range(1, 6):
        change()
        method.after_step(nets, step)
        torch.testing.assert_close(nets.teacher.net.state_dict(), nets.student.state_dict(), rtol=0, atol=0)
    change()
    method.after_step(nets, 6)
    gap = nets.student.head.bias - nets.teacher.net.head.bias
    torch.testing.assert_close(gap, torch.full_like(gap, 0.75))


def test_places_are_believed_where_the_teacher_is_surer():
    """Of three boxes the student has found one as surely, one less so, one not at all."""
    places = [[2, 2, 6, 6], [10, 10, 20, 20], [2, 12, 8, 20]]
    teacher = Scripted(found(0.9, 0.9, 0.8, places=places))
    student = Scripted(found(0.85, 0.7, places=[[2, 2, 6, 5.5], [10, 10, 20, 18]]))
    terms, pool = learned(past(place_trust="certainty"), student, teacher)
    assert pool[0].place_weight.tolist() == [0, 1, 1]
    assert terms["pool_box"].item() == pytest.approx(4 * 408)


def test_a_student_is_asked_in_the_mode_of_its_teacher():
    """A student that is its teacher is as sure as it is: no place is believed. No statistics of batch norm move."""
    method = past(place_trust="certainty", confidence=0.0, margin=0.01)
    nets, images = detector_nets(method), scene_batch().pool.weak
    for net in (nets.student, nets.teacher.net):
        net.head.bias.data[3:] = 2.0  # boxes with an area
    before = {name: value.clone() for name, value in nets.student.state_dict().items()}
    compared = surer(nets.teacher, nets.student, images, lambda each: list(each), margin=0.01)
    assert sum(len(each.place_weight) for each in compared) > 0
    assert not torch.cat([each.place_weight for each in compared]).any()
    torch.testing.assert_close(nets.student.state_dict(), before, rtol=0, atol=0)
    assert nets.student.training


class Sees(Detector):
    """Finds the hull of what is white, and `also` a box that stays where it is."""

    def __init__(self, also=()):
        super().__init__()
        self.classes, self.widths, self.also, self.calls = 3, {}, list(also), 0

    def forward(self, images, targets=None, weight=None):
        self.calls += 1
        return [self._look(image) for image in images]

    def _look(self, image):
        rows, columns = (image[0] > 0.7).nonzero(as_tuple=True)
        hull = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        places = torch.tensor([[float(x) for x in hull], *self.also])
        return Detections(places, torch.arange(len(places)), torch.ones(len(places)))

    def pyramid(self, images):
        return {}


def test_places_are_believed_where_they_move_with_the_image():
    images = torch.zeros(2, 3, 96, 96)
    images[0, :, 20:60, 30:70] = 1
    images[1, :, 40:80, 20:50] = 1
    teacher = Sees(also=[[10.0, 10, 30, 30]])
    trusted = steady(teacher, images, lambda each: each, copies=4, scatter=0.02)
    assert teacher.calls == 1
    assert [each.place_weight.tolist() for each in trusted] == [[1, 0], [1, 0]]
    assert [each.weight.tolist() for each in trusted] == [[1, 1], [1, 1]]
    assert trusted[0].places[0].tolist() == [30, 20, 70, 60]


def test_what_is_not_found_again_is_not_believed():
    class Once(Sees):
        def forward(self, images, targets=None, weight=None):
            first = len(images) // 3
            nothing = Detections(torch.zeros(0, 4), torch.zeros(0).long(), torch.zeros(0))
            return [*super().forward(images[: 2 * first]), *[nothing] * first]

    images = torch.zeros(1, 3, 48, 48)
    images[:, :, 10:40, 10:40] = 1
    assert steady(Once(), images, lambda each: each, copies=2, scatter=1.0)[0].place_weight.tolist() == [0]


def test_a_threshold_for_each_class_or_none():
    with pytest.raises(BadInput, match="2 thresholds for 3 classes"):
        scripted_nets(UnbiasedTeacher(thresholds=(0.5, 0.5)), Scripted())
    with pytest.raises(BadInput, match="thresholds are scores"):
        UnbiasedTeacher(thresholds=(1.5,))


def test_an_empty_pool_is_asked_of_nobody():
    method = past(place_trust="jitter")
    nets = scripted_nets(method, Scripted(), Scripted(found(0.9)))
    terms = method.loss(nets, scene_batch(pool=0))
    assert nets.teacher.net.asked == []
    assert terms["pool_classification"].item() == 0
