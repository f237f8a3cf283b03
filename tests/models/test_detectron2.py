import warnings

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from tutelage.types import BadInput, Boxes

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it warns of torch.jit.script on import
    pytest.importorskip("detectron2.modeling", reason="detectron2 is not installed: docs/detection.md says how")

from detectron2.modeling.matcher import Matcher
from detectron2.structures import Boxes as Rows
from detectron2.structures import Instances
from detectron2.utils.events import EventStorage

from tutelage.models.detectors import DetectorSpec
from tutelage.models.detectron2 import configure, create
from tutelage.models.detectron2_losses import IGNORED, Aims, aims, background_by

pytestmark = pytest.mark.filterwarnings("ignore:torch.meshgrid")  # called so inside of detectron2

SMALL = """
MODEL:
  META_ARCHITECTURE: {kind}
  BACKBONE: {{NAME: {backbone}}}
  RESNETS: {{DEPTH: 18, RES2_OUT_CHANNELS: 64, STEM_OUT_CHANNELS: 8, OUT_FEATURES: {maps}}}
  FPN: {{IN_FEATURES: {maps}, OUT_CHANNELS: 16}}
  ANCHOR_GENERATOR: {{SIZES: {sizes}, ASPECT_RATIOS: [[0.5, 1.0, 2.0]]}}
  RPN:
    {{IN_FEATURES: [p2, p3, p4, p5, p6], BATCH_SIZE_PER_IMAGE: {sample}, POST_NMS_TOPK_TRAIN: 60}}
  ROI_HEADS: {{NAME: StandardROIHeads, IN_FEATURES: [p2, p3, p4, p5], BATCH_SIZE_PER_IMAGE: {sample}}}
  ROI_BOX_HEAD: {{NAME: FastRCNNConvFCHead, NUM_FC: 1, FC_DIM: 32, POOLER_RESOLUTION: 3, BBOX_REG_LOSS_TYPE: {loss}}}
  RETINANET: {{NUM_CONVS: 1, BBOX_REG_LOSS_TYPE: {loss}}}
VERSION: 2
"""
KINDS = {
    "faster_rcnn": {
        "kind": "GeneralizedRCNN",
        "backbone": "build_resnet_fpn_backbone",
        "maps": "[res2, res3, res4, res5]",
        "sizes": "[[8], [16], [32], [64], [128]]",
    },
    "retinanet": {
        "kind": "RetinaNet",
        "backbone": "build_retinanet_resnet_fpn_backbone",
        "maps": "[res3, res4, res5]",
        "sizes": "[[16, 20], [32, 40], [64, 80], [128, 160], [256, 320]]",
    },
}
CLASSES, SIZE = 3, 64
NAMES = {  # theirs, ours
    "faster_rcnn": {
        "loss_rpn_cls": "rpn_objectness",
        "loss_rpn_loc": "rpn_regression",
        "loss_cls": "roi_classification",
        "loss_box_reg": "roi_regression",
    },
    "retinanet": {"loss_cls": "classification", "loss_box_reg": "regression"},
}
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def spec(tmp_path):
    def make(kind, *, loss="smooth_l1", sample=32, **fields):
        path = tmp_path / f"{kind}.yaml"
        path.write_text(SMALL.format(**KINDS[kind], loss=loss, sample=sample))
        return DetectorSpec(kind="detectron2", config=str(path), image_size=SIZE, **fields)

    return make


@pytest.fixture
def detector(spec):
    def make(kind, **fields):
        net = create(spec(kind, **fields), CLASSES)
        for module in net.modules():
            if isinstance(module, nn.Linear):  # as drawn, the heads say next to nothing
                nn.init.normal_(module.weight, std=0.1)
            if isinstance(module, nn.BatchNorm2d):  # as made, the statistics fit no image
                module.momentum = 1.0
        net.train().pyramid(IMAGES)
        return net

    return make


