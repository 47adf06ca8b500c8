"""A finished label on trial: pictures painted from it against natural ones (CoSy).

Kopf et al., CoSy: Evaluating Textual Explanations of Neurons, NeurIPS 2024, section 3.3. The
pictures have to be fresh, not those that chose the label.
"""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def cosy_auc(synthetic: Floats, natural: Floats) -> float:
    """How often a painted picture activates the unit more than a natural one.

    The share of pairs (a1, a0) with a1 > a0, ties counting one half: the area under the ROC
    curve. Two constant and equal vectors give 0.5, since all pairs tie.

    Args:
        synthetic: A1, activations on pictures of the label, (M,).
        natural: A0, activations on the probing images, (N,).

    Returns:
        A number in [0, 1]; 0.5 is chance.

    Raises:
        ValueError: when either is empty, not a vector, or not finite.
    """
    a1, a0 = _check(synthetic, natural)
    ranks = scipy.stats.rankdata(np.concatenate([a1, a0]))[: len(a1)]
    pairs = len(a1) * len(a0)
    return float((ranks.sum() - len(a1) * (len(a1) + 1) / 2) / pairs)


def cosy_mad(synthetic: Floats, natural: Floats) -> float:
    """Mean activation difference: (mean A1 - mean A0) / std A0.

    The standard deviation divides by N, as in the paper.

    Args:
        synthetic: A1, activations on pictures of the label, (M,).
        natural: A0, activations on the probing images, (N,).

    Returns:
        Any number; NaN when A0 is constant, since differences then have no scale.

    Raises:
        ValueError: when either is empty, not a vector, or not finite.
    """
    a1, a0 = _check(synthetic, natural)
    if a0.max() == a0.min():
        return float("nan")
    return float((a1.mean() - a0.mean()) / a0.std())


def _check(synthetic: Floats, natural: Floats) -> tuple[Floats, Floats]:
    a1, a0 = (np.asarray(values, dtype=np.float64) for values in (synthetic, natural))
    for name, values in (("synthetic", a1), ("natural", a0)):
        if values.ndim != 1 or not len(values):
            raise ValueError(
                f"activations on {name} pictures are a vector of one at least, not of shape "
                f"{values.shape}"
            )
        if not np.isfinite(values).all():
            raise ValueError(f"activations on {name} pictures hold NaN or infinite values")
    return a1, a0
