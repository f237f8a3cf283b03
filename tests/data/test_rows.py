import numpy as np
import pytest
import torch

from tutelage.data.images import Images
from tutelage.data.rows import Rows, RowSpec, symbols_of
from tutelage.types import PAD, BadInput


class Flat(Images):
    """Pictures as bright as their number."""

    def __init__(self):
        self.size = 8

    def many(self, rows):
        return np.broadcast_to((rows + 1)[:, None, None, None] * 20, (len(rows), 8, 8, 3)).astype(np.uint8)


def rows(seed=0, number=40, labels=(0, 1, 2), **spec):
    return Rows(RowSpec(size=8, **spec), Flat(), np.arange(len(labels)), np.array(labels, int), 3, number, seed)


def test_a_row_shows_what_its_string_says_from_the_left():
    said = rows(gap=2).at(np.arange(20))
    assert said.images.shape == (20, 3, 8, 40)
    for image, symbols in zip(said.images, symbols_of(said.words, end=3), strict=True):
        line = (image[0, 0] * 255 / 20).round().int() - 1
        seen = [int(k) for k in line if k >= 0]
        assert seen == [k for k in symbols for _ in range(8)]
        assert 2 <= len(symbols) <= 4
    assert torch.equal(said.words, said.things)


def test_rows_depend_on_number_and_seed_alone():
    whole = list(rows(styles=("plain", "noisy")).batches(4, start=0, stop=3))
    late = list(rows(styles=("plain", "noisy")).batches(4, start=2, stop=3))
    assert all(torch.equal(a, b) for a, b in zip(whole[2], late[0], strict=True))
    assert not torch.equal(rows(seed=1).at(np.arange(9)).words, rows().at(np.arange(9)).words)


def test_styles_change_the_image_and_not_the_string():
    made = rows(styles=("plain", "inverted", "noisy"))
    assert made.at(np.arange(40)).domains.unique().tolist() == [0, 1, 2]
    plain, inverted, noisy = (made.at(np.arange(9), domain) for domain in range(3))
    assert torch.allclose(plain.images + inverted.images, torch.ones(()))
    assert 0.02 < (noisy.images - plain.images).abs().mean() < 0.3
    assert torch.equal(plain.words, inverted.words)
    assert noisy.domains.tolist() == [2] * 9


def test_strings_may_be_written_from_the_right():
    said = rows(backwards=1.0).at(np.arange(9))
    assert [one[::-1] for one in symbols_of(said.words, end=3)] == symbols_of(said.things, end=3)
    half = rows(backwards=0.5).at(np.arange(40))
    assert 0.2 < (half.words != half.things).any(1).float().mean() < 0.7


def test_a_string_ends_once_and_is_padded():
    words = rows().at(np.arange(20)).words
    assert ((words == 3).sum(1) == 1).all()
    assert ((words == PAD).sum(1) == 4 - (words == 3).int().argmax(1)).all()


def test_bad_rows_are_refused():
    for wrong in ({"symbols": (3, 2)}, {"gap": -1}, {"backwards": 1.5}, {"styles": ()}):
        with pytest.raises(BadInput, match=r"write|share"):
            RowSpec(**wrong)
    with pytest.raises(BadInput, match="no picture"):
        rows(labels=())
