"""What changed between two versions of a product, by name and value, down to the first cause."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dnd_assets.errors import NotFoundError, not_found
from dnd_assets.lineage.fingerprint import Preimage
from dnd_assets.lineage.records import (
    CONCEPT_ACTIVATIONS,
    CONCEPT_MASKS,
    HELD_OUT_IMAGES,
    PROBING_SET,
    UNPARTITIONED,
    Payload,
)
from dnd_assets.lineage.rows import Query

_SHOWN = 12
_VERSIONS = """
SELECT m.run, m.key, m.data_version, m.recorded_at, p.preimage, p.payload
FROM materializations m JOIN products p USING (key)
WHERE m.study = ? AND m.asset = ? AND m.unit = ? ORDER BY m.recorded_at, m.run
"""


@dataclass(frozen=True)
class Version:
    """One materialization of a product of a unit, with what it was made from."""

    run: str
    key: str
    data_version: str
    preimage: Preimage
    payload: Payload
    recorded_at: str = ""


@dataclass(frozen=True)
class Change:
    """One difference.

    Attributes:
        asset: the product whose preimage differs.
        what: what differs, such as `parameter crop_overlap` or `image 3f2a… added`.
        before: the earlier value as JSON text; empty where there is none.
        after: the later value as JSON text; empty where there is none.
    """

    asset: str
    what: str
    before: str = ""
    after: str = ""

    def as_json(self) -> dict[str, object]:
        """The change with its values as JSON values; None where there is none."""
        return {
            "asset": self.asset,
            "what": self.what,
            "before": self._value(self.before),
            "after": self._value(self.after),
        }

    def _value(self, text: str) -> object:
        """What a text says; hashes, and what is not JSON, stand there as they are."""
        if not text or self.what in ("code", "content"):
            return text or None
        try:
            value: object = json.loads(text)
        except ValueError:
            return text
        return value

    def __str__(self) -> str:
        if not self.before and not self.after:
            return f"{self.asset}: {self.what}"
        return f"{self.asset}: {self.what} {self.before or 'none'} → {self.after or 'none'}"


def versions(query: Query, study: str, asset: str, unit: str) -> list[Version]:
    """Every materialization of a unit's product, oldest first."""
    rows = query(_VERSIONS, [study, asset, "" if asset in UNPARTITIONED else unit])
    return [
        Version(
            row["run"],
            row["key"],
            row["data_version"],
            json.loads(row["preimage"]),
            json.loads(row["payload"]),
            row["recorded_at"],
        )
        for row in rows
    ]


def pair(
    query: Query, study: str, asset: str, unit: str, against: str | None = None
) -> tuple[Version, Version]:
    """The newest version and the one to compare it with.

    Args:
        query: access to the lineage database.
        study: the study's name.
        asset: the product.
        unit: the unit's key.
        against: a run (or the start of its id); None takes the last version made in another way.

    Raises:
        NotFoundError: when there is nothing to compare.
    """
    history = versions(query, study, asset, unit)
    if not history:
        raise NotFoundError(f"study {study!r} has no {asset} of {unit!r}. Run `dnd run {unit}`.")
    newest = _shown(query, study, asset, unit, history)
    if against is not None:
        matching = [version for version in history if version.run.startswith(against)]
        if not matching:
            raise not_found(
                f"run with {asset} of {unit}", against, [version.run for version in history]
            )
        return matching[-1], newest
    different = [version for version in history if version.key != newest.key]
    earlier = [version for version in different if version.recorded_at <= newest.recorded_at]
    if not different:
        raise NotFoundError(
            f"{asset} of {unit!r} has been made in one way only, so there is nothing to compare; "
            "`dnd trace` shows what it was made from."
        )
    return (earlier or different)[-1], newest


def _shown(query: Query, study: str, asset: str, unit: str, history: Sequence[Version]) -> Version:
    """The version that readers are shown: the newest, or the one of the present settings."""
    sql = "SELECT run, key FROM latest WHERE study = ? AND asset = ? AND unit = ?"
    rows = query(sql, [study, asset, "" if asset in UNPARTITIONED else unit])
    latest = [(row["run"], row["key"]) for row in rows]
    return next(
        (version for version in reversed(history) if (version.run, version.key) in latest),
        history[-1],
    )


