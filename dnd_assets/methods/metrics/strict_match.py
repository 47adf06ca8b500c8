"""A label held against a known truth word for word: it has to name the concept and nothing else.

`known_answers.target.is_correct` is the lenient question, whether the label holds the true words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from dnd_assets.known_answers.target import Truth, words
from dnd_assets.methods.dissection.candidate_concepts import content_words


@dataclass(frozen=True)
class Strict:
    """How a label does when it has to name the truth and nothing else.

    Attributes:
        exact: whether the concepts named are the truth.
        precision: share of the label's content words that are in the truth, 0 to 1.
        recall: share of the truth's words that are in the label, 0 to 1.
        f1: harmonic mean of the two; 0 where both are.
    """

    exact: bool
    precision: float
    recall: float
    f1: float


_PLACEHOLDER: Final = frozenset({"shape", "shapes"})
"""What captions call things whose shape is not told; it names no concept."""


def strict(label: str | None, truth: Truth) -> Strict | None:
    """A label held against the truth word for word.

    Small words such as "a", "with" and "on" do not count, nor does "shape", which stands for any
    object. Either of two concepts is exact only as the two joined by "or", in any order.

    Args:
        label: A label in words; None or blank stands for no label.
        truth: The unit's truth.

    Returns:
        All zero without a label, but for a dead unit, which has to have none. None for a random
        unit, which has no truth.

    >>> strict("large red circles", Truth("final", (("circle",),)))
    Strict(exact=False, precision=0.3333333333333333, recall=1.0, f1=0.5)
    """
    if truth.accepted is None:
        return None
    label_concepts = [_concept(part) for part in re.split(r"\bor\b", (label or "").lower())]
    label_words = frozenset().union(*label_concepts)
    if truth.kind == "dead":
        correct = not label_words and not (label or "").strip()
        return Strict(correct, *(float(correct),) * 3)
    true_concepts = [frozenset(accepted) for accepted in truth.accepted]
    truth_words = frozenset().union(*true_concepts)
    common = len(label_words & truth_words)
    precision, recall = (
        common / len(word_set) if word_set else 0.0 for word_set in (label_words, truth_words)
    )
    f1 = 2 * precision * recall / (precision + recall) if common else 0.0
    return Strict(set(label_concepts) == set(true_concepts), precision, recall, f1)


def _concept(text: str) -> frozenset[str]:
    """The content words of a text, those of the world in singular."""
    content = " ".join(written for _, written in content_words(text))
    return frozenset(words(content)) - _PLACEHOLDER
