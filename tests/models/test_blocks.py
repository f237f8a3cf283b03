import pytest
import torch
from tiny import Tiny, tiny_vit

from tutelage.models.average import Frozen
from tutelage.models.blocks import begin_with, depths, evenly, grid, latest, spread
from tutelage.types import BadInput


def test_maps_of_blocks_are_the_papers():
    assert evenly(4, 12) == [0, 3, 6, 9, 12]  # TinyBERT
    assert evenly(6, 12)[1:-1] == [2, 4, 6, 8, 10]  # PKD-Skip
    assert latest(6, 12)[1:-1] == [7, 8, 9, 10, 11]  # PKD-Last
    assert [block - 1 for block in spread(6, 12)] == [0, 2, 4, 7, 9, 11]  # DistilBERT, counted from 0
    assert spread(1, 4) == [1]
    for student in range(1, 7):
        assert evenly(student, 6)[-1] == latest(student, 6)[-1] == 6
        assert len(set(spread(student, 6))) == student


def test_networks_that_do_not_fit_are_refused():
    vit = tiny_vit(2)
    assert depths(vit, Frozen(tiny_vit(3)), attention=True) == (2, 3)
    assert grid(Frozen(vit)) == (2, 2)
    with pytest.raises(BadInput, match=r"the student is Tiny.*small_vit_4 and small_vit_2"):
        depths(Tiny(4), vit)
    with pytest.raises(BadInput, match="student has 3 blocks, its teacher 2"):
        depths(tiny_vit(3), vit)
    with pytest.raises(BadInput, match="student sees 5 tokens, its teacher 10"):
        depths(vit, tiny_vit(2, image_size=12))
    other = tiny_vit(2)
    other.net.blocks[1].attn.num_heads = 2
    assert depths(vit, other) == (2, 2)
    with pytest.raises(BadInput, match=r"\[4, 4\] and \[4, 2\]"):
        depths(vit, other, attention=True)
    with pytest.raises(BadInput, match=r"width 8 cannot begin with .* width 12"):
        begin_with(vit, tiny_vit(2, width=12))


def test_a_student_begins_with_every_second_block():
    student, teacher = tiny_vit(2), tiny_vit(4)
    before = student.net.head.weight.clone()
    begin_with(student, Frozen(teacher))
    for mine, theirs in zip(student.net.blocks, [teacher.net.blocks[0], teacher.net.blocks[3]], strict=True):
        torch.testing.assert_close(mine.state_dict(), theirs.state_dict(), rtol=0, atol=0)
    assert torch.equal(student.net.pos_embed, teacher.net.pos_embed)
    assert torch.equal(student.net.head.weight, before)
    whole = tiny_vit(4)
    begin_with(whole, teacher)
    images = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(whole.eval()(images).embedding, teacher.eval()(images).embedding)
