import copy
import json
from dataclasses import asdict, replace

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save
from torch import nn

from tutelage.models.average import Frozen, average_into
from tutelage.models.backbone import NetworkSpec, create, normalisation
from tutelage.models.files import load_model, save_committee, save_model
from tutelage.models.grown import Layer
from tutelage.models.layout import layout
from tutelage.types import BadInput

SMALL = NetworkSpec(width=4, image_size=16)


@pytest.mark.parametrize("spec", [SMALL, NetworkSpec(name="test_resnet", image_size=64)])
def test_one_map_a_stage_finest_first_with_the_widths_it_says(spec):
    net = create(spec, 3)
    outputs = net(torch.rand(2, 3, spec.image_size, spec.image_size))
    assert outputs.logits.shape == (2, 3)
    assert {name: m.shape[1] for name, m in outputs.features.items()} == net.widths
    assert outputs.embedding.shape[1] == net.embedding_width == Frozen(net).embedding_width
    sizes = [m.shape[-1] for m in outputs.features.values()]
    assert sizes == sorted(sizes, reverse=True)


def test_logits_are_the_classifier_of_the_embedding():
    net = create(SMALL, 3).eval()
    outputs = net(torch.rand(2, 3, 16, 16))
    torch.testing.assert_close(net.net.get_classifier()(outputs.embedding), outputs.logits)


@pytest.mark.parametrize(("name", "size"), [("levit_128s", 224), ("test_vit", 160)])
def test_a_network_that_answers_by_two_heads_or_one_says_what_timm_says(name, size):
    net = create(NetworkSpec(name=name, image_size=size), 3).eval()
    images = torch.rand(1, 3, size, size)
    torch.testing.assert_close(net(images).logits, net.net((images - net.mean) / net.std))


@pytest.mark.parametrize("error", [TypeError, IndexError, ValueError])
def test_a_network_that_fails_on_its_way_is_refused_by_name(monkeypatch, error):
    def fail(net, images):
        raise error("here")

    monkeypatch.setattr("timm.models.byobnet.ByobNet.forward_intermediates", fail)
    with pytest.raises(BadInput, match=r"small_resnet cannot take .*here.*choose another network\.name"):
        create(SMALL, 3)


def test_grey_half_way_is_zero_without_published_weights():
    net = create(SMALL, 3)
    assert ((torch.full((1, 3, 1, 1), 0.5) - net.mean) / net.std == 0).all()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "ResNet-81"}, "ResNet-81.*Near: .*resnet"),
        ({"pretrained": True}, "no published weights"),
        ({"width": 0}, "at least 1"),
        ({"image_size": 4}, "at least 8"),
    ],
)
def test_a_wrong_spec_names_the_value_and_the_rule(fields, said):
    with pytest.raises(BadInput, match=said):
        NetworkSpec(**fields)


@pytest.mark.parametrize("name", ["test_convnext", "test_vit"])
def test_an_image_of_a_size_that_the_network_cannot_take_is_refused(name):
    with pytest.raises(BadInput, match=r"network\.image_size"):
        create(NetworkSpec(name=name, image_size=28), 3)


def test_a_file_gives_back_the_same_network(tmp_path):
    net = create(SMALL, 3)
    net(torch.rand(8, 3, 16, 16))  # moves the batch statistics
    for name in ("a", "b"):
        save_model(tmp_path / name, net, classes=["x", "y", "z"], method="supervised")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    again, card = load_model(tmp_path / "a")
    images = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(again(images).logits, net.eval()(images).logits, rtol=0, atol=0)
    assert (card.classes, card.spec) == (["x", "y", "z"], SMALL)


@pytest.mark.parametrize("content", [b"", b"no tensors", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_a_file_that_is_not_ours_is_refused(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"model\.safetensors"):
        load_model(path)
    with pytest.raises(BadInput, match="does not exist"):
        load_model(tmp_path / "none")


def test_a_folder_and_a_file_that_is_cut_are_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(path, create(SMALL, 3), classes=["a", "b", "c"], method="here")
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(BadInput, match=r"model\.safetensors is not a whole"):
        load_model(path)
    with pytest.raises(BadInput, match="is a folder"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ("{", "metadata that cannot be read"),
        ("[]", "metadata that cannot be read"),
        ({"spec": None}, "does not hold the network"),
        ({"classes": None}, "does not hold the network"),
        ({"spec": asdict(SMALL) | {"colour": 1}}, "does not hold the network.*colour"),
        ({"spec": asdict(SMALL) | {"width": 8}}, "does not hold the network.*state_dict"),
        ({"spec": asdict(SMALL) | {"width": 0}}, "width is at least 1"),
    ],
)
def test_a_file_that_holds_another_network_than_it_says_is_refused(tmp_path, about, said):
    whole = {"classes": ["a", "b", "c"], "method": "here", "spec": asdict(SMALL)}
    text = about if isinstance(about, str) else json.dumps(whole | about)
    path = tmp_path / "model.safetensors"
    save_model(path, create(SMALL, 3), classes=whole["classes"], method="here")
    path.write_bytes(save(load_file(path), metadata={"tutelage": text}))
    with pytest.raises(BadInput, match=rf"model\.safetensors.*{said}") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("classes", "said"), [(["a", "b"], "2 classes for 3 answers"), (["a", "b", "a"], "classes a.")]
)
def test_names_that_do_not_tell_the_answers_apart_are_not_written(tmp_path, classes, said):
    net = create(SMALL, 3)
    with pytest.raises(BadInput, match=said):
        save_model(tmp_path / "model", net, classes=classes, method="here")
    with pytest.raises(BadInput, match=said):
        save_committee(tmp_path / "model", [net], classes=classes, method="here")
    assert not (tmp_path / "model").exists()


