"""Concepts and what they are kinds of: an image that shows a dog shows an animal.

INVERT (Bykov et al. 2023, section 3) takes labels with the hierarchy of WordNet: the images of a
concept are those of all that it implies, so that a unit of dogs and cats can be told as "animal".
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

Parents = Mapping[str, Collection[str]]
"""What each concept is a kind of, directly."""


class CycleError(ValueError):
    """A concept is a kind of itself, by way of others."""

    def __init__(self, concepts: Iterable[str]) -> None:
        self.concepts = tuple(concepts)
        super().__init__(" is a kind of ".join(repr(concept) for concept in self.concepts))


def ancestors(parents: Parents) -> dict[str, frozenset[str]]:
    """All that each concept is a kind of, directly or by way of others; without itself.

    Args:
        parents: what concepts are directly kinds of; those that are named nowhere are kinds of
            nothing.

    Returns:
        By every concept that is named.

    Raises:
        CycleError: when a concept is a kind of itself.

    >>> sorted(ancestors({"poodle": ["dog"], "dog": ["animal", "pet"]})["poodle"])
    ['animal', 'dog', 'pet']
    """
    by_concept: dict[str, frozenset[str]] = {}
    for start in sorted({*parents, *(parent for direct in parents.values() for parent in direct)}):
        _climb(start, parents, by_concept)
    return by_concept


def closed(shown: Iterable[str], above: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """The concepts that an image shows, with all that they are kinds of."""
    concepts = frozenset(shown)
    return concepts.union(*(above.get(concept, frozenset()) for concept in concepts))


def _climb(start: str, parents: Parents, ancestors_of: dict[str, frozenset[str]]) -> None:
    """Put the ancestors of a concept into `found`, those of its parents first; no recursion."""
    path = [start]
    while path:
        concept = path[-1]
        direct = parents.get(concept, ())
        missing = sorted({parent for parent in direct if parent not in ancestors_of})
        if concept in ancestors_of or not missing:
            inherited = (
                (ancestors_of[parent] for parent in direct) if concept not in ancestors_of else ()
            )
            ancestors_of.setdefault(concept, frozenset(direct).union(*inherited))
            path.pop()
        elif missing[0] in path:
            raise CycleError([*path[path.index(missing[0]) :], missing[0]])
        else:
            path.append(missing[0])
