"""Why a unit has its label: every product behind it, down to images, prompts, seeds and weights."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dnd_assets.errors import NotFoundError
from dnd_assets.lineage.fingerprint import Preimage
from dnd_assets.lineage.records import UNPARTITIONED, Payload
from dnd_assets.lineage.rows import Query, Row

_BY_VERSION = """
SELECT m.*, p.payload, p.preimage, p.notes FROM materializations m JOIN products p USING (key)
WHERE m.study = ? AND m.asset = ? AND m.unit = ? AND m.data_version = ?
ORDER BY m.recorded_at DESC, m.run DESC LIMIT 1
"""
_LATEST = """
SELECT m.*, p.notes FROM latest m JOIN products p USING (key)
WHERE m.study = ? AND m.asset = ? AND m.unit = ?
"""
_MODELS = """
SELECT role, part, source, revision, bytes, licence, server FROM models
WHERE run = ? AND study = ? AND asset = ? AND (role <> 'target' OR part = ?)
ORDER BY role, part, source
"""


@dataclass(frozen=True)
class Step:
    """One product behind a label, as it was recorded.

    Attributes:
        asset: its name.
        record: its materialization.
        payload: its content.
        preimage: what its key is the hash of.
        weights: fingerprints of its models, by name.
        models: where these models came from in that run: source, revision, licence.
    """

    asset: str
    record: Row
    payload: Payload
    preimage: Preimage
    weights: Mapping[str, Payload]
    models: Sequence[Row] = ()

    @property
    def notes(self) -> Payload:
        """What was noted beside the product."""
        notes_json: Payload = json.loads(self.record.get("notes") or "{}")
        return notes_json

    def summary(self) -> Row:
        """What made it: key, versions, code, parameters, weights, run, device, seconds."""
        names = (
            "status", "reason", "key", "data_version", "run", "device", "seconds", "recorded_at"
        )  # fmt: skip
        return {
            **{name: self.record[name] for name in names},
            "code": self.preimage["code"],
            "parameters": self.preimage["parameters"],
            "inputs": self.preimage["inputs"],
            "weights": self.weights,
            "models": [dict(model) for model in self.models],
        }


@dataclass(frozen=True)
class Trace:
    """A unit's label and everything it came from.

    Attributes:
        study: the study's name.
        unit: the unit's key.
        steps: the products by asset, from the asset asked for down to the probing set.
        images: path, size and format of every probing image involved, by hash.
    """

    study: str
    unit: str
    steps: Mapping[str, Step]
    images: Mapping[str, Row]

    def as_json(self) -> dict[str, object]:
        """The whole trace as one JSON document."""
        return {
            "study": self.study,
            "unit": self.unit,
            "products": {
                name: {**step.summary(), "content": dict(step.payload)}
                for name, step in self.steps.items()
            },
            "images": {name: dict(image) for name, image in self.images.items()},
        }

    def payload(self, asset: str) -> Payload:
        """A product's content; empty when the unit never got there."""
        return self.steps[asset].payload if asset in self.steps else {}

    def prompt(self, concept: str) -> str:
        """The prompt that a concept was painted from."""
        step = self.steps.get("synthetic_images")
        template = step.weights.get("text_to_image", {}).get("prompt", "{concept}") if step else ""
        return str(template).replace("{concept}", concept)


def trace(query: Query, study: str, unit: str, asset: str = "labels") -> Trace:
    """Follow a product of a unit back through the versions it was really made from.

    Args:
        query: access to the lineage database.
        study: the study's name.
        unit: the unit's key.
        asset: where to start.

    Raises:
        NotFoundError: when nothing was recorded for the unit; says what to run.
    """
    steps: dict[str, Step] = {}
    pending: list[tuple[str, str]] = [(asset, "")]
    while pending:
        name, version = pending.pop(0)
        if name in steps:
            continue
        step = _step(query, study, name, "" if name in UNPARTITIONED else unit, version)
        if step is None:
            if name == asset:
                raise NotFoundError(
                    f"study {study!r} has no {asset} of {unit!r}. Run `dnd run {unit}` first."
                )
            continue
        steps[name] = step
        pending += [item for item in step.preimage["inputs"].items() if name not in UNPARTITIONED]
    return Trace(study, unit, steps, _images(query, steps))


def _step(query: Query, study: str, asset: str, unit: str, version: str) -> Step | None:
    if version:
        rows = query(_BY_VERSION, [study, asset, unit, version])
    else:
        rows = query(_LATEST, [study, asset, unit])
    if not rows:
        return None
    row = rows[0]
    preimage = json.loads(row.pop("preimage"))
    payload = json.loads(row.pop("payload"))
    models = query(_MODELS, [row["run"], study, asset, row["model"]])
    return Step(asset, row, payload, preimage, _weights(query, preimage["weights"]), models)


def _weights(query: Query, providers: Mapping[str, str]) -> dict[str, Payload]:
    """The fingerprint of each model by its role, from the hashes of the fingerprints."""
    sql = "SELECT * FROM providers WHERE provider IN (SELECT unnest(?::VARCHAR[]))"
    rows = query(sql, [list(providers.values())]) if providers else []
    fingerprints = {row["provider"]: json.loads(row["fingerprint"]) for row in rows}
    return {
        name: fingerprints.get(provider, {"provider": provider})
        for name, provider in providers.items()
    }


def _images(query: Query, steps: Mapping[str, Step]) -> dict[str, Row]:
    """The probing images that any step names, by hash, with all paths of each."""
    hashes = sorted({name for step in steps.values() for name in image_hashes(step.payload)})
    rows = query(
        "SELECT * FROM images WHERE hash IN (SELECT unnest(?::VARCHAR[])) ORDER BY hash, path",
        [hashes],
    )
    images: dict[str, Row] = {}
    for row in rows:
        entry = images.setdefault(row["hash"], {**row, "paths": []})
        entry.pop("path", None)
        entry["paths"].append(row["path"])
    return images


def image_hashes(value: object) -> Iterator[str]:
    """Every picture hash inside a product's content."""
    if isinstance(value, Mapping):
        for key, entry in value.items():
            if key in ("image", "crop") and isinstance(entry, str):
                yield entry
            else:
                yield from image_hashes(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from image_hashes(entry)
