"""A study's newest products from the lineage, in batches, as rows of tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from dnd_assets.errors import not_found
from dnd_assets.lineage.rows import Row
from dnd_assets.results.tables.columns import NewestProduct, Table
from dnd_assets.results.tables.lineage_tables import (
    LLM_CALLS,
    MATERIALIZATIONS,
    MODELS,
    PROVIDERS,
    RUNS,
    STAGE_RUNS,
    UNITS,
    WORK,
    WORKERS,
)
from dnd_assets.results.tables.registry import rows_of, tables_for
from resources.lineage_db.database import Lineage

_AT_ONCE: Final = 512
_NEWEST: Final = """
SELECT asset, unit, model, layer, neuron, key, run, recorded_at FROM latest WHERE study = ?
ORDER BY asset, model, layer, neuron
"""


@dataclass(frozen=True)
class Rows:
    """Rows of some products of one asset, by table."""

    products: int
    by_table: dict[str, list[Row]]


@dataclass
class TableSource:
    """The newest products of a study, as they were when they were first asked for.

    Attributes:
        lineage: the lineage.
        study: the study's name.
    """

    lineage: Lineage
    study: str
    _providers: set[str] = field(default_factory=set)
    _calls: set[str] = field(default_factory=set)

    @cached_property
    def newest(self) -> list[Row]:
        """The newest materialization of every asset and unit."""
        return self.lineage.query(_NEWEST, [self.study])

    @property
    def assets(self) -> list[str]:
        """The assets that have a product."""
        return list(dict.fromkeys(row["asset"] for row in self.newest))

    def tables(self) -> list[Table]:
        """The tables of the study."""
        return tables_for(self.assets)

    def table(self, name: str) -> Table:
        """A table of the study by its name.

        Raises:
            NotFoundError: when there is none; names the nearest.
        """
        by_name = {table.name: table for table in self.tables()}
        if name not in by_name:
            advice = "A table is there once its asset has run."
            raise not_found(f"table of {self.study!r}", name, by_name, advice)
        return by_name[name]

    def records(self, asset: str) -> Iterator[list[NewestProduct]]:
        """One asset's products, some hundred at a time, ordered by unit."""
        rows = [row for row in self.newest if row["asset"] == asset]
        for start in range(0, len(rows), _AT_ONCE):
            yield self._records(rows[start : start + _AT_ONCE])

    def batches(self, asset: str, tables: Sequence[Table]) -> Iterator[Rows]:
        """Rows of one asset's products, some hundred products at a time, ordered by unit."""
        for records in self.records(asset):
            yield Rows(
                len(records),
                {table.name: [row for record in records for row in rows_of(table, record)]
                 for table in tables},
            )  # fmt: skip

    def _records(self, rows: Sequence[Row]) -> list[NewestProduct]:
        products = self.lineage.products(row["key"] for row in rows)
        for product in products.values():
            self._providers.update(product.preimage.get("weights", {}).values())
            self._calls.update(product.outcome.notes.get("calls", ()))
        return [
            NewestProduct(
                row["asset"], row["unit"], row["model"], row["layer"], row["neuron"], row["run"],
                row["recorded_at"], products[row["key"]],
            )
            for row in rows
            if row["key"] in products
        ]  # fmt: skip

    def units(self) -> list[Row]:
        """The units with the assets that have a product of them."""
        by_key: dict[str, Row] = {}
        for row in self.newest:
            if row["unit"]:
                names = ("unit", "model", "layer", "neuron")
                unit_row = by_key.setdefault(
                    row["unit"], {**{n: row[n] for n in names}, "assets": []}
                )
                unit_row["assets"].append(row["asset"])
        return sorted(
            by_key.values(),
            key=lambda unit_row: (unit_row["model"], unit_row["layer"], unit_row["neuron"]),
        )

    def whole_tables(self) -> Iterator[tuple[str, list[Row]]]:
        """The tables of units, runs, materializations, providers, work and calls.

        Providers and calls are those of the products that have been read in batches.
        """
        yield UNITS.name, self.units()
        yield RUNS.name, self._query(RUNS, "runs", "study = ? ORDER BY recorded_at, run")
        announced = self._query(
            MATERIALIZATIONS, "materializations",
            "study = ? ORDER BY recorded_at, run, asset, unit",
        )  # fmt: skip
        yield MATERIALIZATIONS.name, [{**row, "unit": row["unit"] or None} for row in announced]
        yield WORK.name, self._query(WORK, "work", "study = ? ORDER BY run, asset, what")
        order = "study = ? ORDER BY run, asset, role, part, source"
        yield MODELS.name, self._query(MODELS, "models", order)
        yield (
            STAGE_RUNS.name,
            self._query(STAGE_RUNS, "stage_runs", "study = ? ORDER BY recorded_at, run, asset"),
        )
        order = "study = ? ORDER BY run, asset, worker"
        yield WORKERS.name, self._query(WORKERS, "workers", order)
        yield PROVIDERS.name, self._among(PROVIDERS, "provider", self._providers)
        yield LLM_CALLS.name, self._among(LLM_CALLS, "request_hash", self._calls)

    def _query(self, table: Table, name: str, condition: str) -> list[Row]:
        columns = ", ".join(f'"{column.name}"' for column in table.columns)
        # Tables and columns are those of our own schema.
        return self.lineage.query(f"SELECT {columns} FROM {name} WHERE {condition}", [self.study])  # noqa: S608

    def _among(self, table: Table, key: str, values: Iterable[str]) -> list[Row]:
        columns = ", ".join(f'"{column.name}"' for column in table.columns)
        sql = (
            f"SELECT {columns} FROM {table.name} "  # noqa: S608 (our own schema)
            f"WHERE {key} IN (SELECT unnest(?::VARCHAR[])) ORDER BY {key}"
        )
        return self.lineage.query(sql, [sorted(values)])

    def probing_files(self, hashes: Iterable[str]) -> dict[str, Row]:
        """What is known of probing images among some pictures, by hash."""
        sql = (
            "SELECT hash, list(path ORDER BY path) AS paths, first(width ORDER BY path) AS width, "
            "first(height ORDER BY path) AS height, first(mode ORDER BY path) AS mode, "
            "first(format ORDER BY path) AS format, first(bytes ORDER BY path) AS bytes "
            "FROM images WHERE hash IN (SELECT unnest(?::VARCHAR[])) GROUP BY hash"
        )
        rows = self.lineage.query(sql, [sorted(hashes)])
        return {row.pop("hash"): row for row in rows}
