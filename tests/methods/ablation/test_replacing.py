"""Outputs of layers without some of their units, by hand."""

from collections import OrderedDict

import pytest
import torch

from dnd_assets.errors import StudyError
from dnd_assets.methods.ablation.replacing import Replacement, ablated, unit_means, with_tensor

LAYOUTS = {"nc": (2, 3), "nchw": (2, 3, 2, 4), "nhwc": (2, 2, 4, 3), "ntc": (2, 5, 3),
           "tnc": (5, 2, 3), "nxtc": (2, 4, 5, 3)}  # fmt: skip


def made(axes):
    shape = LAYOUTS[axes]
    return torch.arange(float(torch.tensor(shape).prod())).reshape(shape) + 1


def unit(values, axes, row, channel):
    return values.movedim((axes.index("n"), axes.index("c")), (0, 1))[row, channel]


@pytest.mark.parametrize("axes", LAYOUTS)
def test_only_the_units_of_a_rows_group_are_replaced(axes):
    values = made(axes)
    kept = values.clone()
    fill = torch.tensor([10.0, 20.0, 30.0])
    found = ablated(values, axes, [(0, 2), ()], Replacement(fill=fill))
    assert torch.equal(values, kept), "the output itself stays"
    assert found.shape == values.shape
    for row, channel in ((0, 1), (1, 0), (1, 1), (1, 2)):
        assert torch.equal(unit(found, axes, row, channel), unit(values, axes, row, channel))
    assert (unit(found, axes, 0, 0) == 10).all()
    assert (unit(found, axes, 0, 2) == 30).all()


@pytest.mark.parametrize("axes", LAYOUTS)
def test_a_donor_gives_its_own_places(axes):
    values = made(axes)
    donor = -values.narrow(axes.index("n"), 1, 1)
    found = ablated(values, axes, [(1,), (0,)], Replacement(donor=donor))
    for row, channel in ((0, 1), (1, 0)):
        assert torch.equal(unit(found, axes, row, channel), unit(donor, axes, 0, channel))
    assert torch.equal(unit(found, axes, 0, 0), unit(values, axes, 0, 0))


@pytest.mark.parametrize("axes", LAYOUTS)
def test_means_are_over_all_places(axes):
    values = made(axes)
    found = unit_means(values, axes)
    assert found.shape == (2, 3)
    for row in range(2):
        for channel in range(3):
            mean = float(unit(values, axes, row, channel).mean())
            assert float(found[row, channel]) == pytest.approx(mean, rel=2**-14)


def test_the_mean_of_a_constant_unit_is_that_value_to_the_last_bit():
    constant = torch.tensor(0.1)
    assert unit_means(torch.full((1, 2, 7, 7), 0.1), "nchw")[0, 0] == constant.double()


def test_a_tensor_is_replaced_where_it_stands():
    old, other, new = torch.ones(1), torch.zeros(1), torch.full((1,), 5.0)
    assert with_tensor(old, old, new) is new
    assert with_tensor((other, old), old, new)[1] is new
    assert isinstance(with_tensor([old], old, new), list)
    table = OrderedDict(a=other, b=old)
    assert with_tensor(table, old, new)["b"] is new
    assert table["b"] is old
    with pytest.raises(StudyError, match="cannot be replaced"):
        with_tensor(7, old, new)
