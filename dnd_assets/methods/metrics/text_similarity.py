"""Labels against texts: similarity, exact matches, agreement between methods, predicted classes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


class TextEncoder(Protocol):
    """Anything that turns texts into unit vectors: CLIP's text tower, a sentence encoder."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors of texts, float32 (N, D), whatever batches they are computed in."""
        ...


def similarities(
    labels: Sequence[str], truths: Sequence[str], encoder: TextEncoder
) -> NDArray[np.float64]:
    """Cosine of each label and its truth (CLIP-Dissect, section 4.2; DnD, section 4.1).

    Each distinct text is encoded once.

    Args:
        labels: one label for each unit, N.
        truths: what each unit responds to, N.
        encoder: the space in which they are compared.

    Returns:
        float64, (N,), in [-1, 1].

    Raises:
        ValueError: when there is none, the lengths differ, a text is blank, or the encoder does
            not give unit vectors.
    """
    _check_pairs(labels, truths)
    vectors = _encode([*labels, *truths], encoder)
    rows = [np.stack([vectors[text] for text in texts]) for texts in (labels, truths)]
    return np.asarray(np.clip(_cosines(*rows), -1.0, 1.0))


def label_similarity(labels: Sequence[str], truths: Sequence[str], encoder: TextEncoder) -> float:
    """Mean cosine of labels and truths: the paper's CLIP cos and mpnet cos (DnD, section 4.1).

    Args:
        labels: one label for each unit, N.
        truths: what each unit responds to, N.
        encoder: the space in which they are compared.

    Raises:
        ValueError: as `similarities`.
    """
    return float(similarities(labels, truths, encoder).mean())


def exact_matches(labels: Sequence[str], truths: Sequence[str]) -> NDArray[np.bool_]:
    """Which labels are their truth letter for letter, bool (N,).

    The mean is the top-1 accuracy where the concept set holds the classes (CLIP-Dissect,
    table 3). Case and spaces count: such labels are copied, not written.

    Raises:
        ValueError: when there is none, the lengths differ or a text is blank.
    """
    _check_pairs(labels, truths)
    return np.array([label == truth for label, truth in zip(labels, truths, strict=True)])


def accuracy(labels: Sequence[str], truths: Sequence[str]) -> float:
    """Share of labels that are their truth letter for letter; see `exact_matches`."""
    return float(exact_matches(labels, truths).mean())


def label_agreement(
    labels: Mapping[str, Sequence[str]], encoder: TextEncoder
) -> dict[tuple[str, str], float]:
    """How alike the labels of several methods are: mean cosine over the units for each pair.

    Args:
        labels: for each method one label of each unit, in the same order of units.
        encoder: the space in which they are compared.

    Returns:
        For each pair of methods, in their given order, a number in [-1, 1].

    Raises:
        ValueError: for fewer than two methods, or as `similarities`.
    """
    if len(labels) < 2:
        raise ValueError(f"agreement takes two methods at least, not {sorted(labels)}")
    for texts in labels.values():
        _check_pairs(texts, next(iter(labels.values())))
    vectors = _encode(list(itertools.chain.from_iterable(labels.values())), encoder)
    rows = {method: np.stack([vectors[t] for t in texts]) for method, texts in labels.items()}
    return {
        (first, second): float(_cosines(rows[first], rows[second]).mean())
        for first, second in itertools.combinations(rows, 2)
    }


def contributions(activations: Floats, weights: Floats, outputs: Sequence[int]) -> Floats:
    """What each unit adds to the output that the network chose: activation times weight.

    Args:
        activations: pooled activations of the layer before the outputs, (N, U).
        weights: of the linear layer that follows, (C, U).
        outputs: the network's own choice for each input, N numbers in [0, C).

    Returns:
        float, (N, U).

    Raises:
        ValueError: when shapes do not fit.
    """
    class_of = np.asarray(outputs, dtype=np.int64)
    fits = activations.ndim == 2 and weights.ndim == 2 and class_of.shape == activations.shape[:1]
    if not fits or activations.shape[1] != weights.shape[1]:
        raise ValueError(
            "activations, weights and outputs have to be of shapes (N, U), (C, U) and (N,), not "
            f"{activations.shape}, {weights.shape} and {class_of.shape}"
        )
    if len(class_of) and not (class_of.min() >= 0 and class_of.max() < len(weights)):
        raise ValueError(f"outputs have to be in [0, {len(weights)})")
    return np.asarray(activations * weights[class_of])


def predict_classes(
    contributed: Floats, labels: Sequence[str], classes: Sequence[str], encoder: TextEncoder
) -> NDArray[np.int64]:
    """The class of each input, read off the label of its most contributing unit alone.

    Good labels of the units that drive an output say what the input is.
    The class is the one whose name is nearest to the label; ties go to the first unit and the
    first class.

    Args:
        contributed: what each unit adds, (N, U); see `contributions`.
        labels: of the units, U.
        classes: their names, C.
        encoder: the space in which labels and names are compared.

    Returns:
        int64, (N,), numbers of classes.

    Raises:
        ValueError: when shapes do not fit, a value is not finite, or a text is blank.
    """
    if contributed.ndim != 2 or contributed.shape[1] != len(labels) or not len(classes):
        raise ValueError(
            f"contributions of shape {contributed.shape} do not fit {len(labels)} labels and "
            f"{len(classes)} classes"
        )
    if not np.isfinite(contributed).all():
        raise ValueError("contributions hold NaN or infinite values; none is the largest")
    vectors = _encode([*labels, *classes], encoder)
    names = np.stack([vectors[name] for name in classes])
    cosines = np.stack([vectors[label] for label in labels]) @ names.T
    return np.asarray(cosines.argmax(axis=1)[contributed.argmax(axis=1)], dtype=np.int64)


def _encode(texts: Sequence[str], encoder: TextEncoder) -> dict[str, NDArray[np.float64]]:
    blank = [i for i, text in enumerate(texts) if not text.strip()]
    if blank:
        raise ValueError(f"text {blank[0]} is blank; leave units without a label out")
    distinct = list(dict.fromkeys(texts))
    vectors = np.asarray(encoder.encode(distinct), dtype=np.float64)
    if vectors.ndim != 2 or len(vectors) != len(distinct):
        raise ValueError(f"{len(distinct)} texts gave vectors of shape {vectors.shape}")
    lengths = np.linalg.norm(vectors, axis=1)
    if not np.allclose(lengths, 1.0, atol=1e-3):  # NaN is caught too
        raise ValueError("the encoder gave vectors that are not of length 1")
    return dict(zip(distinct, vectors / lengths[:, None], strict=True))


def _cosines(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each row of two tables of unit vectors, (N, D) and (N, D) -> (N,)."""
    return np.asarray(np.einsum("nd,nd->n", a, b))


def _check_pairs(labels: Sequence[str], truths: Sequence[str]) -> None:
    if isinstance(labels, str) or isinstance(truths, str):
        raise TypeError("labels and truths are sequences of texts, not one text")
    if len(labels) != len(truths):
        raise ValueError(f"{len(labels):,} labels do not fit {len(truths):,} truths")
    if not labels:
        raise ValueError("there is no label to compare")