def explain(
    query: Query, study: str, asset: str, unit: str, old: Version, new: Version
) -> list[Change]:
    """Every first cause of a difference: settings, code, weights, images; inputs are followed.

    Args:
        query: access to the lineage database.
        study: the study's name.
        asset: the product.
        unit: the unit's key.
        old: the earlier version.
        new: the later version.
    """
    causes = list(own_changes(query, asset, old.preimage, new.preimage))
    before, after = old.preimage["inputs"], new.preimage["inputs"]
    for name in sorted({*before, *after}):
        if before.get(name) == after.get(name):
            continue
        if asset in UNPARTITIONED:
            continue  # its inputs are images or concepts, not products
        causes += _through(query, study, name, unit, before.get(name), after.get(name))
    return list(dict.fromkeys(causes))


def own_changes(query: Query, asset: str, old: Preimage, new: Preimage) -> Iterator[Change]:
    """Differences of code, parameters and weights between two preimages of one product."""
    if old["code"] != new["code"]:
        yield Change(asset, "code", old["code"], new["code"])
    yield from _values(asset, "parameter ", old["parameters"], new["parameters"])
    for name in sorted({*old["weights"], *new["weights"]}):
        before, after = old["weights"].get(name), new["weights"].get(name)
        if before != after:
            fingerprints = _providers(query, [provider for provider in (before, after) if provider])
            yield from _values(
                asset, f"{name} ", fingerprints.get(before, {}), fingerprints.get(after, {})
            )


def _values(asset: str, prefix: str, old: object, new: object) -> Iterator[Change]:
    """Differing leaves of two JSON values, by dotted name."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in sorted({*old, *new}):
            path = f"{prefix}{name}."
            yield from _values(asset, path, old.get(name), new.get(name))
    elif old != new:
        yield Change(asset, prefix.rstrip("."), _text(old), _text(new))


def _text(value: object) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _providers(query: Query, hashes: Sequence[str]) -> dict[str | None, object]:
    """Fingerprints of models and settings by their hash."""
    sql = "SELECT * FROM providers WHERE provider IN (SELECT unnest(?::VARCHAR[]))"
    return {row["provider"]: json.loads(row["fingerprint"]) for row in query(sql, [list(hashes)])}


def _through(
    query: Query, study: str, asset: str, unit: str, before: str | None, after: str | None
) -> list[Change]:
    """The causes of a changed input."""
    history = versions(query, study, asset, unit)
    old = next((version for version in reversed(history) if version.data_version == before), None)
    new = next((version for version in reversed(history) if version.data_version == after), None)
    if old is None or new is None:
        return [Change(asset, "content", (before or "")[:12], (after or "")[:12])]
    causes = explain(query, study, asset, unit, old, new)
    if asset in (PROBING_SET, HELD_OUT_IMAGES):
        causes += [Change(asset, "images", str(old.payload["images"]), str(new.payload["images"]))]
    if asset == CONCEPT_ACTIVATIONS:
        causes += [Change(asset, "concepts", *(_concepts(version) for version in (old, new)))]
    if asset == CONCEPT_MASKS:
        causes += [Change(asset, "images with masks", *(_masks(version) for version in (old, new)))]
    return causes or [Change(asset, "content", before[:12] if before else "", (after or "")[:12])]


def _concepts(version: Version) -> str:
    """How many concepts a set has, and the start of its hash."""
    return f"{version.payload['count']} ({version.preimage['inputs']['concepts'][:12]})"


def _masks(version: Version) -> str:
    """How many images with masks and concepts there are, and the start of the manifest's hash."""
    payload = version.payload
    return f"{payload['images']} of {payload['concepts']} concepts ({payload['masks'][:12]})"


def image_changes(old: Sequence[str], new: Sequence[str]) -> list[Change]:
    """Images of a probing set that were added or removed, the first few of each by name."""
    changes = []
    for word, names in (
        ("added", sorted(set(new) - set(old))),
        ("removed", sorted(set(old) - set(new))),
    ):
        changes += [Change("probing_set", f"image {name[:12]}… {word}") for name in names[:_SHOWN]]
        if len(names) > _SHOWN:
            changes.append(Change("probing_set", f"{len(names) - _SHOWN:,} more images {word}"))
    return changes
