"""Everything known of a unit on one card: label, pictures, scores, activations, metrics, lineage.

A card is read from what runs have recorded and from nothing else: no network and no model is
loaded. Cards of many units are read together, layer by layer, so that thousands take seconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dnd_assets.engine.cache.heat_maps import MAPS, map_item
from dnd_assets.engine.cache.vectors import Matrix, Vectors
from dnd_assets.errors import NotFoundError, StoreError, not_found
from dnd_assets.lineage.records import PROBING_SET, Payload, Product
from dnd_assets.lineage.rows import Row
from dnd_assets.methods.clip_dissect.activation_ranges import largest_size, sample_ranges
from dnd_assets.methods.dissection.activation_ladder import activation_ladder
from dnd_assets.methods.dissection.exemplars import top_k_columns
from dnd_assets.results.unit_card.building import card_of, distribution_of, noted_distribution
from dnd_assets.results.unit_card.card import ActivationRange, Distribution, Shown, UnitCard
from dnd_assets.results.unit_card.unit_records import ProductRecord, UnitRecords, older_inputs
from resources.artefact_store import ArtefactStore
from resources.lineage_db.database import Lineage

_RANGE_SAMPLE: Final = 6
_AT_ONCE: Final = 256
_COLUMNS_AT_ONCE: Final = 128

_COLUMNS: Final = ", ".join(f"m.{name}" for name in ProductRecord.__dataclass_fields__)
# What a run only announced again is told in the name of the run that brought it.
_FIRST: Final = (
    "QUALIFY row_number() OVER (PARTITION BY m.asset, m.unit, m.data_version "
    "ORDER BY m.recorded_at, m.run) = 1 "
)
_NEWEST: Final = (
    "WITH newest AS (SELECT asset, unit, key, data_version FROM latest "  # noqa: S608
    "WHERE study = ? AND unit <> '') "
    f"SELECT {_COLUMNS} FROM materializations m "
    "JOIN newest n USING (asset, unit, key, data_version) WHERE m.study = ? "
    f"{_FIRST} ORDER BY m.model, m.layer, m.neuron, m.asset"
)
_EARLIER: Final = (
    f"SELECT {_COLUMNS} FROM materializations m "  # noqa: S608 (columns are our own)
    "JOIN (SELECT unnest(?::VARCHAR[]) AS u, unnest(?::VARCHAR[]) AS a, "
    "unnest(?::VARCHAR[]) AS v) w ON m.unit = w.u AND m.asset = w.a AND m.data_version = w.v "
    f"WHERE m.study = ? {_FIRST}"
)


@dataclass
class Cards:
    """Reads the cards of a study's units.

    Attributes:
        lineage: the records.
        store: the artefacts.
        study: the study's name.
        names: of directions, by unit.
    """

    lineage: Lineage
    store: ArtefactStore
    study: str
    names: Mapping[str, str] = field(default_factory=dict)
    _layers: dict[tuple[str, str], _Layer | None] = field(default_factory=dict, repr=False)

    @cached_property
    def records(self) -> dict[str, dict[str, ProductRecord]]:
        """The newest product of each unit and asset, by unit and asset, without contents."""
        by_unit: dict[str, dict[str, ProductRecord]] = {}
        for row in self.lineage.query(_NEWEST, [self.study, self.study]):
            by_unit.setdefault(row["unit"], {})[row["asset"]] = ProductRecord(**row)
        return by_unit

    def card(self, unit: str) -> UnitCard:
        """One unit's card.

        Raises:
            NotFoundError: when nothing is recorded of the unit; names the nearest.
        """
        return next(iter(self.read([unit])))

    def read(self, units: Sequence[str] | None = None) -> Iterator[UnitCard]:
        """Cards of some units in their order, or of all that anything is recorded of.

        Raises:
            NotFoundError: when nothing is recorded of a unit; names the nearest.
        """
        wanted = list(self.records) if units is None else list(units)
        if not self.records:
            raise NotFoundError(f"study {self.study!r} has no results yet. Run `dnd run` first.")
        for unit in wanted:
            if unit not in self.records:
                raise not_found("unit with results", unit, self.records, "Run `dnd run` for it.")
        for start in range(0, len(wanted), _AT_ONCE):
            yield from self._part(wanted[start : start + _AT_ONCE])

    def providers(self, hashes: Iterable[str]) -> dict[str, Payload]:
        """Fingerprints of models and settings by their hash."""
        sql = "SELECT * FROM providers WHERE provider IN (SELECT unnest(?::VARCHAR[]))"
        rows = self.lineage.query(sql, [sorted(set(hashes))])
        return {row["provider"]: json.loads(row["fingerprint"]) for row in rows}

    def paths(self, hashes: Iterable[str]) -> dict[str, list[str]]:
        """Every path at which each probing image was seen."""
        sql = (
            "SELECT hash, path FROM images WHERE hash IN (SELECT unnest(?::VARCHAR[])) "
            "ORDER BY hash, path"
        )
        distinct = sorted(set(hashes))
        by_hash: dict[str, list[str]] = {}
        for row in self.lineage.query(sql, [distinct]) if distinct else ():
            by_hash.setdefault(row["hash"], []).append(row["path"])
        return by_hash

    def activations(self, product: Product) -> tuple[list[str], Matrix] | None:
        """A layer's stored activations, as one of its units' `activations` rests on them.

        Returns:
            Hashes of the probing images, and float32 (images, neurons); None where they are not
            all stored any more.
        """
        layer = self._layer(product)
        return None if layer is None else (layer.images, layer.values)

    def runs(self) -> list[Row]:
        """The study's runs, newest first: run, recorded_at, definition and versions."""
        sql = "SELECT * FROM runs WHERE study = ? ORDER BY recorded_at DESC, run"
        return [
            {**row, "definition": json.loads(row["definition"]),
             "versions": json.loads(row["versions"])}
            for row in self.lineage.query(sql, [self.study])
        ]  # fmt: skip

    def _part(self, units: Sequence[str]) -> list[UnitCard]:
        """Cards of a few hundred units."""
        with self.lineage.connect():
            found = {unit: dict(self.records[unit]) for unit in units}
            products = self.lineage.products(r.key for of in found.values() for r in of.values())
            self._follow(found, products)
            sources = [UnitRecords(unit, found[unit], products) for unit in units]
            templates = self._templates(sources)
            heat = self._heat(sources)
        # Without the connection, for which others wait: this takes longer than all queries.
        activities = self._activities(sources)
        found_cards = [
            card_of(source, templates, heat, *activity)
            for source, activity in zip(sources, activities, strict=True)
        ]
        return [replace(card, name=self.names.get(card.unit, "")) for card in found_cards]

    def _follow(
        self, records: dict[str, dict[str, ProductRecord]], products: dict[str, Product]
    ) -> None:
        """Put in the versions that the label was really made from, where newer ones followed."""
        looked_up: set[tuple[str, str, str]] = set()
        while True:
            missing = [
                version for version in older_inputs(records, products) if version not in looked_up
            ]
            if not missing:
                return
            looked_up |= set(missing)
            columns = [list(column) for column in zip(*missing, strict=True)]
            rows = self.lineage.query(_EARLIER, [*columns, self.study])
            for row in rows:
                records[row["unit"]][row["asset"]] = ProductRecord(**row)
            products |= self.lineage.products(row["key"] for row in rows)

    def _templates(self, unit_records: Sequence[UnitRecords]) -> dict[str, str]:
        """Prompt of each text-to-image provider."""
        hashes = {
            str(product.preimage["weights"]["text_to_image"])
            for unit in unit_records
            if (product := unit.product("synthetic_images"))
            and "text_to_image" in product.preimage["weights"]
        }
        fingerprints = self.providers(hashes)
        return {
            name: str(fingerprint.get("prompt", "{concept}"))
            for name, fingerprint in fingerprints.items()
        }

    def _heat(self, unit_records: Sequence[UnitRecords]) -> dict[tuple[str, str], bytes]:
        """Stored maps of exemplars, by unit and image."""
        # A network that the study names twice has two units of one map.
        items: dict[str, dict[str, list[tuple[str, str]]]] = {}
        for unit in unit_records:
            product, crops = unit.product("activations"), unit.product("crops")
            if product and crops and "target" in product.preimage["weights"]:
                side = int(crops.preimage["parameters"].get("crop_size", 0))
                pairs = items.setdefault(str(product.preimage["weights"]["target"]), {})
                for entry in product.payload.get("exemplars", ()):
                    item = map_item(entry["image"], unit.record.neuron, side)
                    pairs.setdefault(item, []).append((unit.unit, entry["image"]))
        maps: dict[tuple[str, str], bytes] = {}
        for target, pairs in items.items():
            for item, value in self.lineage.shared(MAPS, target, pairs).items():
                # A lost map is one that never was: nothing rests on it.
                with suppress(StoreError):
                    maps |= dict.fromkeys(pairs[item], self.store.blob(value["file"], value["map"]))
        return maps

    def _activities(self, sources: Sequence[UnitRecords]) -> list[_Activity]:
        """What the stored activations of the probing images say of each unit."""
        activities: list[_Activity] = [(None, (), ())] * len(sources)
        by_layer: dict[tuple[str, str], list[tuple[int, UnitRecords, Product]]] = {}
        for place, source in enumerate(sources):
            product = source.product("activations")
            if product is not None:
                by_layer.setdefault(_layer_key(product), []).append((place, source, product))
        for members in by_layer.values():
            layer = self._layer(members[0][2])
            for start in range(0, len(members), _COLUMNS_AT_ONCE):
                part = members[start : start + _COLUMNS_AT_ONCE]
                columns = _Columns.of(layer, [source.record.neuron for _, source, _ in part])
                for place, source, product in part:
                    activities[place] = _activity(source, product, columns)
        return activities

    def _layer(self, product: Product) -> _Layer | None:
        """A layer's stored activations; None where they are not all stored any more."""
        key = _layer_key(product)
        if key not in self._layers:
            self._layers.clear()  # one layer at a time: the matrices are large
            with self.lineage.connect():  # opened once for all that is asked
                self._layers[key] = self._read_layer(*key)
        return self._layers[key]

    def _read_layer(self, provider: str, version: str) -> _Layer | None:
        sql = "SELECT payload FROM products WHERE asset = ? AND data_version = ? LIMIT 1"
        rows = self.lineage.query(sql, [PROBING_SET, version])
        if not rows:
            return None
        try:
            manifest = self.store.get(str(json.loads(rows[0]["payload"])["manifest"]))
        except StoreError:
            return None
        images: list[str] = json.loads(manifest)
        values, stored = Vectors(self.lineage, self.store).read("activations", provider, images)
        return _Layer(images, values) if len(images) and stored.all() else None


