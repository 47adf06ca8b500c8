"""BERTScore: greedy matching of the tokens of two texts (Zhang et al., ICLR 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Tokens:
    """One text as its tokens.

    Attributes:
        vectors: contextual embeddings, float (T, D), of any length but 0.
        counted: bool (T,); tokens that are not counted, such as the marks of start and end, can
            be matched but do not enter the mean, as in the reference.
    """

    vectors: NDArray[np.float32]
    counted: NDArray[np.bool_]


class TokenEncoder(Protocol):
    """Anything that turns texts into contextual token embeddings."""

    def encode_tokens(self, texts: Sequence[str]) -> list[Tokens]:
        """The tokens of each text."""
        ...


def bert_scores(
    labels: Sequence[str], truths: Sequence[str], encoder: TokenEncoder
) -> NDArray[np.float64]:
    """BERTScore F1 of each label and its truth, without idf weights and without rescaling.

    Recall is the mean over the truth's tokens of the largest cosine with any token of the label,
    precision the same the other way round; F1 = 2 P R / (P + R) (BERTScore, section 3; used in
    DnD, section 4.1). Each distinct text is encoded once.

    Args:
        labels: one label for each unit, N.
        truths: what each unit responds to, N.
        encoder: gives the tokens.

    Returns:
        float64, (N,), at most 1; NaN where P + R is 0.

    Raises:
        ValueError: when there is none, the lengths differ, or a text has no token that counts.
    """
    if len(labels) != len(truths) or not len(labels):
        raise ValueError(f"{len(labels):,} labels do not fit {len(truths):,} truths")
    distinct = list(dict.fromkeys([*labels, *truths]))
    encoded = encoder.encode_tokens(distinct)
    for text, tokens in zip(distinct, encoded, strict=True):
        if not tokens.counted.any():
            raise ValueError(f"{text!r} has no token to match; leave it out")
    tokens_of = dict(zip(distinct, encoded, strict=True))
    pairs = zip(labels, truths, strict=True)
    return np.array([_f1(tokens_of[label], tokens_of[truth]) for label, truth in pairs])


def bert_score(labels: Sequence[str], truths: Sequence[str], encoder: TokenEncoder) -> float:
    """Mean of `bert_scores`."""
    return float(bert_scores(labels, truths, encoder).mean())


def _f1(label: Tokens, truth: Tokens) -> float:
    cosines = _unit_length(label.vectors) @ _unit_length(truth.vectors).T
    precision = float(cosines.max(axis=1)[label.counted].mean())
    recall = float(cosines.max(axis=0)[truth.counted].mean())
    total = precision + recall
    return 2 * precision * recall / total if total else float("nan")


def _unit_length(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    double = vectors.astype(np.float64)
    lengths = np.linalg.norm(double, axis=1, keepdims=True)
    if not (np.isfinite(lengths).all() and lengths.all()):
        raise ValueError("a token's embedding is zero, NaN or infinite; it has no direction")
    return np.asarray(double / lengths)
