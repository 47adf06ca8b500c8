"""The typed records that a run leaves behind: products and their materializations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Literal, TypedDict

from dnd_assets.lineage.fingerprint import Preimage, canonical, digest

Status = Literal[
    "ok",
    "dead",
    "not_finite",
    "unreadable",
    "no_label",
    "no_map",
    "no_captions",
    "no_concepts",
    "no_concept",
    "invalid_response",
    "service_error",
    "over_budget",
    "rejected",
    "refused",
    "cut_off",
    "no_answer",
    "no_classes",
]
"""How a unit's product ended. Everything but `ok` passes on to the products that follow."""

RETRYABLE: frozenset[str] = frozenset({"service_error", "over_budget"})
"""Failures of a service, not of the unit: asked again in the next run."""


PROBING_SET = "probing_set"
CONCEPT_ACTIVATIONS = "concept_activations"
HELD_OUT_IMAGES = "held_out_images"
CONCEPT_MASKS = "concept_masks"
UNPARTITIONED: frozenset[str] = frozenset(
    {PROBING_SET, CONCEPT_ACTIVATIONS, CONCEPT_MASKS, HELD_OUT_IMAGES}
)
"""Assets that belong to the whole study, not to a unit."""


LABELS_SUFFIX = "_labels"
METRICS_SUFFIX = "_metrics"
"""What the assets of other methods' labels end in."""


def is_labels(asset: str) -> bool:
    """Whether an asset is labels: the study's own, or those of another method."""
    return asset == "labels" or asset.endswith(LABELS_SUFFIX)


Payload = Mapping[str, Any]
"""Content of a product, or what is noted beside it, as JSON. Which keys it has depends on the
asset, whose file names them."""


class LabelEntry(TypedDict):
    """An entry of `labels` in a product of labels: a text and the method's own score."""

    label: str
    score: float


@dataclass(frozen=True)
class Outcome:
    """What a stage computed for one unit.

    Attributes:
        status: `ok`, or the typed failure.
        payload: the product itself as JSON; its hash is the data version.
        reason: why the status is not `ok`, for people.
        notes: what is worth keeping but is no part of the result: `files` names the store files
            that hold the product's pictures.
    """

    status: Status
    payload: Payload = field(default_factory=dict)
    reason: str = ""
    notes: Payload = field(default_factory=dict)

    @cached_property
    def data_version(self) -> str:
        """Hash of the content: equal content upstream stops a change there."""
        return digest({"status": self.status, "payload": self.payload})


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """What others need to know of a stored product: its version, status and store files."""

    data_version: str
    status: Status
    reason: str = ""
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Product:
    """A stored outcome with the fingerprint that leads to it."""

    key: str
    asset: str
    preimage: Preimage
    outcome: Outcome

    @property
    def data_version(self) -> str:
        """Hash of the product's content."""
        return self.outcome.data_version

    @property
    def payload(self) -> Payload:
        """The product as JSON."""
        return self.outcome.payload

    @property
    def ok(self) -> bool:
        """Whether the stage succeeded for this product."""
        return self.outcome.status == "ok"

    def row(self) -> dict[str, object]:
        """The row of table `products`."""
        return {
            "key": self.key,
            "asset": self.asset,
            "data_version": self.data_version,
            "status": self.outcome.status,
            "reason": self.outcome.reason,
            "payload": canonical(self.outcome.payload),
            "preimage": canonical(self.preimage),
            "notes": canonical(self.outcome.notes),
        }


@dataclass(frozen=True)
class Materialization:
    """One product announced for one unit by one run, computed there or reused."""

    run: str
    study: str
    asset: str
    unit: str
    model: str
    layer: str
    neuron: int | None
    key: str
    data_version: str
    code_version: str
    status: str
    reason: str
    reused: bool
    device: str
    seconds: float
    recorded_at: str

    def row(self) -> dict[str, object]:
        """The row of table `materializations`."""
        return dict(vars(self))

    def failure_row(self) -> dict[str, object]:
        """The row of table `failures`, of one whose service gave nothing."""
        names = ("run", "study", "asset", "unit", "key", "status", "reason", "recorded_at")
        return {name: getattr(self, name) for name in names}


def now() -> str:
    """The present moment as records write it: ISO 8601, UTC, microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def artefact_row(content: str, file: str, kind: str, size: int) -> dict[str, object]:
    """The row of table `artefacts` for content that has just been stored.

    Args:
        content: SHA-256 of the content.
        file: the store file that holds it.
        kind: what it is.
        size: its bytes.
    """
    return {"hash": content, "file": file, "kind": kind, "bytes": size, "recorded_at": now()}