def boxes(places, labels, weight=None, place_weight=None):
    ones = torch.ones(len(labels))
    places = torch.tensor(places, dtype=torch.float32).reshape(-1, 4)
    weight, place_weight = (ones if w is None else torch.tensor(w) for w in (weight, place_weight))
    return Boxes(places, torch.tensor(labels, dtype=torch.int64), weight, place_weight)


SCENE = [
    boxes([[4, 4, 24, 28], [30, 10, 62, 40], [8, 40, 20, 60]], [0, 2, 1]),
    boxes([], []),
    boxes([[10, 10, 50, 50]], [1]),
]
IMAGES = torch.rand(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def theirs(net, images, targets):
    """The losses of detectron2's own network, given what its own data loader would give it."""
    said = [
        {
            "image": 255 * image.flip(0),
            "instances": Instances((SIZE, SIZE), gt_boxes=Rows(one.places), gt_classes=one.labels),
        }
        for image, one in zip(images, targets, strict=True)
    ]
    with EventStorage():
        return net.net(said)


def ours(net, targets, weight=None, images=IMAGES, **asked):
    torch.manual_seed(0)
    if hasattr(net, "normaliser"):
        net.normaliser.fill_(100.0)
    return net(images, targets, weight, **asked)


def total(losses):
    return torch.stack(list(losses.values())).sum()


@pytest.mark.parametrize("loss", ["smooth_l1", "giou", "ciou"])
@every_kind
def test_with_weights_of_one_the_losses_are_detectron2s_own(detector, kind, loss):
    net = detector(kind, loss=loss)
    for targets in (SCENE, SCENE[1:2] * 3):  # twice: RetinaNet's normaliser has moved
        torch.manual_seed(0)
        expected = theirs(net, IMAGES, targets)
        torch.manual_seed(0)
        found = net(IMAGES, targets)
        assert NAMES[kind].keys() == expected.keys()
        assert set(found) == set(NAMES[kind].values())
        for its, mine in NAMES[kind].items():
            torch.testing.assert_close(found[mine], expected[its], rtol=1e-4, atol=1e-6)
    assert total(theirs(net, IMAGES, SCENE)) > 0.1


@every_kind
def test_the_gradient_is_detectron2s_own(detector, kind):
    net = detector(kind)
    torch.manual_seed(0)
    total(theirs(net, IMAGES, SCENE)).backward()
    expected = {name: value.grad.clone() for name, value in net.named_parameters()}
    net.zero_grad()
    total(ours(net, SCENE)).backward()
    for name, value in net.named_parameters():
        torch.testing.assert_close(value.grad, expected[name], rtol=1e-3, atol=1e-5)


@every_kind
def test_detections_are_detectron2s_own(detector, kind):
    net = detector(kind, score_floor=0.001).eval()
    expected = net.net([{"image": 255 * image.flip(0)} for image in IMAGES])
    for mine, its in zip(net(IMAGES), expected, strict=True):
        assert len(mine.scores) > 0
        torch.testing.assert_close(mine.places, its["instances"].pred_boxes.tensor)
        torch.testing.assert_close(mine.scores, its["instances"].scores)
        assert mine.labels.equal(its["instances"].pred_classes)
        assert (mine.scores.diff() <= 0).all()
        assert mine.places.min() >= 0
        assert mine.places.max() <= SIZE


@every_kind
def test_score_floor_and_max_detections_are_the_specs(detector, kind):
    few = detector(kind, score_floor=0.0, max_detections=7).eval()
    assert max(len(found.scores) for found in few(IMAGES)) == 7
    fewest = detector("retinanet", score_floor=0.0, candidates=1).eval()
    assert max(len(found.scores) for found in fewest(IMAGES)) == 5  # levels
    none = detector(kind, score_floor=0.999).eval()
    assert [len(found.scores) for found in none(IMAGES)] == [0, 0, 0]


@every_kind
def test_an_image_without_weight_changes_nothing(detector, kind):
    net = detector(kind, sample=5000)  # all places are learnt from: no chance
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()  # or the images of a batch see each other
    weight = torch.tensor([1.0, 1.0, 0.0])
    torch.testing.assert_close(
        total(ours(net, SCENE, weight)), total(ours(net, SCENE[:2], images=IMAGES[:2])), rtol=1e-4, atol=1e-6
    )
    assert total(ours(net, SCENE, torch.zeros(3))) == 0


@every_kind
def test_the_weight_of_an_image_is_a_share_of_a_mean(detector, kind):
    """Twice every weight is the same mean, except for RetinaNet's moving average of counts."""
    net = detector(kind)
    one, two = (ours(net, SCENE, torch.full((3,), value)) for value in (1.0, 2.0))
    if kind == "faster_rcnn":
        for name in one:
            torch.testing.assert_close(two[name], one[name])
    else:
        positives = 10 * (net.normaliser[0] - 90) / 2
        for name in one:
            torch.testing.assert_close(two[name] * (90 + 0.2 * positives), 2 * one[name] * (90 + 0.1 * positives))


@every_kind
def test_a_box_without_weight_is_neither_object_nor_background(detector, kind):
    """Its class does not matter. Leaving it out would make it background."""
    net = detector(kind)
    plain, silent, other, gone = (
        ours(net, [boxes(*scene)] * 3)
        for scene in (
            ([[10, 10, 50, 50]], [1]),
            ([[10, 10, 50, 50]], [1], [0.0], [0.0]),
            ([[10, 10, 50, 50]], [2], [0.0], [0.0]),
            ([], []),
        )
    )
    for name in silent:
        assert silent[name].equal(other[name])
    last = NAMES[kind]["loss_box_reg"]
    assert silent[last] == 0 < plain[last]
    assert not torch.isclose(total(silent), total(gone), rtol=1e-3)


def test_what_lies_in_a_box_without_weight_is_no_background():
    """Of a crowd one object was drawn by itself. As of our own detectors in test_assignment."""
    crowd = boxes([[0, 0, 32, 32], [2, 2, 14, 14]], [1, 2], [0.0, 1.0], [0.0, 1.0])
    anchors = torch.tensor([[3.0, 3, 14, 14], [20, 20, 28, 28], [28, 0, 36, 8], [29, 0, 37, 8], [1, 1, 32, 32]])
    found = aims(crowd, torch.tensor(1.0), anchors, matcher=Matcher([0.5], [0, 1]), background=CLASSES)
    assert found.labels.tolist() == [2, IGNORED, IGNORED, CLASSES, IGNORED]


@every_kind
def test_a_box_without_trust_in_its_class_may_still_teach_its_place(detector, kind):
    net = detector(kind, sample=5000)
    plain, silent, other = (
        ours(net, [boxes([[10, 10, 50, 50]], [1], *weights)] * 3) for weights in ((), ([0.0],), ([0.0], [0.5]))
    )
    regression, classification = NAMES[kind]["loss_box_reg"], NAMES[kind]["loss_cls"]
    assert silent[regression] > other[regression] > 0
    assert silent[classification] < plain[classification]


@every_kind
def test_a_box_without_area_is_no_object(detector, kind):
    net = detector(kind)
    flat = boxes([[10, 10, 50, 50], [20, 5, 20, 30], [3, 64, 9, 64]], [1, 2, 0])
    for name, loss in ours(net, [flat] * 3).items():
        assert loss.equal(ours(net, [boxes([[10, 10, 50, 50]], [1])] * 3)[name])


@every_kind
def test_the_weight_of_a_place_is_a_factor_of_the_regression(detector, kind):
    net = detector(kind, sample=5000)
    full, half, quarter, none = (
        ours(net, [boxes([[10, 10, 50, 50]], [1], None, [place])] * 3) for place in (1.0, 0.5, 0.25, 0.0)
    )
    for name in full:
        if "regression" not in name:
            assert full[name].equal(half[name])
            assert full[name].equal(none[name])
        elif name == "roi_regression":  # w sum / (background + w objects): its inverse is a line in 1 / w
            steps = [1 / quarter[name] - 1 / half[name], 1 / half[name] - 1 / full[name]]
            torch.testing.assert_close(steps[0], 2 * steps[1], rtol=1e-3, atol=0)
            assert none[name] == 0
        else:
            torch.testing.assert_close(half[name], full[name] / 2)
            assert none[name] == 0


def test_the_weight_of_a_box_by_hand(detector):
    """RetinaNet: sums are linear in the weight, so two losses give the third."""
    net = detector("retinanet")
    sums = []
    for trust in (1.0, 0.25, 0.5):
        losses = ours(net, [boxes([[10, 10, 50, 50]], [1], [trust])] * 3)
        sums.append(losses["classification"] * net.normaliser[0])
    torch.testing.assert_close(sums[2], sums[1] + (sums[0] - sums[1]) / 3)
    assert sums[0] > sums[2] > sums[1]


@every_kind
@pytest.mark.parametrize("targets", [SCENE, SCENE[1:2] * 3], ids=["boxes", "none"])
def test_every_parameter_has_a_gradient_and_names_are_constant(detector, kind, targets):
    net = detector(kind)
    losses = ours(net, targets)
    assert list(losses) == list(ours(net, SCENE))
    total(losses).backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in net.parameters())


