"""Images from the whole range of a unit's activations, a step at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dnd_assets.methods.dissection.exemplars import Floats


def activation_ladder(values: Floats, ids: Sequence[str], n: int = 10) -> list[int]:
    """The images whose activations lie nearest to `n` evenly spaced levels, the highest first.

    Levels run from the largest activation to the smallest, both included; they are spaced by
    value and not by rank, so that the few images of a long tail are among them. An image near to
    several levels is named once, and of images equally near the one of the lowest id is taken.

    Args:
        values: pooled activations of one unit, (N,), finite.
        ids: content hash of each image.
        n: levels.

    Returns:
        Positions of the images, at most `n`.

    Raises:
        ValueError: when there is no image, lengths differ, or `n` is below 2.
    """
    if not len(values) or len(ids) != len(values) or n < 2:
        raise ValueError(
            f"{len(values):,} values, {len(ids):,} ids and n = {n} give none; there has to be an "
            "id for each value, and n has to be 2 or more"
        )
    activations = values.astype(np.float64)
    rows: dict[int, None] = {}
    for level in np.linspace(activations.max(), activations.min(), n):
        distances = np.abs(activations - level)
        rows[
            min((int(i) for i in np.flatnonzero(distances == distances.min())), key=ids.__getitem__)
        ] = None
    return sorted(rows, key=lambda i: (-activations[i], ids[i]))
