"""Units: one neuron of one layer of one network, and their partition keys.

A unit's key reads `model/layer/neuron`, each part a slug, for example `resnet50/layer4/1234`.
Dagster takes two partition dimensions at most, so the three coordinates travel in one key.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from dnd_assets.errors import not_found

_NOT_SLUG = re.compile(r"[^a-z0-9._-]+")
_HASHED = re.compile(r"-[0-9a-f]{8}$")


@dataclass(frozen=True, order=True, slots=True)
class Unit:
    """One neuron: a channel of a map, a feature of a token, or an output of a linear layer.

    Attributes:
        model: the model's name in the study.
        layer: the layer's path in the network's `named_modules()`.
        neuron: index of the channel, feature or output, from 0.
    """

    model: str
    layer: str
    neuron: int

    @property
    def key(self) -> str:
        """The partition key, `model/layer/neuron` in slugs."""
        return f"{slug(self.model)}/{slug(self.layer)}/{self.neuron}"

    def __str__(self) -> str:
        return self.key


@cache
def slug(name: str) -> str:
    """`name` in lower-case letters, digits, dots, dashes and underscores.

    A name that had to be changed, or that ends like a hash, gets eight digits of its hash, so that
    two different names never share a slug.

    >>> slug("layer4.2.conv3")
    'layer4.2.conv3'
    >>> slug("Layer 4") == slug("layer-4")
    False
    """
    base = _NOT_SLUG.sub("-", name.lower()).strip(".-") or "x"
    base = base.replace("...", "-")[:80]
    if base == name and not _HASHED.search(name):
        return base
    return f"{base}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def by_layer(units: Iterable[Unit]) -> dict[tuple[str, str], list[Unit]]:
    """Units grouped by (model, layer), groups and units in their given order."""
    groups: dict[tuple[str, str], list[Unit]] = {}
    for unit in units:
        groups.setdefault((unit.model, unit.layer), []).append(unit)
    return groups


class UnitIndex(Mapping[str, Unit]):
    """The units of a study by partition key, in the order of the study."""

    def __init__(self, units: Sequence[Unit]) -> None:
        """Index `units`; the order is kept."""
        self._units = {unit.key: unit for unit in units}

    def __getitem__(self, key: str) -> Unit:
        if key in self._units:
            return self._units[key]
        advice = "A unit reads model/layer/neuron; `dnd layers` lists them."
        raise not_found("unit", key, self._units, advice)

    def __contains__(self, key: object) -> bool:
        return key in self._units

    def __iter__(self) -> Iterator[str]:
        return iter(self._units)

    def __len__(self) -> int:
        return len(self._units)

    def select(self, patterns: Sequence[str]) -> list[Unit]:
        """The units whose keys match any of `patterns`, in the order of the study.

        A pattern is a whole key (`net/fc/3`), a prefix of whole parts (`net`, `net/fc`), or a
        range of neurons (`net/fc/3-9`). An empty list selects every unit.

        Raises:
            NotFoundError: when a pattern matches nothing; names the nearest keys.
        """
        if not patterns:
            return list(self._units.values())
        keys = {key for pattern in patterns for key in self._matching(pattern)}
        return [unit for key, unit in self._units.items() if key in keys]

    def _matching(self, pattern: str) -> list[str]:
        if pattern in self._units:  # a whole key is no prefix of another
            return [pattern]
        span = re.fullmatch(r"(.+)/(\d+)-(\d+)", pattern)
        if span:
            prefix, low, high = span[1], int(span[2]), int(span[3])
            keys = [
                k
                for k, u in self._units.items()
                if k == f"{prefix}/{u.neuron}" and low <= u.neuron <= high
            ]
        else:
            prefix = pattern.rstrip("/")
            keys = [k for k in self._units if k == prefix or k.startswith(prefix + "/")]
        if not keys:
            advice = "A unit reads model/layer/neuron; a prefix or a range (net/fc/3-9) works too."
            raise not_found("unit", pattern, self._units, advice)
        return keys