@every_kind
def test_four_hundred_boxes_train(detector, kind):
    low = 50 * torch.rand(400, 2)
    crowd = boxes(torch.cat([low, low + 4 + 8 * torch.rand(400, 2)], 1).tolist(), [i % 3 for i in range(400)])
    assert total(ours(detector(kind), [crowd, SCENE[1], SCENE[2]])).isfinite()


def test_a_loss_that_is_not_a_number_is_returned_not_raised(detector):
    assert total(ours(detector("faster_rcnn"), SCENE, images=IMAGES * float("nan"))).isnan()


@every_kind
def test_a_file_gives_back_the_same_detector(spec, detector, kind):
    net = detector(kind, score_floor=0.001)
    ours(net, SCENE)  # moves statistics and normaliser
    again = create(spec(kind, score_floor=0.001), CLASSES, download=False)
    again.load_state_dict(load(save({name: value.contiguous() for name, value in net.state_dict().items()})))
    for a, b in zip(net.eval()(IMAGES), again.eval()(IMAGES), strict=True):
        assert all(x.equal(y) for x, y in zip(a, b, strict=True))
    for name, loss in ours(net, SCENE).items():
        assert loss.equal(ours(again, SCENE)[name])


@every_kind
def test_pyramid_is_what_the_heads_see(detector, kind):
    net = detector(kind)
    maps = net.pyramid(IMAGES)
    assert {name: value.shape[1] for name, value in maps.items()} == net.widths
    sizes = [value.shape[-1] for value in maps.values()]
    assert sizes == sorted(sizes, reverse=True)
    assert net.classes == CLASSES


