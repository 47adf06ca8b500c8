"""Small networks that take other pictures than RGB, and factories of them."""

import torch
from torch import nn


class Bands(nn.Module):
    """One map and unit for each band: the band itself, and its mean."""

    def __init__(self, count):
        super().__init__()
        self.bands = nn.Conv2d(count, count, 1, bias=False)
        self.pooled = nn.AdaptiveAvgPool2d(1)
        self.flat = nn.Flatten()
        with torch.no_grad():
            self.bands.weight.copy_(torch.eye(count)[..., None, None])

    def forward(self, pictures):
        return self.flat(self.pooled(self.bands(pictures)))


def one():
    return Bands(1)


def four():
    return Bands(4)


def thirteen():
    return Bands(13)
