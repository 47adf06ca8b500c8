"""ConSE: pictures among texts by what a classifier makes of them (Norouzi et al. 2014).

A classifier and a sentence encoder together make a space of pictures and texts, without any model
trained on both. It knows what the classes know: colours, textures and scenes only as far as they
bring classes along.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

TOP: Final = 10
"""Predicted classes that stand for a picture: the authors' T = 10."""


def conse(probabilities: Floats, classes: Floats, top: int = TOP) -> NDArray[np.float64]:
    """Convex combination of the embeddings of a picture's likeliest classes.

    f(x) = (1/Z) sum over t = 1 .. T of p(y_t|x) s(y_t), Z = sum of these p(y_t|x) (Norouzi et al.
    2014, eq. 3). Only directions count in the space, so f(x) is brought to length 1.

    Args:
        probabilities: of each class for each picture, (N, C), not negative.
        classes: s(y), the embedding of each class name, (C, D).
        top: T; all classes where there are fewer.

    Returns:
        float64, (N, D), rows of Euclidean norm 1. Equal probabilities rank in the order of classes.

    Raises:
        ValueError: when shapes do not fit, `top` is not positive, a probability is negative or not
            finite, a picture has no class, or its classes cancel each other out.
    """
    class_probabilities, vectors = np.asarray(probabilities, float), np.asarray(classes, float)
    if (
        class_probabilities.ndim != 2
        or vectors.ndim != 2
        or class_probabilities.shape[1] != len(vectors)
        or top < 1
    ):
        raise ValueError(
            f"probabilities {class_probabilities.shape}, classes {vectors.shape} and top {top} do "
            "not fit; they are (N, C), (C, D) and a positive number"
        )
    if not np.isfinite(class_probabilities).all() or (class_probabilities < 0).any():
        raise ValueError("a probability is negative, NaN or infinite")
    order = np.argsort(-class_probabilities, axis=1, kind="stable")[:, :top]
    shares = np.take_along_axis(class_probabilities, order, axis=1)
    # One picture after the other: a product of matrices sums in an order that depends on N.
    combined = np.array([share @ vectors[row] for share, row in zip(shares, order, strict=True)])
    combined = combined.reshape(len(class_probabilities), vectors.shape[1])
    norms = np.linalg.norm(combined, axis=1, keepdims=True)
    if (norms < np.finfo(float).tiny).any():
        raise ValueError("a picture has no class, or its classes cancel each other out")
    return np.asarray(combined / norms)
