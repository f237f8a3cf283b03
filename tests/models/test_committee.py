import pytest
import torch

from tutelage.models.average import Frozen
from tutelage.models.backbone import NetworkSpec, create
from tutelage.models.committee import Committee, each, each_said, members_of
from tutelage.types import BadInput


@pytest.fixture
def members():
    return [create(NetworkSpec(width=width, image_size=16), 3).eval() for width in (2, 4, 3)]


def test_it_answers_as_one_and_every_member_is_heard_apart(members):
    images = torch.rand(5, 3, 16, 16)
    outputs = Committee(members)(images)
    mean = torch.stack([member(images).logits.softmax(-1) for member in members]).mean(0)
    torch.testing.assert_close(outputs.logits.exp(), mean)
    torch.testing.assert_close(each_said(outputs), torch.stack([member(images).logits for member in members]))
    torch.testing.assert_close(outputs.embedding, members[0](images).embedding)
    widths = [member.widths["stage1"] for member in members]
    assert [one.features["stage1"].shape[1] for one in each(outputs)] == widths


def test_members_are_heard_through_a_frozen_committee(members):
    frozen, images = Frozen(Committee(members)), torch.rand(5, 3, 16, 16)
    outputs = frozen(images)
    torch.testing.assert_close(each_said(outputs), torch.stack([member(images).logits for member in members]))
    (outputs.members[1].features["stage2"] * torch.ones(1, requires_grad=True)).sum().backward()  # no inference tensor
    assert [one.widths for one in members_of(frozen)] == [one.widths for one in members]


def test_one_teacher_is_a_committee_of_one(members):
    outputs = members[0](torch.rand(5, 3, 16, 16))
    assert each(outputs) == (outputs,)
    torch.testing.assert_close(each_said(outputs), outputs.logits[None])
    assert members_of(members[0]) == [members[0]]
    (inner,) = members_of(Frozen(members[0]))
    assert inner.widths == members[0].widths


def test_nobody_is_no_committee():
    with pytest.raises(BadInput, match="no members"):
        Committee([])
