import torch

from tutelage.data.box_moves import clear_share, inverse, no_boxes, one_after_another
from tutelage.data.warping import warped

TURN = torch.tensor([[0.0, -2.0, 5.0], [2.0, 0.0, 1.0]])
SHIFT = torch.tensor([[1.0, 0.0, 3.0], [0.0, 1.0, -2.0]])


def put(matrix, point):
    return matrix[:, :2] @ point + matrix[:, 2]


def test_matrices_one_after_another_and_back():
    point = torch.tensor([2.0, 7.0])
    both = one_after_another(TURN, SHIFT)
    torch.testing.assert_close(put(both, point), put(SHIFT, put(TURN, point)))
    assert not torch.equal(both, one_after_another(SHIFT, TURN))
    torch.testing.assert_close(put(inverse(both), put(both, point)), point)
    torch.testing.assert_close(inverse(torch.stack([TURN, SHIFT]))[1], inverse(SHIFT))


def test_pixels_move_as_places_do():
    """A white rectangle from (4, 6) to (10, 8) of 16 pixels, shifted by 3 to the right and 2 up."""
    images = torch.zeros(2, 3, 16, 16)
    images[:, :, 6:8, 4:10] = 1
    flip = torch.tensor([[-1.0, 0.0, 16.0], [0.0, 1.0, 0.0]])
    there = warped(images, torch.stack([SHIFT, flip]))
    expected = torch.zeros(16, 16)
    expected[4:6, 7:13] = 1
    torch.testing.assert_close(there[0, 0, :-2, 3:], expected[:-2, 3:], atol=1e-5, rtol=0)
    torch.testing.assert_close(there[0, 0, -1], torch.full((16,), 114 / 255), atol=1e-5, rtol=0)
    torch.testing.assert_close(there[1], images[1].flip(-1), atol=1e-5, rtol=0)


def test_half_the_size_is_half_the_places():
    images = torch.zeros(1, 3, 16, 16)
    images[:, :, 4:12, 8:16] = 1
    there = warped(images, torch.tensor([[[0.5, 0, 0], [0, 0.5, 0]]]))
    assert (there[0, 0, 2:6, 4:8] > 0.9).all()
    assert (there[0, 0, :2, :8] < 0.1).all()
    assert warped(images[:0], torch.zeros(0, 2, 3)).shape == (0, 3, 16, 16)


def test_the_share_of_a_box_that_is_clear_by_hand():
    """Noise over columns 4 to 7 of 16; a box that is not on whole pixels counts all that it touches."""
    clear = torch.ones(16, 16, dtype=torch.bool)
    clear[:, 4:8] = False
    places = torch.tensor([[0.0, 0, 8, 4], [4, 4, 8, 8], [8, 0, 16, 16], [2.5, 0, 5.5, 1], [3, 3, 3, 9]])
    assert clear_share(clear, places).tolist() == [0.5, 0, 1, 0.5, 0]
    assert clear_share(clear, places[:0]).shape == (0,)


def test_an_image_without_boxes_has_fields_of_the_right_kind():
    none = no_boxes()
    assert none.places.shape == (0, 4)
    assert none.labels.dtype == torch.int64
