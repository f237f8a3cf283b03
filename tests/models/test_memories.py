import torch
import torch.nn.functional as F
from tiny import cuttable

from tutelage.models.memories import Contrasted


def remembering(branches=3, images=9):
    net = cuttable(4)
    return net, Contrasted(net, (images, 6), trunk=1, branches=branches, momentum=0.5)


def test_each_branch_sees_the_last_images_as_unit_vectors():
    net, memory = remembering()
    student = net(torch.rand(5, 3, 8, 8))
    others, seen, told = memory(student, torch.tensor([7, 2]), negatives=4)
    assert len(others) == 2
    for own, each, mine in zip(memory.maps, [*others, student], seen, strict=True):
        torch.testing.assert_close(mine, F.normalize(own(each.embedding[3:]), dim=-1))
    assert told.shape == (3, 2, 5, 6)


def test_the_own_memory_comes_first_and_all_are_of_one_branch():
    net, memory = remembering(branches=2)
    ids, before = torch.tensor([7, 2]), memory.memories.clone()
    _, _, told = memory(net(torch.rand(5, 3, 8, 8)), ids, negatives=4)
    torch.testing.assert_close(told[:, :, 0], before[:, ids], rtol=0, atol=0)
    for branch in range(2):
        rows = told[branch].flatten(0, 1)
        assert all((row == before[branch]).all(-1).any() for row in rows)


def test_what_was_seen_is_half_remembered_at_length_one_and_the_rest_stays():
    net, memory = remembering(branches=2)
    student, ids = net(torch.rand(5, 3, 8, 8)), torch.tensor([7, 2])
    before = memory.memories.clone()
    memory(student, ids, negatives=4)
    seen = F.normalize(memory.maps[1](student.embedding[3:]), dim=-1)
    torch.testing.assert_close(memory.memories[1, ids], F.normalize(before[1, ids] + seen, dim=-1))
    torch.testing.assert_close(memory.memories.norm(dim=-1), torch.ones(2, 9))
    others = torch.tensor([0, 1, 3, 4, 5, 6, 8])
    torch.testing.assert_close(memory.memories[:, others], before[:, others], rtol=0, atol=0)


def test_what_is_not_finite_is_not_remembered():
    net, memory = remembering(branches=2)
    images, ids = torch.rand(5, 3, 8, 8), torch.tensor([7, 2])
    before = memory.memories.clone()
    memory.eval()
    images[3, 0, 0, 0] = torch.nan  # of the image that is remembered as 7
    memory(net.eval()(images), ids, negatives=4)
    torch.testing.assert_close(memory.memories[:, 7], before[:, 7], rtol=0, atol=0)
    assert not torch.equal(memory.memories[:, 2], before[:, 2])
