"""A network whose units fire, saturate, dip and fail on known pictures, told by their colour."""

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision.transforms import v2

LEVELS = (220, 200, 180)
"""Red of the pictures on which unit `FEW` fires, the strongest first."""
FEW, SHIFTED, SIGNED, DEAD = range(4)
_MARK = 37
"""Blue of the picture on which the network fails."""


def write_pictures(folder, silent=11, marked=False):
    """Three red pictures, and others without red; one more on which the network fails."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, level in enumerate(LEVELS):
        _write(folder / f"red-{index}.png", (level, 0, 0))
    for index in range(silent):
        _write(folder / f"silent-{index:02d}.png", (0, 60 + 10 * index, 0))
    if marked:
        _write(folder / "fails.png", (250, 0, _MARK))


def _write(path, colour):
    Image.fromarray(np.full((16, 16, 3), colour, dtype=np.uint8)).save(path)


class Firing(nn.Module):
    """A ReLU of red above a third; the same less a half; green less red, with its sign;
    nothing.

    Where the picture is marked by its blue, `failing` of the units are not a number.
    """

    def __init__(self, failing=4):
        super().__init__()
        self.failing = failing

    def forward(self, images):
        red, green, blue = images.mean(dim=(2, 3)).T
        few = torch.relu(red - 1 / 3)
        found = torch.stack([few, few - 0.5, green - red / 9 - 0.4, torch.zeros_like(red)], dim=1)
        marked = (blue - _MARK / 255).abs() < 1e-4
        columns = torch.arange(found.shape[1]) < self.failing
        return found.masked_fill(marked[:, None] & columns, float("nan"))


class Whole(nn.Module):
    """The units as the one layer `units`."""

    def __init__(self, failing=4):
        super().__init__()
        self.units = Firing(failing)

    def forward(self, images):
        return self.units(images)


def firing_net():
    return Whole()


def one_failing_net():
    return Whole(failing=1)


def transforms():
    return v2.Compose([v2.Resize((16, 16)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