@every_kind
def test_parts_are_means_of_their_own(detector, kind):
    net = detector(kind, sample=5000)
    together = ours(net, SCENE)
    apart = ours(net, SCENE, parts=[2, 0, 1])
    assert set(apart) == {f"{part}.{name}" for part in range(3) for name in together}
    for part, these in ((0, [1.0, 1.0, 0.0]), (2, [0.0, 0.0, 1.0])):
        for name, loss in ours(net, SCENE, torch.tensor(these)).items():
            torch.testing.assert_close(apart[f"{part}.{name}"], loss, rtol=1e-4, atol=1e-6)
    assert all(apart[f"1.{name}"] == 0 for name in together)
    total(apart).backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in net.parameters())


def test_each_part_has_a_moving_average_of_its_own(detector):
    """A pool without boxes does not make the labelled images' loss larger."""
    net = detector("retinanet")
    ours(net, SCENE)
    alone = net.normaliser[0].clone()
    net.normaliser.fill_(100.0)
    net(IMAGES[[0, 1, 2, 1, 1]], [*SCENE, SCENE[1], SCENE[1]], parts=[3, 2, 0])
    assert net.normaliser[0] == alone
    torch.testing.assert_close(net.normaliser[1:3], torch.tensor([90.1, 100.0]))  # as theirs with none; untouched


