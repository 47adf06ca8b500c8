"""A network with the layers that the documentation names."""

from torch import nn

from tests.networks import transforms

__all__ = ["categories", "like_lite0", "transforms"]


class LikeLite0(nn.Module):
    """Layers named as those of EfficientNet-Lite0, seeded and small."""

    def __init__(self):
        super().__init__()
        self._blocks = nn.ModuleList(
            [nn.Sequential(nn.Conv2d(3 if i == 0 else 4, 4, 1), nn.ReLU()) for i in range(16)]
        )
        self._fc = nn.Linear(4, 10)

    def forward(self, images):
        for block in self._blocks[:-1]:
            images = block(images) + images.mean(dim=1, keepdim=True)
        return self._fc(self._blocks[-1](images).mean(dim=(2, 3)))


def like_lite0():
    return LikeLite0()


def categories():
    return [f"class {number}" for number in range(10)]
