"""The network of most tests."""

from torch import nn

from tutelage.types import Network, Outputs


class Tiny(Network):
    """The smallest network that answers like a real one: two stages, batch norm, 8x8 images, three classes."""

    def __init__(self, width: int):
        super().__init__()
        self.widths, self.embedding_width = {"stage1": width, "stage2": 2 * width}, 2 * width
        self.stage1 = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.stage2 = nn.Sequential(nn.Conv2d(width, 2 * width, 3, 2, 1), nn.ReLU())
        self.head = nn.Linear(2 * width, 3)

    def forward(self, images):
        assert len(images), "some networks, ViT for one, cannot take an empty batch"
        stage1 = self.stage1(4 * images - 2)
        stage2 = self.stage2(stage1)
        embedding = stage2.mean((2, 3))
        return Outputs(self.head(embedding).float(), embedding.float(), {"stage1": stage1, "stage2": stage2})
