import torch

from tutelage.models.critics import feature_critic, map_critic, patch_critic, vector_critic


def test_a_map_critic_is_the_papers():
    critic = map_critic(19)
    assert [m.out_channels for m in critic if isinstance(m, torch.nn.Conv2d)] == [64, 128, 256, 512, 1]
    assert critic(torch.rand(1, 19, 64, 96)).shape == (1, 1, 2, 3)  # a side of H / 32
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in critic)


def test_a_patch_critic_judges_small_images_in_parts():
    for size in (28, 32):
        assert patch_critic(width=4)(torch.rand(2, 3, size, size)).shape[:2] == (2, 1)
    critic, images = patch_critic(width=4), torch.rand(1, 3, 32, 32, requires_grad=True)
    critic(images)[0, 0, 3, 3].backward()
    rows = images.grad[0].abs().sum((0, 2)).nonzero()
    assert rows.max() - rows.min() + 1 <= 22


def test_a_vector_critic():
    critic = vector_critic(10)
    assert [m.out_features for m in critic if isinstance(m, torch.nn.Linear)] == [500, 500, 1]
    assert critic(torch.rand(3, 10)).shape == (3, 1)


def test_a_feature_critic_judges_maps_of_any_size():
    critic = feature_critic(5, width=4)
    assert critic(torch.rand(2, 5, 1, 1)).shape == (2, 1, 1, 1)
    maps = torch.rand(1, 5, 12, 12, requires_grad=True)
    critic(maps)[0, 0, 6, 6].backward()
    rows = maps.grad[0].abs().sum((0, 2)).nonzero()
    assert rows.max() - rows.min() + 1 == 7
