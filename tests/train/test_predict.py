import itertools

import numpy as np
import pytest
import torch

from tutelage.data.images import Images
from tutelage.models.backbone import NetworkSpec, create
from tutelage.train.predict import logits, looks, predict
from tutelage.train.settings import Compute
from tutelage.types import BadInput

COMPUTE = Compute(threads=1, workers=0, device="cpu", precision="fp32")


class Noise(Images):
    """Nine images in memory."""

    def __init__(self):
        self.size, self.cached = 16, True
        self.pixels = np.random.default_rng(0).integers(0, 256, (9, 16, 16, 3), np.uint8)

    def many(self, rows):
        return self.pixels[rows]


@pytest.fixture
def net():
    return create(NetworkSpec(width=4, image_size=16), 3)


def test_rows_are_answered_in_their_order_whatever_the_batch(net):
    rows = np.array([7, 0, 3, 3, 8])
    one, five = (predict(net, Noise(), rows, compute=COMPUTE, batch=batch) for batch in (1, 5))
    np.testing.assert_allclose(one, five, atol=1e-5)
    np.testing.assert_array_equal(five[2], five[3])
    pixels = torch.from_numpy(Noise().pixels[rows]).permute(0, 3, 1, 2).float() / 255
    np.testing.assert_allclose(net.eval()(pixels).logits.detach().numpy(), five, atol=1e-5)


def test_what_is_read_ahead_is_a_few_batches_and_an_error_comes_in_its_turn(net):
    class Broken(Noise):
        asked = 0

        def many(self, rows):
            self.asked += 1
            if 8 in rows:
                raise BadInput("image 8 has changed")
            return super().many(rows)

    images = Broken()
    answers = logits(net, images, [np.array([row]) for row in (0, 1, 2, 3, 4, 8)], compute=COMPUTE)
    next(answers)
    assert images.asked <= 4
    assert sum(1 for _ in itertools.islice(answers, 4)) == 4
    with pytest.raises(BadInput, match="image 8"):
        next(answers)


def test_no_rows_are_no_answers(net):
    assert len(predict(net, Noise(), np.zeros(0, np.int64), compute=COMPUTE, batch=4)) == 0


def test_it_answers_asleep_and_without_a_graph(net):
    net.train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    predict(net, Noise(), np.arange(9), compute=COMPUTE, batch=4)
    torch.testing.assert_close(net.state_dict(), before)


def test_the_mean_of_several_looks(net):
    rows, views = np.arange(4), looks(5, flip=True)
    each = [predict(net, Noise(), rows, compute=COMPUTE, batch=4, views=[look]) for look in views]
    together = predict(net, Noise(), rows, compute=COMPUTE, batch=4, views=views)
    np.testing.assert_allclose(np.mean(each, axis=0), together, atol=1e-5)
    assert not np.allclose(each[0], each[1])


def test_looks_by_hand():
    image = torch.arange(6.0).view(1, 1, 2, 3).expand(1, 3, 2, 3)
    plain, mirrored, right, left, down = (look(image)[0, 0].tolist() for look in looks(5, flip=True))
    assert plain == [[0, 1, 2], [3, 4, 5]]
    assert mirrored == [[2, 1, 0], [5, 4, 3]]
    assert right == [[1, 2, 2], [4, 5, 5]]
    assert left == [[0, 0, 1], [3, 3, 4]]
    assert down == [[3, 4, 5], [3, 4, 5]]
    assert len(looks(5, flip=False)) == 4  # nothing is mirrored where left and right differ
