import pytest
import torch
from torch import nn

from tutelage.analysis.deepvid import VAE, DeepVID, explain, fit_vae, neighbours, sample_codes
from tutelage.types import BadInput, Network, Outputs


class Pixels:
    """A generator whose codes are the pixels themselves: its neighbours differ in every direction."""

    def encode(self, images):
        return images.flatten(1), torch.zeros(len(images), images[0].numel())

    def decode(self, codes):
        return codes.reshape(-1, 3, 2, 2)


class Linear(Network):
    def __init__(self):
        super().__init__()
        self.widths, self.embedding_width = {}, 4
        self.head = nn.Linear(12, 4)

    def forward(self, images):
        logits = self.head(images.flatten(1))
        return Outputs(logits, logits, {})


SETTINGS = DeepVID(neighbours=400, decay=0.0)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_a_linear_teacher_is_recovered(temperature):
    teacher, image = Linear(), torch.rand(3, 2, 2)
    found = explain(DeepVID(neighbours=400, decay=0.0, temperature=temperature), Pixels(), teacher, image)
    weight = teacher.head.weight.detach()
    torch.testing.assert_close(found.weights.flatten(1), weight - weight.mean(0), atol=2e-3, rtol=0)
    assert found.agreement > 0.99


def test_decay_shrinks_and_leaves_the_directions():
    teacher, image = Linear(), torch.rand(3, 2, 2)
    plain, small = (explain(DeepVID(neighbours=400, decay=d), Pixels(), teacher, image).weights for d in (0.0, 0.1))
    assert small.norm() < 0.95 * plain.norm()
    assert torch.cosine_similarity(small.flatten(), plain.flatten(), dim=0) > 0.95


def test_the_temperature_is_used():
    """Without decay a linear teacher is found at any; with it, softer labels are held more loosely."""
    teacher, image = Linear(), torch.rand(3, 2, 2)
    one, four = (
        explain(DeepVID(neighbours=400, decay=0.1, temperature=t), Pixels(), teacher, image).weights for t in (1.0, 4.0)
    )
    assert not torch.allclose(one, four, rtol=0.01)


def test_codes_are_drawn_with_their_variance():
    codes = sample_codes(torch.full((4000, 1), 3.0), torch.full((4000, 1), 4.0).log())
    torch.testing.assert_close(codes.mean(), torch.tensor(3.0), atol=0.15, rtol=0)
    torch.testing.assert_close(codes.std(), torch.tensor(2.0), atol=0.1, rtol=0)


def test_only_the_part_of_the_image_that_varies_is_explained():
    class Left(Pixels):
        def decode(self, codes):
            return super().decode(codes) * torch.tensor([1.0, 0.0]) + self.image * torch.tensor([0.0, 1.0])

    generator, image = Left(), torch.rand(3, 2, 2)
    generator.image = image
    found = explain(SETTINGS, generator, Linear(), image)
    assert found.weights[..., 0].any()
    assert not found.weights[..., 1].any()


def test_neighbours_lie_around_the_image_and_are_drawn_from_the_seed():
    image = torch.rand(3, 2, 2)
    near = neighbours(DeepVID(neighbours=4000, spread=0.3), Pixels(), image)
    torch.testing.assert_close(near.mean(0), image, atol=0.03, rtol=0)
    torch.testing.assert_close(near.std(0), torch.full((3, 2, 2), 0.3), atol=0.03, rtol=0)
    torch.rand(5)
    torch.testing.assert_close(near, neighbours(DeepVID(neighbours=4000, spread=0.3), Pixels(), image), rtol=0, atol=0)
    assert not torch.equal(near, neighbours(DeepVID(neighbours=4000, spread=0.3, seed=1), Pixels(), image))


def test_the_teacher_is_only_asked():
    teacher = Linear().train()
    before = teacher.head.weight.detach().clone()
    explain(SETTINGS, Pixels(), teacher, torch.rand(3, 2, 2))
    assert teacher.training
    assert teacher.head.weight.grad is None
    torch.testing.assert_close(teacher.head.weight.detach(), before, rtol=0, atol=0)


def stripes(n):
    """Bright in the rows that two numbers say: what a small autoencoder can learn."""
    a, b = torch.rand(2, n, 1, 1)
    return torch.stack([a.expand(n, 4, 4), b.expand(n, 4, 4), (1 - a).expand(n, 4, 4)], dim=1)


def test_an_autoencoder_learns_to_give_images_back_and_neighbours_look_alike():
    torch.manual_seed(0)
    vae = VAE(4, 4, codes=2, hidden=32)
    losses = list(fit_vae(vae, (stripes(64) for _ in range(500)), lr=1e-2))
    assert torch.stack(losses[-20:]).mean() < torch.stack(losses[:20]).mean() - 1
    image = stripes(1)[0]
    mean, _ = vae.encode(image[None])
    assert (vae.decode(mean)[0] - image).abs().mean() < 0.1
    near = neighbours(DeepVID(neighbours=50, spread=0.3), vae, image)
    assert near.std(0).max() > 0.005
    assert near.std((-1, -2)).mean() < 0.05  # neighbours are striped as well: each colour is flat


@pytest.mark.parametrize(
    ("fields", "said"),
    [({"neighbours": 1}, "at least 2"), ({"spread": 0.0}, "spread of DeepVID"), ({"decay": -1.0}, "decay of DeepVID")],
)
def test_wrong_settings_are_refused(fields, said):
    with pytest.raises(BadInput, match=said):
        DeepVID(**fields)
