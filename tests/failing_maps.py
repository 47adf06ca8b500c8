"""Colour maps as in `tests.networks`, of which some units fail on pictures with a white corner."""

from torch import nn

from tests.networks import Colours, transforms

__all__ = ["transforms"]
NOT_A_NUMBER, INFINITE = float("nan"), float("inf")


class Failing(nn.Module):
    """Passes maps on; where the last pixel of the first row is white, `units` fail.

    They fail in one place of the map alone.
    """

    def __init__(self, units, value, always=()):
        super().__init__()
        self.units, self.value, self.always = list(units), value, list(always)

    def forward(self, maps, images):
        found = maps.clone()
        white = (images[:, :, 0, -1] == 1).all(dim=1)
        for unit in self.units:
            found[white, unit, 3, 3] = self.value
        found[:, self.always, 3, 3] = self.value
        return found


class Net(nn.Module):
    def __init__(self, units, value=NOT_A_NUMBER, always=()):
        super().__init__()
        self.plain = Colours()
        self.colours = Failing(units, value, always)

    def forward(self, images):
        return self.colours(self.plain(images), images)


def sound():
    return Net([])


def whole_layer():
    return Net(range(4))


def all_but_red():
    """More than half of the units, so that the picture is set aside for red as well."""
    return Net([1, 2, 3])


def red_alone():
    return Net([0])


def red_and_green_infinite():
    return Net([0, 1], INFINITE)


def all_but_red_always():
    return Net([], always=[1, 2, 3])