@dataclass(frozen=True)
class _Layer:
    """Activations of a layer, float32 (images, neurons), and the images' hashes."""

    images: list[str]
    values: Matrix


_Activity = tuple[Distribution | None, tuple[ActivationRange, ...], tuple[Shown, ...]]
"""Distribution, ranges and ladder of a unit, as far as they can be told."""


def _layer_key(product: Product) -> tuple[str, str]:
    """Provider of a unit's activations, and version of the probing set that it was shown."""
    preimage = product.preimage
    version = str(preimage["inputs"].get(PROBING_SET, ""))
    return str(preimage["weights"].get("target", "")), version


@dataclass(frozen=True)
class _Columns:
    """Activations of some units of one layer.

    Attributes:
        images: hashes of the probing images.
        values: float32 (images,) by neuron; without neurons that the layer has not.
        order: the first of each finite column's rows by activation, as `sample_ranges` asks.
    """

    images: list[str]
    values: Mapping[int, NDArray[np.float32]]
    order: Mapping[int, list[int]]

    @classmethod
    def of(cls, layer: _Layer | None, neurons: Sequence[int]) -> _Columns:
        """The columns of some neurons; none where the layer is not stored any more."""
        if layer is None:
            return cls([], {}, {})
        known = sorted({neuron for neuron in neurons if neuron < layer.values.shape[1]})
        rows = np.ascontiguousarray(layer.values[:, known].T)
        finite = np.flatnonzero(np.isfinite(rows).all(axis=1))
        most = largest_size(len(layer.images))
        order = top_k_columns(rows[finite].T, layer.images, most).T.tolist()
        by_neuron = {known[row]: column for row, column in zip(finite, order, strict=True)}
        return cls(layer.images, dict(zip(known, rows, strict=True)), by_neuron)


def _activity(unit: UnitRecords, product: Product, columns: _Columns) -> _Activity:
    """What a unit's stored activations say of it."""
    neuron = unit.record.neuron
    column, images = columns.values.get(neuron), columns.images
    if column is None:
        return noted_distribution(product), (), ()
    order = columns.order.get(neuron)
    if order is None:
        finite = np.flatnonzero(np.isfinite(column))
        if not product.ok or not len(finite):
            return None, (), ()
        column, images = column[finite], [images[row] for row in finite]
    fires = product.outcome.notes.get("summary", {}).get("fires")
    distribution = distribution_of(column, fires)
    if not product.ok:
        return distribution, (), ()

    def shown(rows: Iterable[int]) -> tuple[Shown, ...]:
        return tuple(Shown(images[row], float(column[row])) for row in rows)

    spans = sample_ranges(column, images, unit.unit, n=_RANGE_SAMPLE, order=order)
    ranges = tuple(ActivationRange(span.share, span.size, shown(span.images)) for span in spans)
    return distribution, ranges, shown(activation_ladder(column, images))