def test_frozen_stays_asleep():
    frozen = Frozen(create(SMALL, 3))
    frozen.train()
    images = torch.rand(4, 3, 16, 16)
    before = {name: value.clone() for name, value in frozen.state_dict().items()}
    assert not frozen(images).logits.requires_grad
    for name, value in frozen.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_average_by_hand():
    teacher, student = create(SMALL, 2), create(SMALL, 2)
    with torch.no_grad():
        for value in teacher.parameters():
            value.fill_(1.0)
        for value in student.parameters():
            value.fill_(3.0)
    average_into(teacher, student, decay=0.75)
    assert all((value == 1.5).all() for value in teacher.parameters())  # 0.75 * 1 + 0.25 * 3
    average_into(teacher, student, decay=0.0)
    assert all((value == 3).all() for value in teacher.parameters())


TWICE = Layer("identity", plus_input=True, plus_stage=False)  # a map plus itself


def test_added_layers_stand_behind_their_stage():
    plain, grown = create(SMALL, 3).eval(), create(replace(SMALL, added=(TWICE,) * 3), 3).eval()
    convolved = create(replace(SMALL, added=(Layer("conv3", plus_input=False, plus_stage=False), TWICE, TWICE)), 3)
    more = sum(p.numel() for p in convolved.parameters()) - sum(p.numel() for p in plain.parameters())
    wide = plain.widths["stage1"]
    assert more == wide * wide * 9 + 2 * wide  # behind the first stage: a convolution and its batch norm
    weights = plain.state_dict()
    grown.load_state_dict({name: weights[name.replace(".stage.", ".")] for name in grown.state_dict()})
    images = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(grown(images).features["stage1"], 2 * plain(images).features["stage1"])


def test_added_layers_are_in_the_file(tmp_path):
    net = create(replace(SMALL, added=(TWICE, Layer("conv5", plus_input=True, plus_stage=True), TWICE)), 3).eval()
    save_model(tmp_path / "model.safetensors", net, classes=["a", "b", "c"], method="here")
    again, card = load_model(tmp_path / "model.safetensors")
    assert card.spec == net.spec
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(again(images).logits, net(images).logits)


@pytest.mark.parametrize("spec", [SMALL, NetworkSpec(name="test_vit", image_size=160)])
def test_added_layers_that_do_not_fit_are_refused(spec):
    with pytest.raises(BadInput, match=r"network\.added has 2 layers"):
        create(replace(spec, added=(TWICE, TWICE)), 3)


def test_published_weights_see_pixels_as_they_were_trained():
    for name, mean in (("resnet18", 0.485), ("vit_tiny_patch16_224", 0.5)):
        assert normalisation(NetworkSpec(name=name, image_size=224, pretrained=True))[0].flatten()[0] == pytest.approx(
            mean
        )


def test_a_stem_that_torch_writes_beyond_memory_for_is_not_laid_out_so():
    """In one process with other tests that would be a crash of all: `Conv2d(3, 8, 1, stride=2)` and backward."""
    stem = nn.Sequential(nn.Conv2d(3, 8, 1, stride=2))
    assert layout(stem) == torch.contiguous_format
    assert layout(nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.Conv2d(8, 8, 1, stride=2))) == torch.channels_last
    net = create(NetworkSpec(name="repvgg_a0", image_size=32), 3, download=False)
    assert copy.deepcopy(net).layout == torch.contiguous_format
    net(torch.rand(2, 3, 32, 32)).logits.sum().backward()


def test_weights_that_cannot_be_downloaded_are_told_with_the_way_out(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    published = NetworkSpec(name="test_resnet", image_size=64, pretrained=True)
    with pytest.raises(BadInput, match=r"weights of test_resnet could not be downloaded \(.*Set it to false, or copy"):
        create(published, 3)
    assert create(published, 3, download=False).widths == create(replace(published, pretrained=False), 3).widths


def test_a_network_without_published_weights_is_told():
    with pytest.raises(BadInput, match=r"timm .* has no weights of coatnet_0_224\. Set it to false"):
        create(NetworkSpec(name="coatnet_0_224", image_size=224, pretrained=True), 3)
