"""The page of sources: models with the hashes of their weights, settings, and runs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from dnd_assets.lineage.records import Payload
from dnd_assets.report import pages
from dnd_assets.results.unit_card.card_reader import Cards

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
    providers = [
        Provider(
            name,
            _title(fingerprint),
            ", ".join(sorted(roles[name])),
            tuple(facts(fingerprint)),
            fingerprint,
        )
        for name, fingerprint in cards.providers(roles).items()
    ]
    runs = [(run, facts(run["versions"]), sections(run["definition"])) for run in cards.runs()]
    ordered = sorted(providers, key=lambda provider: (provider.role, provider.title, provider.hash))
    return pages.render("sources.html", here="sources", runs=runs, providers=ordered, **common)


def sections(definition: Mapping[str, object]) -> list[tuple[str, list[Fact]]]:
    """A study's definition by section; what stands in none comes first, sections of nothing last.

    >>> [name for name, _ in sections({"clip": {"kind": "conse"}, "name": "mine", "milan": None})]
    ['', 'clip']
    """
    single = {
        key: value for key, value in definition.items() if not isinstance(value, Mapping | list)
    }
    nested = {
        key: value
        for key, value in definition.items()
        if isinstance(value, Mapping | list) and value
    }
    titled = [(name.replace("_", " "), facts(table)) for name, table in nested.items()]
    return [section for section in [("", facts(single)), *titled] if section[1]]


def facts(value: object, name: str = "") -> list[Fact]:
    """A value of nested tables and lists as lines, without what is not set.

    >>> facts({"a": {"b": 1, "c": None}, "d": ["x", "y"]})
    [Fact(name='a b', text='1', hash=False), Fact(name='d', text='x, y', hash=False)]
    """
    if isinstance(value, Mapping):
        nested = [
            fact for key, item in value.items() for fact in facts(item, f"{name} {key}".strip())
        ]
        return [Fact(fact.name.replace("_", " "), fact.text, fact.hash) for fact in nested]
    if isinstance(value, list):
        return _list_facts(value, name)
    if value is None or value == "":
        return []
    text = {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
    return [Fact(name, text, bool(_HASH.fullmatch(text)))]


def _list_facts(values: Sequence[object], name: str) -> list[Fact]:
    """A list as lines: one line for plain values, a numbered group for each table or list in it."""
    if any(isinstance(item, Mapping | list) for item in values):
        numbered = enumerate(values, 1)
        is_only = len(values) == 1
        return [
            fact
            for number, item in numbered
            for fact in facts(item, name if is_only else f"{name} {number}".strip())
        ]
    texts = [fact.text for item in values[:_TEXTS] for fact in facts(item)]
    more = [f"and {len(values) - _TEXTS:,} more"] if len(values) > _TEXTS else []
    return [Fact(name, ", ".join([*texts, *more]))] if texts else []


def _title(fingerprint: Mapping[str, object]) -> str:
    """What a fingerprint is of, in a word or two."""
    if "target" in fingerprint:
        return f"layer {fingerprint.get('layer', '')}".strip()
    if "of" in fingerprint:
        return "truths"
    for name in ("kind", "checkpoint", "model", "source"):
        text = fingerprint.get(name)
        if isinstance(text, str) and not _HASH.fullmatch(text):
            return text
    return "model" if "torch" in fingerprint else "settings"
