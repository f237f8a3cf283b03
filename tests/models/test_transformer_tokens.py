import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from tiny import tiny_vit

from tutelage.models.average import Frozen
from tutelage.models.backbone import NetworkSpec, create
from tutelage.models.tokens import through_blocks
from tutelage.types import BadInput

IMAGES = torch.linspace(0, 1, 2 * 3 * 8 * 8).view(2, 3, 8, 8)


def test_a_look_changes_no_answer():
    net = tiny_vit(3).eval()
    plain, looked = net(IMAGES), net(IMAGES, tokens="attention")
    torch.testing.assert_close(plain.logits, looked.logits, rtol=0, atol=0)
    torch.testing.assert_close(plain.features, looked.features, rtol=0, atol=0)
    assert list(plain.features) == list(looked.features)
    assert plain.tokens is None


def test_tokens_are_the_embeddings_and_a_class_token_with_patches_a_block():
    net = tiny_vit(3).eval()
    seen = net(IMAGES, tokens="hidden").tokens
    assert [tuple(hidden.shape) for hidden in seen.hidden] == [(2, 5, 8)] * 4
    assert seen.scores == seen.values == ()
    torch.testing.assert_close(seen.hidden[0][:, :1], (net.net.cls_token + net.net.pos_embed[:, :1]).expand(2, 1, 8))
    torch.testing.assert_close(seen.last, net.net.norm(seen.hidden[-1]))
    torch.testing.assert_close(net(IMAGES).embedding, seen.last[:, 0])


def test_scores_and_values_make_what_timm_attends_to():
    """Softmax of the scores times the values, behind the projection, is what the block's attention gives."""
    net = tiny_vit(2).eval()
    seen = net(IMAGES, tokens="attention").tokens
    for place, block in enumerate(net.net.blocks):
        mixed = seen.scores[place].softmax(-1) @ seen.values[place]
        expected = block.attn(block.norm1(seen.hidden[place]))
        torch.testing.assert_close(block.attn.proj(mixed.transpose(1, 2).flatten(2)), expected)


def test_a_frozen_teacher_can_be_looked_at_in_a_graph():
    seen = Frozen(Frozen(tiny_vit(2)))(IMAGES, tokens="attention").tokens
    weight = torch.ones((), requires_grad=True)
    parts = [*seen.hidden, seen.last, *seen.scores, *seen.values]
    sum((weight * part).square().sum() for part in parts).backward()  # saves them for the way back
    assert weight.grad > 0
    assert not any(part.requires_grad for part in parts)


def test_networks_without_a_class_token_are_not_looked_at():
    net = create(NetworkSpec(name="small_resnet", width=4, image_size=8), 3)
    with pytest.raises(BadInput, match="no class token"):
        net(IMAGES, tokens="hidden")
    averaging = VisionTransformer(img_size=8, patch_size=4, embed_dim=8, depth=1, num_heads=2, global_pool="avg")
    with pytest.raises(BadInput, match="no class token"):
        through_blocks(averaging, IMAGES, "hidden")


@pytest.mark.parametrize("fields", [{"width": 6}, {"image_size": 10}])
def test_sizes_that_small_vit_cannot_have_are_refused(fields):
    with pytest.raises(BadInput, match="must be a multiple of 4"):
        create(NetworkSpec(name="small_vit_2", **{"width": 8, "image_size": 8} | fields), 3)
    with pytest.raises(BadInput, match="small_vit_2 has no published weights"):
        NetworkSpec(name="small_vit_2", pretrained=True)
    with pytest.raises(BadInput, match="does not know"):
        NetworkSpec(name="small_vit_5")
