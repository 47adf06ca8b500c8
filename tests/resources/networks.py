"""Small networks for `module:` sources."""

import torch
from torch import nn
from torchvision.transforms import v2


class Counter(nn.Module):
    """Three layers; counts forward passes. Its batch norm is overwritten in place."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.act = nn.ReLU(inplace=True)
        self.unused = nn.Linear(4, 4)
        self.head = nn.Linear(4, 3)
        self.passes = 0

    def forward(self, images):
        self.passes += 1
        features = self.act(self.norm(self.conv(images)))
        return self.head(features.mean(dim=(2, 3)))


class Spoil(nn.Module):
    def forward(self, values):
        return values * torch.tensor([float("nan"), 1.0])


class Broken(nn.Module):
    """Gives NaN for its first unit."""

    def __init__(self):
        super().__init__()
        self.out = nn.Linear(3, 2)
        self.spoil = Spoil()

    def forward(self, images):
        return self.spoil(self.out(images.mean(dim=(2, 3))))


def small_net():
    return Counter()


def broken():
    return Broken()


def not_a_network():
    return "a network"


def transforms():
    return v2.Compose([v2.Resize((16, 16)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])


def categories():
    return ["cat", "dog", "bird"]
