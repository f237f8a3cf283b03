import numpy as np
import pytest
import torch

from tutelage.data.images import Images
from tutelage.data.orientations import orientations
from tutelage.train.detect import detect, detect_all
from tutelage.train.settings import Compute
from tutelage.types import Detections, Detector

CPU = Compute(threads=1, device="cpu", precision="fp32")
SIZES = np.array([[64, 32], [32, 64], [16, 16], [640, 320]])


class Grey(Images):
    """Four letterboxed images of 32 pixels, as bright as their row."""

    def __init__(self):
        self.size, self.cached = 32, True

    def many(self, rows):
        return np.stack([np.full((32, 32, 3), row, np.uint8) for row in rows])


class Fixed(Detector):
    """Finds the same two boxes in each image; the score says which image it was. Remembers what it was asked."""

    def __init__(self):
        super().__init__()
        self.classes, self.widths, self.batches = 2, {}, []

    def forward(self, images, targets=None, weight=None):
        assert not self.training
        assert torch.is_inference_mode_enabled()
        self.batches.append(len(images))
        places = torch.tensor([[2.0, 4, 10, 12], [8, 18, 32, 30]])
        return [Detections(places, torch.tensor([1, 0]), torch.tensor([1, 0.5]) * image.max()) for image in images]

    def pyramid(self, images):
        return {}


def test_places_are_in_pixels_of_the_original_and_end_at_its_edges():
    wide, high, small, large = detect_all(Fixed(), Grey(), np.arange(4), SIZES, compute=CPU, batch=3)
    assert wide.places.tolist() == [[4, 8, 20, 24]]  # the other lies in the grey below a picture 32 pixels high
    assert wide.labels.tolist() == [1]
    assert high.places.tolist() == [[4, 8, 20, 24], [16, 36, 32, 60]]
    assert small.places.tolist() == [[1, 2, 5, 6], [4, 9, 16, 15]]
    assert large.places.tolist() == [[40, 80, 200, 240]]


def test_chunks_come_in_order_and_each_is_one_batch():
    net = Fixed().train()
    chunks = [np.array([3, 1]), np.array([2])]
    scores = [[found.scores[0] for found in part] for part in detect(net, Grey(), chunks, SIZES, compute=CPU)]
    assert net.batches == [2, 1]
    assert scores == [pytest.approx([3 / 255, 1 / 255]), pytest.approx([2 / 255])]


def test_nothing_is_computed_before_it_is_asked_for_and_gradients_stay_on():
    net = Fixed()
    found = detect(net, Grey(), [np.array([0]), np.array([1])], SIZES, compute=CPU)
    next(found)
    assert net.batches == [1]
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def test_of_no_rows_nothing_is_found():
    assert detect_all(Fixed(), Grey(), np.zeros(0, np.int64), SIZES, compute=CPU, batch=2) == []


class Spot(Images):
    """One letterboxed image of 32 pixels with a bright rectangle in it, brightest in one corner."""

    def __init__(self):
        self.size, self.cached = 32, True

    def many(self, rows):
        image = np.zeros((1, 32, 32, 3), np.uint8)
        image[:, 4:10, 6:20] = 200
        image[:, 4, 6] = 255
        return image


class Finder(Detector):
    """Finds the rectangle, and with the surer score `ghost` a box that is nowhere, once in all its answers."""

    def __init__(self, ghost=0.9):
        super().__init__()
        self.classes, self.widths, self.ghost, self.corners = 1, {}, ghost, set()

    def forward(self, images, targets=None, weight=None):
        rows, columns = (images[0, 0] > 0.5).nonzero().T
        places = [[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], [0, 20, 8, 28]]
        asked = 1 + (not self.corners)
        self.corners.add(divmod(int(images[0, 0].argmax()), 32))
        scores = torch.tensor([0.6, self.ghost])[:asked]
        return [Detections(torch.tensor(places[:asked]).float(), torch.zeros(asked, dtype=torch.int64), scores)]

    def pyramid(self, images):
        return {}


@pytest.mark.parametrize(("turn", "number"), [(False, 2), (True, 8)])
def test_boxes_of_all_ways_to_look_are_fused_in_the_upright_image(turn, number):
    net, ways = Finder(), orientations(mirror=True, turn=turn)
    found = detect_all(net, Spot(), np.arange(1), np.array([[64, 64]]), compute=CPU, batch=1, ways=ways)[0]
    assert len(net.corners) == number  # the picture was seen in as many ways
    assert found.places.tolist() == [[12, 8, 40, 20], [0, 40, 16, 56]]
    assert found.scores == pytest.approx([0.6, 0.9 / number])  # what one look alone finds is hardly believed


def test_one_way_to_look_leaves_boxes_as_they_are():
    found = detect_all(Finder(), Spot(), np.arange(1), np.array([[32, 32]]), compute=CPU, batch=1)[0]
    assert found.scores == pytest.approx([0.6, 0.9])