@every_kind
def test_a_look_holds_what_the_losses_come_from(detector, kind):
    net = detector(kind)
    losses = ours(net, SCENE)
    look = ours(net, SCENE, look=True)
    assert all(look.losses[name].equal(loss) for name, loss in losses.items())
    assert list(look.pyramid) == list(net.widths)
    anchors = look.dense["deltas"].shape[1]
    assert look.dense["logits"].shape == (3, anchors, 1 if kind == "faster_rcnn" else CLASSES)
    assert net(IMAGES, look=True).losses == {}
    if kind == "retinanet":
        assert look.rois == ()
        with pytest.raises(BadInput, match="second stage"):
            net.roi_logits(IMAGES, [])


def test_logits_of_regions_start_with_the_background(detector):
    net = detector("faster_rcnn", score_floor=0.0, max_detections=10_000).eval()
    look = net(IMAGES, look=True)
    assert look.roi_logits.shape == (sum(len(rois) for rois in look.rois), 1 + CLASSES)
    again = net.roi_logits(IMAGES, look.rois)
    torch.testing.assert_close(again, look.roi_logits)
    surest = again.softmax(1)[: len(look.rois[0]), 1:].max()
    torch.testing.assert_close(net(IMAGES)[0].scores[0], surest)


@every_kind
def test_the_size_need_not_fit_the_strides(detector, kind):
    net = detector(kind, score_floor=0.0)
    images = torch.rand(2, 3, 50, 50)
    assert total(net(images, SCENE[1:])).isfinite()
    assert max(found.places.max() for found in net.eval()(images)) <= 50


@every_kind
def test_bf16_is_close(detector, kind):
    net = detector(kind)
    full = ours(net, SCENE)
    with torch.autocast("cpu", torch.bfloat16):
        low = ours(net, SCENE)
        assert len(net.eval()(IMAGES)) == 3
    for name in full:
        assert low[name].dtype == torch.float32
    torch.testing.assert_close(total(low), total(full), rtol=0.1, atol=0.05)


@pytest.mark.parametrize("name", ["faster_rcnn_R_50_FPN_3x", "retinanet_R_50_FPN_3x", "faster_rcnn_R_50_C4_1x"])
def test_a_name_of_the_model_zoo_trains_from_scratch(name):
    net = create(DetectorSpec(kind="detectron2", config=f"COCO-Detection/{name}.yaml", image_size=SIZE), CLASSES)
    assert all(value.requires_grad for value in net.parameters())
    assert any(isinstance(module, nn.BatchNorm2d) for module in net.modules())
    assert total(net.train()(IMAGES[:1], SCENE[:1])).isfinite()


def test_the_network_of_a_recipe_trains(pytestconfig):
    config = pytestconfig.rootpath / "docs/recipes/networks/small_retinanet.yaml"
    net = create(DetectorSpec(kind="detectron2", config=str(config), image_size=SIZE), CLASSES)
    assert sum(value.numel() for value in net.parameters()) < 500_000
    assert total(net.train()(IMAGES[:1], SCENE[:1])).isfinite()


