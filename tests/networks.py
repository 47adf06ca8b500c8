"""A network whose units are known by hand: three colours, a dead unit, and one that breaks."""

import torch
from torch import nn
from torchvision.transforms import v2

RED, GREEN, BLUE, DEAD = range(4)


class Colours(nn.Module):
    """Redness, greenness and blueness of each pixel; unit 3 never fires."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        weights = torch.tensor(
            [[1.0, -0.5, -0.5], [-0.5, 1.0, -0.5], [-0.5, -0.5, 1.0], [0.0, 0.0, 0.0]]
        )
        self.conv.weight = nn.Parameter(weights[:, :, None, None])
        self.conv.bias = nn.Parameter(torch.tensor([0.0, 0.0, 0.0, -1.0]))

    def forward(self, images):
        return torch.relu(self.conv(images))


class Spoilt(nn.Module):
    """Passes on the first three values; the fourth is not a number where there is red."""

    def forward(self, values):
        broken = torch.where(values[:, 0] > 0, float("nan"), 1.0)
        return torch.cat([values[:, :3], broken[:, None]], dim=1)


class ColourNet(nn.Module):
    """`colours` has maps, `pooled` and `spoilt` have none."""

    def __init__(self):
        super().__init__()
        self.colours = Colours()
        self.pooled = nn.AdaptiveAvgPool2d(1)
        self.flat = nn.Flatten()
        self.spoilt = Spoilt()

    def forward(self, images):
        return self.spoilt(self.flat(self.pooled(self.colours(images))))


def colour_net():
    return ColourNet()


def transforms():
    return v2.Compose([v2.Resize((16, 16)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])


def categories():
    return ["red", "green", "blue", "broken"]


class Chooser(nn.Module):
    """Colours, pooled, between one and two inputs of no meaning; a linear layer chooses."""

    def __init__(self):
        super().__init__()
        self.colours = Colours()
        self.pooled = nn.AdaptiveAvgPool2d(1)
        self.choice = nn.Linear(7, 4)
        weight = torch.zeros(4, 7)
        weight[:3, 1:4] = torch.eye(3)
        self.choice.weight = nn.Parameter(weight)
        self.choice.bias = nn.Parameter(torch.tensor([0.0, 0.0, 0.0, -1.0]))

    def forward(self, images):
        pooled = self.pooled(self.colours(images)).flatten(1)
        return self.choice(torch.cat([torch.ones(len(images), 1), pooled, pooled[:, :2]], dim=1))


def chooser_net():
    return Chooser()


class Space(nn.Module):
    """Pictures in a space of so many dimensions, as an image-text encoder has them."""

    def __init__(self, width):
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.joint = nn.Linear(3, width, bias=False)
        self.joint.weight = nn.Parameter(torch.randn(width, 3, generator=generator))

    def forward(self, images):
        return self.joint(images.mean(dim=(2, 3)))


def space_512():
    return Space(512)


def space_4():
    return Space(4)
