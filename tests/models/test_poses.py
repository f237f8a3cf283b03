import pytest
import torch

from tutelage.models.poses import Aggregation, Ensemble, PoseNet, PoseSpec, load_poses, save_poses
from tutelage.types import BadInput

SPEC = PoseSpec(width=8, depth=1, image_size=8)
JOINTS = ("a", "b")


def test_a_cell_for_each_two_pixels_of_any_square():
    for spec in (SPEC, PoseSpec(width=8, depth=3, image_size=36)):
        maps = PoseNet(spec, JOINTS)(torch.rand(2, 3, spec.image_size, spec.image_size))
        assert maps.shape == (2, 2, spec.image_size // 2, spec.image_size // 2)


def test_weights_sum_to_one_over_the_branches():
    weights = Aggregation(8, branches=4, joints=5)(torch.rand(3, 8, 6, 6))
    assert weights.shape == (3, 4, 5)
    torch.testing.assert_close(weights.sum(1), torch.ones(3, 5))
    assert weights.std() > 0


def test_each_branch_stands_for_a_wider_kernel():
    kernels = [layer[0].kernel_size[0] for layer in Aggregation(8, branches=3, joints=5).convs]
    assert kernels == [3, 5, 7]


def test_the_mixture_by_hand():
    """Heads that say 0 and ln 3 give weights of a quarter and three."""
    student = PoseNet(SPEC, JOINTS)
    ensemble = Ensemble(student, 2)
    with torch.no_grad():
        for head, bias in zip(ensemble.weights.heads, (0.0, 3.0), strict=True):
            head.weight.zero_()
            head.bias.fill_(bias).clamp_(min=1).log_()
    maps = student.seen(torch.rand(3, 3, 8, 8))
    said, mixed = ensemble(maps, student.branch(maps).float())
    torch.testing.assert_close(said[0], student.branch(maps))
    torch.testing.assert_close(mixed, 0.25 * said[0] + 0.75 * said[1])


def test_a_file_gives_back_the_same_network(tmp_path):
    net = PoseNet(SPEC, JOINTS)
    net(torch.rand(4, 3, 8, 8))  # moves the batch statistics
    save_poses(tmp_path / "net", net, method="OKDHP()")
    again, images = load_poses(tmp_path / "net"), torch.rand(2, 3, 8, 8)
    assert (again.spec, again.joints) == (SPEC, ["a", "b"])
    torch.testing.assert_close(again(images), net.eval()(images), rtol=0, atol=0)


@pytest.mark.parametrize("fields", [{"width": 12}, {"depth": 0}, {"depth": 3, "image_size": 28}])
def test_a_wrong_spec_says_the_rule(fields):
    with pytest.raises(BadInput, match="multiple of 8, depth 1 or more"):
        PoseSpec(**fields)
