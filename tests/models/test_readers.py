import itertools

import pytest
import torch

from tutelage.models.beams import beam_search, closed
from tutelage.models.readers import READERS, ReaderSpec, best_path, create_reader, load_reader, save_reader
from tutelage.types import BadInput

END, PAD = 3, -1


def reader(kind, longest=2):
    torch.manual_seed(0)
    return create_reader(ReaderSpec(kind=kind, trunk=2, width=8), classes=3, longest=longest, size=8).eval()


@pytest.fixture
def images():
    return torch.rand(4, 3, 8, 40)


def test_a_beam_of_one_is_greedy(images):
    net = reader("autoregressive")
    words = torch.full((4, 3), PAD)
    for place in range(3):
        words[:, place] = net(images, words)[:, place].argmax(-1)
    assert torch.equal(net.read(images)[:, 0], closed(words, end=END))


def test_a_wide_beam_finds_the_likeliest_strings(images):
    """Every string of up to two of three symbols has its probability; a beam of 13, all there are, sorts them."""
    net, every = reader("autoregressive"), [(), *itertools.product(range(3)), *itertools.product(range(3), repeat=2)]
    strings = torch.tensor([[*one, END] + [PAD] * (2 - len(one)) for one in every])
    strings = closed(torch.where(strings == PAD, END, strings), end=END)

    def score(string):
        said = net(images[:1], string[None]).log_softmax(-1)[0]
        return sum(said[place, symbol] for place, symbol in enumerate(string.tolist()) if symbol != PAD)

    scores = torch.stack([score(one) for one in strings]).detach()
    wanted = strings[scores.argsort(descending=True)]
    assert torch.equal(net.read(images[:1], beam=13)[0], wanted)


def test_where_there_are_fewer_strings_than_the_beam_the_best_is_repeated():
    """p(END) = 0.27 beats p(0) p(END) = 0.73 x 0.27: a string is not paid for being short, nor for being long."""
    found = beam_search(
        lambda last, state: (torch.tensor([[1.0, 0.0]]).repeat(len(last), 1), state), torch.zeros(1, 1),
        beam=4, longest=1, end=1,
    )  # fmt: skip
    assert found.tolist() == [[[1, PAD], [0, 1], [1, PAD], [1, PAD]]]


def test_what_a_reader_heeds(images):
    """Of an autoregressive one later words change no earlier place, earlier ones do later; of a parallel one none."""
    one, other = torch.tensor([[0, 1, 2]] * 4), torch.tensor([[0, 2, 2]] * 4)
    net = reader("autoregressive")
    assert torch.equal(net(images, one)[:, :2], net(images, other)[:, :2])
    assert not torch.equal(net(images, one)[:, 2], net(images, other)[:, 2])
    net = reader("parallel")
    assert torch.equal(net(images, one), net(images, other))
    assert torch.equal(net.read(images)[:, 0], closed(net(images, one).argmax(-1), end=END))


def test_the_best_path_drops_repeats_and_blanks():
    frames = torch.tensor([[3, 0, 0, 3, 0, 1, 1], [3, 3, 3, 3, 3, 3, 3]])
    assert best_path(frames, longest=4, blank=3).tolist() == [[0, 0, 1, 3, PAD], [3, PAD, PAD, PAD, PAD]]
    assert best_path(frames, longest=2, blank=3).tolist() == [[0, 0, 3], [3, PAD, PAD]]


@pytest.mark.parametrize("kind", READERS)
def test_every_string_that_is_read_ends(images, kind):
    read = reader(kind).read(images, beam=2)
    assert read.shape == (4, 2 if kind == "autoregressive" else 1, 3)
    assert ((read == END).sum(-1) == 1).all()


def test_a_reader_is_read_from_its_file(images, tmp_path):
    net = reader("ctc")
    save_reader(tmp_path / "x.safetensors", net, classes=["a", "b", "c"])
    again, classes = load_reader(tmp_path / "x.safetensors")
    assert (again.spec, classes) == (net.spec, ["a", "b", "c"])
    assert torch.equal(again.read(images), net.read(images))


def test_bad_readers_are_refused():
    for wrong in ({"width": 6}, {"dropout": 1.0}):
        with pytest.raises(BadInput, match="multiple of 4"):
            ReaderSpec(**wrong)
