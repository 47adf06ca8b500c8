"""Vectors read along directions: what a vector without numbers comes to."""

import torch

from dnd_assets.methods.sae.directions import Directions


def test_a_vector_that_is_not_finite_has_no_code_and_spoils_no_other():
    directions = Directions(torch.eye(3)[:2], reading="non_negative")
    values = torch.tensor([[[1.0, -2.0, 5.0], [float("nan"), 1.0, 1.0], [0.0, 3.0, 0.0]]])
    codes = directions.encode(values)
    expected = torch.tensor([[[1.0, 0.0], [float("nan")] * 2, [0.0, 3.0]]])
    torch.testing.assert_close(codes, expected, equal_nan=True)
    assert codes.dtype == torch.float32
    assert directions.encode(values[:, :0]).shape == (1, 0, 2)
