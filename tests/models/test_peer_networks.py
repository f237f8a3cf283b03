import pytest
import torch
from tiny import Tiny

from tutelage.models.backbone import NetworkSpec, create
from tutelage.models.peers import Branches, Peers, embeddings_of, logits_of
from tutelage.types import BadInput

SMALL = NetworkSpec(width=4, image_size=16)


@pytest.mark.parametrize("student", [Tiny(4), create(SMALL, 3)], ids=["any", "timm"])
def test_peers_are_like_the_student_and_differ_from_it_and_each_other(student):
    before = {name: value.clone() for name, value in student.state_dict().items()}
    peers = Peers(student.eval(), 2)
    assert [type(net) for net in peers.nets] == 2 * [type(student)]
    assert all(net.training for net in peers.nets)
    images = torch.rand(5, 3, 16, 16)
    said = logits_of([student(images), *peers(images)])
    assert said.shape == (3, 5, 3)
    assert all(not torch.allclose(said[i], said[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    torch.testing.assert_close(dict(student.state_dict()), before, rtol=0, atol=0)


@pytest.mark.parametrize("trunk", [1, 2])
def test_branches_share_the_trunk_and_nothing_else(trunk):
    student = create(SMALL, 3)
    branches = Branches(student, trunk=trunk, count=2)
    outputs = student(torch.rand(5, 3, 16, 16))
    others = branches(outputs.features)
    assert logits_of([outputs, *others]).shape == (3, 5, 3)
    assert embeddings_of([outputs, *others]).shape == (3, 5, 16)
    assert not torch.allclose(others[0].logits, others[1].logits)
    others[1].logits.sum().backward()
    assert all(p.grad is None for p in branches.tails[0].parameters())
    cut = [any(p.grad is not None for p in stage.parameters()) for stage in student.net.stages]
    assert cut == [True] * trunk + [False] * (3 - trunk)


def test_a_branch_with_the_weights_of_the_student_says_what_it_says():
    student = create(SMALL, 3).eval()
    branches = Branches(student, trunk=2, count=1).eval()
    inner = student.net
    for mine, theirs in zip(branches.tails[0], [inner.stages[2], inner.final_conv, inner.head], strict=True):
        mine.load_state_dict(theirs.state_dict())
    outputs = student(torch.rand(2, 3, 16, 16))
    (said,) = branches(outputs.features)
    torch.testing.assert_close(said.logits, outputs.logits)
    torch.testing.assert_close(said.embedding, outputs.embedding)


@pytest.mark.parametrize("trunk", [0, 3])
def test_a_branch_without_a_stage_of_its_own_is_refused(trunk):
    with pytest.raises(BadInput, match=f"trunk is {trunk}: it must be from 1 to 2"):
        Branches(create(SMALL, 3), trunk=trunk, count=1)