def test_its_own_weights(spec, detector, tmp_path):
    other, wanted = detector("faster_rcnn"), spec("faster_rcnn", pretrained=True)
    torch.save({"model": other.net.state_dict()}, tmp_path / "weights.pth")
    config = tmp_path / "faster_rcnn.yaml"
    text = config.read_text()
    with pytest.raises(BadInput, match=r"MODEL\.WEIGHTS"):
        create(wanted, CLASSES)
    config.write_text(text.replace("MODEL:", f"MODEL:\n  WEIGHTS: {tmp_path}/weights.pth"))
    key = "net.backbone.fpn_output2.weight"
    assert create(wanted, CLASSES).state_dict()[key].equal(other.state_dict()[key])
    assert not create(wanted, CLASSES, download=False).state_dict()[key].equal(other.state_dict()[key])
    more = create(wanted, CLASSES + 1)  # other classes: the last layer stays as drawn
    assert more.state_dict()[key].equal(other.state_dict()[key])
    part = {name: value for name, value in other.net.state_dict().items() if ".fpn_" not in name}
    torch.save({"model": part}, tmp_path / "weights.pth")
    with pytest.warns(UserWarning, match=r"weights\.pth has \d+ of the \d+ weights .* such as fpn_lateral\d\.bias"):
        partly = create(wanted, CLASSES).state_dict()
    key = "net.backbone.bottom_up.stem.conv1.weight"
    assert partly[key].equal(other.state_dict()[key])
    assert all(value.isfinite().all() for value in partly.values())
    torch.save({"model": {"something.else": torch.zeros(3)}}, tmp_path / "weights.pth")
    with pytest.raises(BadInput, match="no weight that fits"):
        create(wanted, CLASSES)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("MODEL: {META_ARCHITECTURE: PanopticFPN}", "META_ARCHITECTURE 'PanopticFPN': supported are Gen"),
        ("MODEL: {META_ARCHITECTURE: GeneralizedRCNN, ROI_HEADS: {NAME: CascadeROIHeads}}", "CascadeROIHeads"),
        ("MODEL: {META_ARCHITECTRUE: RetinaNet}", "META_ARCHITECTRUE"),
        ('MODEL: {WEIGHTS: !!python/object/apply:eval ["1 + 1"]}', "cannot read"),
    ],
)
def test_a_configuration_that_is_not_supported_is_refused(tmp_path, line, said):
    (tmp_path / "own.yaml").write_text(f"{line}\nVERSION: 2\n")
    with pytest.raises(BadInput, match=said):
        configure(DetectorSpec(kind="detectron2", config=str(tmp_path / "own.yaml")), CLASSES)


def test_an_unknown_name_is_refused_with_its_neighbours():
    with pytest.raises(BadInput, match="COCO-Detection/retinanet_R_50_FPN_1x"):
        create(DetectorSpec(kind="detectron2", config="COCO-Detection/retinanet_R50_FPN_1x.yaml"), CLASSES)


@every_kind
def test_where_all_was_looked_for_nothing_changes(detector, kind):
    net = detector(kind)
    plain, told = ours(net, SCENE), ours(net, SCENE, known=torch.ones(3, CLASSES, dtype=torch.bool))
    assert all(torch.equal(plain[name], told[name]) for name in plain)


def test_no_anchor_is_background_to_what_nobody_looked_for(detector):
    """Of class 1 there is an object in the first and the last image all the same, which is learned."""
    net, known = detector("retinanet"), torch.tensor([[True, False, True]]).expand(3, 3)
    seen = ours(net, SCENE, known=known, look=True)
    (slope,) = torch.autograd.grad(seen.losses["classification"], seen.dense["logits"])
    assert (slope.abs().amax(1) > 0).tolist() == [[True, True, True], [True, False, True], [True, True, True]]


def test_what_nobody_looked_for_makes_regions_and_proposals_less_of_a_background(detector):
    net = detector("faster_rcnn", sample=512)  # all of them, so that the same are drawn
    whole, partly = ours(net, SCENE), ours(net, SCENE, known=torch.tensor([[True, False, True]]).expand(3, 3))
    assert partly["roi_classification"] < whole["roi_classification"]
    assert partly["rpn_objectness"] < whole["rpn_objectness"]
    assert partly["rpn_regression"] == whole["rpn_regression"]


def test_background_weighs_the_share_of_classes_that_were_looked_for():
    labels = torch.tensor([0, CLASSES, IGNORED])
    aim = Aims(labels, torch.zeros(3, 4), torch.full((3,), 0.5), torch.full((3,), 0.5))
    told = background_by(aim, torch.tensor([True, False, False]), background=CLASSES)
    torch.testing.assert_close(told.weight, torch.tensor([0.5, 0.5 / 3, 0.5]))
    torch.testing.assert_close(told.place_weight, told.weight)
