import pytest
import torch

from tutelage.models.box_answers import Flat, at_once, best_of_each, by_image, candidates, inside, packed


def test_candidates_by_hand():
    # Two images, a level of two positions and one of one, two classes.
    scores = torch.tensor([[[0.9, 0.1], [0.8, 0.7], [0.2, 0.6]], [[0.0, 0.3], [0.0, 0.0], [0.5, 0.4]]])
    found = candidates(scores, [2, 1], floor=0.25, most=2)
    said = sorted(zip(*(column.tolist() for column in found), strict=True))
    # In image 0 the level's best two are 0.9 and 0.8: 0.7 is left out; in image 1 its second best is below the floor.
    assert said == [(0, 0, 0), (0, 1, 0), (0, 2, 1), (1, 0, 1), (1, 2, 0), (1, 2, 1)]


def flat(*rows):
    image, places, labels, scores = zip(*rows, strict=True)
    return Flat(torch.tensor(image), torch.tensor(places), torch.tensor(labels), torch.tensor(scores))


def test_suppression_by_hand():
    near, far = [0.0, 0, 10, 10], [20.0, 0, 30, 10]
    shifted = [0.0, 2, 10, 12]  # 80 of 120 shared: IoU 2/3
    boxes = flat(
        (1, near, 0, 0.5), (0, shifted, 0, 0.6), (0, near, 0, 0.9), (0, shifted, 1, 0.7), (0, far, 0, 0.3),
    )  # fmt: skip
    kept = best_of_each(boxes, images=2, kinds=2, overlap=0.5, most=9)
    # Of image 0 the shifted box of class 0 goes; that of class 1 and the box of image 1 overlap nothing of theirs.
    torch.testing.assert_close(kept.scores, torch.tensor([0.9, 0.7, 0.3, 0.5]))
    assert kept.image.tolist() == [0, 0, 0, 1]
    kept = best_of_each(boxes, images=2, kinds=2, overlap=0.7, most=2)
    torch.testing.assert_close(kept.scores, torch.tensor([0.9, 0.7, 0.5]))  # at 0.7 none goes, but two an image stay


def test_the_last_of_many_groups_is_suppressed_as_the_first():
    """In 24 bits, groups a thousand apart leave a pixel's fractions no digits."""
    one, two = [0.1, 0.1, 1.1, 1.1], [0.1, 0.43, 1.1, 1.43]  # IoU 0.67 / 1.33 = 0.504
    rows = [(image, place, 79, score) for image in range(400) for place, score in ((one, 0.9), (two, 0.8))]
    far = (0, [0.0, 0, 1000, 1000], 0, 0.95)
    for boxes in (rows, rows[:400]):  # either way that torchvision goes
        kept = best_of_each(flat(far, *boxes), images=400, kinds=80, overlap=0.5, most=10)
        assert len(kept.scores) == 1 + len(boxes) // 2


def test_images_without_a_box_are_answered():
    boxes = flat((2, [0.0, 0, 1, 1], 3, 0.5))
    found = by_image(boxes, 4)
    assert [len(each.scores) for each in found] == [0, 0, 1, 0]
    assert found[2].labels.tolist() == [3]
    nothing = best_of_each(boxes.at(boxes.scores > 1), images=3, kinds=4, overlap=0.5, most=5)
    assert [len(each.scores) for each in by_image(nothing, 3)] == [0, 0, 0]


def test_packed_by_hand():
    rows, valid = packed(torch.tensor([[1.0], [2], [3]]), torch.tensor([0, 2, 2]), 3)
    assert rows[..., 0].tolist() == [[1, 0], [0, 0], [2, 3]]
    assert valid.tolist() == [[True, False], [False, False], [True, True]]


def test_boxes_are_cut_at_the_edges():
    cut = inside(torch.tensor([[-3.0, 2, 50, 90]]), (40, 20))
    assert cut.tolist() == [[0, 2, 20, 40]]  # 20 wide, 40 high


@pytest.mark.parametrize("seed", range(6))
def test_all_boxes_at_once_are_suppressed_as_one_after_another(seed):
    """Crowded boxes, equal scores, an image and labels without any; compared in parts of one group and of all."""
    draw = torch.Generator().manual_seed(seed)
    low = 40 * torch.rand(300, 2, generator=draw)
    boxes = Flat(
        torch.randint(0, 3, (300,), generator=draw).sort().values,
        torch.cat([low, low + 8 + 16 * torch.rand(300, 2, generator=draw)], dim=1),
        torch.randint(0, 2, (300,), generator=draw),
        torch.rand(300, generator=draw).mul(30).round() / 30,
    )
    expected = best_of_each(boxes, images=4, kinds=3, overlap=0.3, most=300)
    found = boxes.at(at_once(boxes, 4, 3, 0.3))
    assert 20 < len(found.image) < 250
    for mine, its in zip(found, expected, strict=True):
        assert mine.equal(its)
    none = boxes.at(torch.zeros(0).long())
    assert at_once(none, 4, 3, 0.3).tolist() == []


def test_a_long_chain_of_boxes_that_overlap_is_followed_to_its_end():
    low = torch.arange(0, 100.0).repeat(2, 1).T * torch.tensor([1.0, 0.0])
    chain = Flat(torch.zeros(100).long(), torch.cat([low, low + 3], dim=1), torch.zeros(100).long(), -low[:, 0])
    assert at_once(chain, 1, 1, 0.4).tolist() == list(range(0, 100, 2))  # neighbours share a half of their union
