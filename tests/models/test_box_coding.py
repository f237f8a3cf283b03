import math

import torch
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.anchor_utils import AnchorGenerator

from tutelage.models.box_coding import anchor_grid, decode, distances, encode, from_distances, positions

CPU = torch.device("cpu")


def boxes(n, seed):
    drawn = 50 * torch.rand(n, 4, generator=torch.Generator().manual_seed(seed))
    return torch.cat([drawn[:, :2], drawn[:, :2] + drawn[:, 2:] + 1], dim=1)


def test_positions_by_hand():
    squares = positions([(1, 2), (1, 1)], [4, 8], CPU)
    assert squares.tolist() == [[0, 0, 4, 4], [4, 0, 8, 4], [0, 0, 8, 8]]  # x runs first


def test_deltas_by_hand():
    anchor, box = torch.tensor([[0.0, 0, 10, 20]]), torch.tensor([[0.0, 10, 20, 30]])
    # the centre moves from (5, 10) to (10, 20), the sides from 10, 20 to 20, 20
    torch.testing.assert_close(encode(box, anchor), torch.tensor([[0.5, 0.5, math.log(2), 0]]))
    torch.testing.assert_close(encode(box, anchor, (10.0, 5.0)), torch.tensor([[5, 5, 5 * math.log(2), 0]]))


def test_deltas_are_torchvisions_and_lead_back():
    box, anchor = boxes(30, 0), boxes(30, 1)
    theirs = BoxCoder((10.0, 10.0, 5.0, 5.0))
    deltas = encode(box, anchor, (10.0, 5.0))
    torch.testing.assert_close(deltas, theirs.encode_single(box, anchor))
    torch.testing.assert_close(decode(deltas, anchor, (10.0, 5.0)), box, atol=1e-3, rtol=0)
    wild = 40 * torch.randn(30, 4)
    torch.testing.assert_close(decode(wild, anchor, (10.0, 5.0)), theirs.decode_single(wild, anchor))


def test_distances_by_hand_and_back():
    square, box = torch.tensor([[8.0, 8, 16, 16]]), torch.tensor([[4.0, 0, 28, 20]])
    said = distances(box, square)  # from (12, 12): 8 left, 12 up, 16 right, 8 down, in sides of 8
    assert said.tolist() == [[1, 1.5, 2, 1]]
    assert from_distances(said, square).tolist() == box.tolist()


def test_anchors_of_a_level_belong_together():
    generator = AnchorGenerator(((8.0,), (16.0,)), ((1.0,),) * 2)
    grid = anchor_grid(generator, [(1, 2), (1, 1)], [4, 8], CPU)
    assert grid.tolist() == [[-4, -4, 4, 4], [0, -4, 8, 4], [-8, -8, 8, 8]]
