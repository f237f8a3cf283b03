import pytest
import torch

from tutelage.methods.rkd import RKD

CORNER = [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
LINE = [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [2.0, 0.0, 0.0]]


def test_values(echoing, say, saying):
    """The teacher sees a corner, the student a line."""
    method = RKD()
    terms = method.loss(echoing(method), saying(strong=say(LINE, CORNER), labels=[0, 1, 2]))
    torch.testing.assert_close(terms["distance"], torch.tensor(25 * 0.0716991), atol=1e-4, rtol=0)
    torch.testing.assert_close(terms["angle"], torch.tensor(50 * 0.1296296), atol=1e-4, rtol=0)
    task = -torch.tensor(LINE).log_softmax(-1).diagonal().mean()
    torch.testing.assert_close(terms["task"], task)


@pytest.mark.parametrize(("unsupervised", "distance"), [(0.0, 0.0), (1.0, 0.0716991)])
def test_pool_images_have_relations_too(echoing, say, saying, unsupervised, distance):
    """Two labelled images have one distance, whose scale says nothing; a third from the pool makes a shape of it."""
    method = RKD(distance=1.0, unsupervised=unsupervised)
    batch = saying(strong=say(LINE[:2], CORNER[:2]), labels=[0, 1], pool_strong=say(LINE[2:], CORNER[2:]))
    loss = method.loss(echoing(method), batch)["distance"]
    torch.testing.assert_close(loss, torch.tensor(distance), atol=1e-6, rtol=0)
