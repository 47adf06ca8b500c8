"""Networks with as many units as a benchmark asks for."""

import torch
from torch import nn
from torchvision.transforms import v2


def _randomise(units: nn.Linear | nn.Conv2d) -> None:
    """Give a layer the same random weights each time."""
    generator = torch.Generator().manual_seed(0)
    units.weight = nn.Parameter(torch.randn(units.weight.shape, generator=generator))


class Wide(nn.Module):
    """Random linear units of an 8 x 8 picture; layer `units` has `count` of them."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.units = nn.Linear(3 * 8 * 8, count)
        _randomise(self.units)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Activations, (images, count)."""
        return self.units(images.flatten(1))


def wide_100() -> nn.Module:
    """100 units."""
    return Wide(100)


def wide_400() -> nn.Module:
    """400 units."""
    return Wide(400)


def wide_1000() -> nn.Module:
    """1,000 units."""
    return Wide(1_000)


class Maps(nn.Module):
    """Random 3 x 3 convolutions of an 8 x 8 picture; layer `units` has `count` of them."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.units = nn.Conv2d(3, count, 3, padding=1)
        _randomise(self.units)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Activations, (images, count, 8, 8)."""
        return self.units(images)


def maps_20() -> nn.Module:
    """20 units with maps."""
    return Maps(20)


def maps_40() -> nn.Module:
    """40 units with maps."""
    return Maps(40)


def wide_4000() -> nn.Module:
    """4,000 units."""
    return Wide(4_000)


def wide_16000() -> nn.Module:
    """16,000 units."""
    return Wide(16_000)


def wide_30000() -> nn.Module:
    """30,000 units."""
    return Wide(30_000)


def transforms() -> v2.Compose:
    """Eight pixels a side."""
    return v2.Compose([v2.Resize((8, 8)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
