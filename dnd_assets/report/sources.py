"""The page of sources: models with the hashes of their weights, settings, and runs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from dnd_assets.lineage.records import Payload
from dnd_assets.report import pages
from dnd_assets.results.unit_card.reader import Cards

_TEXTS: Final = 12
"""Values of a list that are written out; the others are counted."""
_HASH: Final = re.compile(r"(sha256:)?[0-9a-f]{40,}")
_USED: Final = (
    "SELECT DISTINCT w.key AS role, w.value ->> '$' AS provider FROM latest l, "
    "json_each(l.preimage, '$.weights') w WHERE l.study = ?"
)


@dataclass(frozen=True)
class Fact:
    """A line of what is told of a model or a setting.

    Attributes:
        name: what it is, with the names of the sections that it lies in.
        text: its value.
        hash: whether the value is a hash, which is shown in short.
    """

    name: str
    text: str
    hash: bool = False


@dataclass(frozen=True)
class Provider:
    """A model, or settings, behind products.

    Attributes:
        hash: of its fingerprint.
        title: what it is, in a word or two.
        role: what it is used as.
        facts: what its fingerprint says, line by line.
        fingerprint: the same as it was recorded.
    """

    hash: str
    title: str
    role: str
    facts: tuple[Fact, ...]
    fingerprint: Mapping[str, object]


def sources_page(cards: Cards, common: Payload) -> bytes:
    """The page of a study's models, settings and runs."""
    roles: dict[str, set[str]] = {}
    for row in cards.lineage.query(_USED, [cards.study]):
        roles.setdefault(row["provider"], set()).add(row["role"].replace("_", " "))
    found = [
        Provider(name, _title(one), ", ".join(sorted(roles[name])), tuple(facts(one)), one)
        for name, one in cards.providers(roles).items()
    ]
    runs = [(run, facts(run["versions"]), sections(run["definition"])) for run in cards.runs()]
    ordered = sorted(found, key=lambda one: (one.role, one.title, one.hash))
    return pages.render("sources.html", here="sources", runs=runs, providers=ordered, **common)


def sections(definition: Mapping[str, object]) -> list[tuple[str, list[Fact]]]:
    """A study's definition by section; what stands in none comes first, sections of nothing last.

    >>> [name for name, _ in sections({"clip": {"kind": "conse"}, "name": "mine", "milan": None})]
    ['', 'clip']
    """
    plain = {k: v for k, v in definition.items() if not isinstance(v, Mapping | list)}
    nested = {k: v for k, v in definition.items() if isinstance(v, Mapping | list) and v}
    named = [(name.replace("_", " "), facts(one)) for name, one in nested.items()]
    return [one for one in [("", facts(plain)), *named] if one[1]]


def facts(value: object, name: str = "") -> list[Fact]:
    """A value of nested tables and lists as lines, without what is not set.

    >>> facts({"a": {"b": 1, "c": None}, "d": ["x", "y"]})
    [Fact(name='a b', text='1', hash=False), Fact(name='d', text='x, y', hash=False)]
    """
    if isinstance(value, Mapping):
        below = [fact for key, one in value.items() for fact in facts(one, f"{name} {key}".strip())]
        return [Fact(one.name.replace("_", " "), one.text, one.hash) for one in below]
    if isinstance(value, list):
        return _listed(value, name)
    if value is None or value == "":
        return []
    text = {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
    return [Fact(name, text, bool(_HASH.fullmatch(text)))]


def _listed(values: Sequence[object], name: str) -> list[Fact]:
    if any(isinstance(one, Mapping | list) for one in values):
        numbered = enumerate(values, 1)
        alone = len(values) == 1
        return [f for n, v in numbered for f in facts(v, name if alone else f"{name} {n}".strip())]
    shown = [fact.text for one in values[:_TEXTS] for fact in facts(one)]
    more = [f"and {len(values) - _TEXTS:,} more"] if len(values) > _TEXTS else []
    return [Fact(name, ", ".join([*shown, *more]))] if shown else []


def _title(fingerprint: Mapping[str, object]) -> str:
    """What a fingerprint is of, in a word or two."""
    if "target" in fingerprint:
        return f"layer {fingerprint.get('layer', '')}".strip()
    if "of" in fingerprint:
        return "truths"
    for name in ("kind", "checkpoint", "model", "source"):
        said = fingerprint.get(name)
        if isinstance(said, str) and not _HASH.fullmatch(said):
            return said
    return "model" if "torch" in fingerprint else "settings"
