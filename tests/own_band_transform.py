"""A network of two bands with a transform of its own, of a tensor."""

from torchvision.transforms import v2

from tests.band_networks import Bands


def two():
    return Bands(2)


def transforms():
    return v2.Compose([v2.Resize((8, 8)), v2.Normalize([1.0, 2.0], [2.0, 4.0])])
