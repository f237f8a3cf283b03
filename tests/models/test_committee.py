import torch

from tutelage.models.backbone import NetworkSpec, create
from tutelage.models.committee import Committee, each_said


def test_every_member_is_heard_apart():
    members = [create(NetworkSpec(width=width, image_size=16), 3).eval() for width in (2, 4, 3)]
    images = torch.rand(5, 3, 16, 16)
    outputs = Committee(members)(images)
    assert outputs.logits.shape == (5, 9)
    said = each_said(outputs.logits, 3)
    torch.testing.assert_close(said, torch.stack([member(images).logits for member in members]))
    torch.testing.assert_close(outputs.embedding, members[0](images).embedding)


def test_one_teacher_is_a_committee_of_one():
    logits = torch.randn(4, 3)
    torch.testing.assert_close(each_said(logits, 3), logits[None])
