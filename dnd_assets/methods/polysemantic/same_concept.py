"""Which labels of a unit's groups of exemplars are one concept, by what the unit answers to.

Pictures of one concept may fall into several groups, and each group's label may add what its
pictures happen to have besides: "small green rings", "large purple ring". What the labels have in
common is one concept if the unit answers to pictures of it, "ring", about as much as to pictures of
the labels. Two unrelated concepts may have a word in common as well, "large crosses" and "large
purple"; but to pictures of "large" the unit does not answer.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dnd_assets.methods.dissection.candidate_concepts import phrase_shares


@dataclass(frozen=True)
class OneConcept:
    """Groups that are one concept.

    Attributes:
        label: what it is called.
        groups: positions of the groups, ascending.
    """

    label: str
    groups: tuple[int, ...]


def common_phrases(first: str, second: str) -> list[str]:
    """The phrases of one to three words that two labels share, plurals and singulars alike.

    A phrase that is the whole of a label is written as in that label, the others in singular;
    longest first, then by text.

    >>> common_phrases("small green rings", "large purple ring")
    ['ring']
    >>> common_phrases("circles", "circle on sand")
    ['circles']
    """
    whole_labels = {_whole_phrase(text): text for text in (second, first)}
    shared = [phrase for phrase, share in phrase_shares([first, second]).items() if share == 1.0]
    shared.sort(key=lambda phrase: (-len(phrase.split()), phrase))
    return [whole_labels.get(phrase, phrase) for phrase in shared]


def phrases_to_try(labels: Sequence[str]) -> set[str]:
    """Every phrase that `one_concept_each` may ask for: the labels, and what they share."""
    pairs = itertools.combinations(dict.fromkeys(labels), 2)
    return {*labels, *(phrase for pair in pairs for phrase in common_phrases(*pair))}


def one_concept_each(
    labels: Sequence[str], responses: Mapping[str, float], base: float, part: float = 0.5
) -> list[OneConcept]:
    """Groups put together whose labels are one concept.

    Groups are taken in order. Each joins the first concept found so far with which it shares a
    phrase that the unit answers to: r(phrase) - base is at least `part` times the smaller of the
    two labels' r - base. Of several such phrases the one with the largest response names the
    concept, ties to the longest. Equal labels are one concept.

    Args:
        labels: label of each group, the most important first.
        responses: r, mean activation of the unit on pictures of each phrase; a phrase without one
            is not tried.
        base: mean activation on any picture.
        part: in [0, 1].

    Returns:
        Concepts in the order of their first groups.

    Raises:
        ValueError: when a label has no response, or `part` is out of range.
    """
    missing = [label for label in labels if label not in responses]
    if missing or not 0 <= part <= 1:
        raise ValueError(f"no response to {missing}, or part = {part} is not in [0, 1]")
    concepts: list[OneConcept] = []
    for group, label in enumerate(labels):
        for place, concept in enumerate(concepts):
            name = _shared_concept(concept.label, label, responses, base, part)
            if name is not None:
                concepts[place] = OneConcept(name, (*concept.groups, group))
                break
        else:
            concepts.append(OneConcept(label, (group,)))
    return concepts


def _shared_concept(
    first: str, second: str, responses: Mapping[str, float], base: float, part: float
) -> str | None:
    if first == second:
        return first
    required_response = part * (min(responses[first], responses[second]) - base)
    answered = [p for p in common_phrases(first, second) if p in responses]
    answered = [phrase for phrase in answered if responses[phrase] - base >= required_response]
    return max(answered, key=responses.__getitem__, default=None)


def _whole_phrase(label: str) -> str:
    """A label's longest phrase, if it is all of its words that name something."""
    phrases = phrase_shares([label])
    longest = max(phrases, key=lambda phrase: len(phrase.split()), default="")
    words = {word for phrase in phrases for word in phrase.split()}
    return longest if set(longest.split()) == words else ""
