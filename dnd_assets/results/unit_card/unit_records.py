"""Records of one unit: the newest of each product, and what they hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dnd_assets.lineage.records import UNPARTITIONED, Payload, Product


@dataclass(frozen=True, slots=True)
class ProductRecord:
    """The newest version of one product as it was first recorded, without its content."""

    asset: str
    unit: str
    model: str
    layer: str
    neuron: int
    key: str
    data_version: str
    status: str
    reason: str
    run: str
    recorded_at: str
    reused: bool
    seconds: float
    device: str


@dataclass(frozen=True)
class UnitRecords:
    """A unit's records with their products."""

    unit: str
    records: Mapping[str, ProductRecord]
    products: Mapping[str, Product]

    @property
    def record(self) -> ProductRecord:
        """Any one record: model, layer and neuron are the same in all."""
        return next(iter(self.records.values()))

    def product(self, asset: str) -> Product | None:
        """The product of an asset; None where nothing is recorded."""
        record = self.records.get(asset)
        return self.products.get(record.key) if record else None

    def content(self, asset: str) -> Payload:
        """The payload of an asset's product; empty where nothing is recorded."""
        product = self.product(asset)
        return product.payload if product else {}


def older_inputs(
    by_unit: Mapping[str, Mapping[str, ProductRecord]], products: Mapping[str, Product]
) -> Iterator[tuple[str, str, str]]:
    """(unit, asset, version) of inputs behind a label whose newest version is another."""
    for unit, records in by_unit.items():
        pending, visited = ["labels"], set()
        while pending:
            asset = pending.pop()
            product = products.get(records[asset].key) if asset in records else None
            if product is None or asset in visited:
                continue
            visited.add(asset)
            for name, version in product.preimage["inputs"].items():
                if name in UNPARTITIONED or name not in records:
                    continue
                if records[name].data_version != version:
                    yield unit, name, version
                pending.append(name)


def own_first(asset: str) -> tuple[bool, str]:
    """What methods are sorted by: the study's own labels, then the others by name."""
    return asset != "labels", asset
