"""Vectors by picture content: pooled activations of a layer, embeddings of an encoder.

Rows of one kind and provider lie in blocks, safetensors files of `ids` (uint8, n x 32, the
SHA-256 of each picture) and `values` (float32, n x width), or of `ids` and what is not zero
(`SparseMatrix`). A picture is passed once, whatever units, runs or studies ask for it; what is
known is read back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dnd_assets.errors import StoreError
from dnd_assets.lineage.records import artefact_row
from dnd_assets.methods.sparse_matrix import Matrix, SparseMatrix, Values, dense
from resources.artefact_store import ArtefactStore
from resources.lineage_db.database import Lineage

__all__ = ["Matrix", "SparseTable", "Values", "VectorTable", "Vectors", "dense"]


@dataclass
class VectorTable:
    """Vectors of some pictures, as far as they are known.

    Attributes:
        rows: row of each picture, by its hash.
        values: float32 (pictures, width); unknown rows are zero, and the width is 0 while nothing
            is known.
        found: which rows are known, bool (pictures,).
    """

    rows: dict[str, int]
    values: Matrix
    found: NDArray[np.bool_]

    def missing(self) -> set[str]:
        """Hashes of the pictures whose vectors are not known."""
        return {name for name, row in self.rows.items() if not self.found[row]}

    def fill(self, ids: Sequence[str], vectors: Values) -> None:
        """Put in vectors that have become known, float32 (len(ids), width)."""
        values = dense(vectors)
        if self.values.shape[1] == 0:
            self.values = np.zeros((len(self.rows), values.shape[1]), dtype=np.float32)
        rows = [self.rows[name] for name in ids]
        self.values[rows] = values
        self.found[rows] = True


@dataclass
class SparseTable:
    """As `VectorTable`, of vectors that are mostly zero.

    Attributes:
        rows: row of each picture, by its hash.
        found: which rows are known, bool (pictures,).
        parts: what is known: the rows, and their vectors.
    """

    rows: dict[str, int]
    found: NDArray[np.bool_]
    parts: list[tuple[NDArray[np.int64], SparseMatrix]] = field(default_factory=list)

    def missing(self) -> set[str]:
        """Hashes of the pictures whose vectors are not known."""
        return {name for name, row in self.rows.items() if not self.found[row]}

    def fill(self, ids: Sequence[str], vectors: Values) -> None:
        """Put in vectors that have become known, (len(ids), width)."""
        rows = np.array([self.rows[name] for name in ids], dtype=np.int64)
        matrix = vectors if isinstance(vectors, SparseMatrix) else SparseMatrix.of_dense(vectors)
        self.parts.append((rows, matrix))
        self.found[rows] = True

    @property
    def values(self) -> SparseMatrix:
        """The table (pictures, width); unknown rows are zero."""
        if not self.parts:
            return SparseMatrix.zeros(len(self.rows), 0)
        width = self.parts[0][1].shape[1]
        unknown = np.flatnonzero(~self.found)
        parts = [*self.parts, (unknown, SparseMatrix.zeros(len(unknown), width))]
        order = np.argsort(np.concatenate([rows for rows, _ in parts]), kind="stable")
        stacked: SparseMatrix = SparseMatrix.stacked([matrix for _, matrix in parts])[order]
        return stacked


@dataclass
class Vectors:
    """Blocks of vectors in the store, indexed in lineage.

    Attributes:
        lineage: knows the blocks of each kind and provider.
        store: holds them.
    """

    lineage: Lineage
    store: ArtefactStore

    def read(
        self, kind: str, provider: str, ids: Sequence[str]
    ) -> tuple[Matrix, NDArray[np.bool_]]:
        """The known rows among `ids`.

        Returns:
            Values, float32 (len(ids), width; width 0 when nothing is known), and which rows are
            known, bool (len(ids),). Unknown rows are zero.
        """
        indices: dict[bytes, list[int]] = {}
        for index, name in enumerate(ids):
            indices.setdefault(bytes.fromhex(name), []).append(index)
        found = np.zeros(len(ids), dtype=np.bool_)
        values: Matrix = np.zeros((len(ids), 0), dtype=np.float32)
        for block_ids, block_values in self._blocks(kind, provider):
            block = dense(block_values)
            if values.shape[1] == 0:
                values = np.zeros((len(ids), block.shape[1]), dtype=np.float32)
            for row, name in enumerate(block_ids):
                for index in indices.get(name.tobytes(), ()):
                    values[index] = block[row]
                    found[index] = True
        return values, found

    def unknown(self, kind: str, provider: str, ids: Iterable[str]) -> set[str]:
        """Those of `ids` whose vectors are not known; holds one block in memory at a time."""
        unknown_ids = set(ids)
        for block_ids, _ in self._blocks(kind, provider):
            unknown_ids -= {name.tobytes().hex() for name in block_ids}
        return unknown_ids

    def table(self, kind: str, provider: str, ids: Sequence[str]) -> VectorTable:
        """What is known of distinct pictures, ready to be filled."""
        values, found = self.read(kind, provider, ids)
        return VectorTable({name: row for row, name in enumerate(ids)}, values, found)

    def sparse_table(self, kind: str, provider: str, ids: Sequence[str]) -> SparseTable:
        """What is known of distinct pictures whose vectors are mostly zero, ready to be filled."""
        table = SparseTable({name: row for row, name in enumerate(ids)}, np.zeros(len(ids), bool))
        for block_ids, block_values in self._blocks(kind, provider):
            names = [name.tobytes().hex() for name in block_ids]
            new_rows = [
                row
                for row, name in enumerate(names)
                if name in table.rows and not table.found[table.rows[name]]
            ]
            if new_rows:
                table.fill([names[row] for row in new_rows], block_values[new_rows])
        return table

    def add(self, kind: str, provider: str, ids: Sequence[str], values: Values) -> None:
        """Store and record rows; `values` is (len(ids), width). A reader keeps none."""
        if not ids or not self.lineage.keeps:
            return
        keys = np.frombuffer(b"".join(bytes.fromhex(name) for name in ids), np.uint8)
        arrays: dict[str, NDArray[np.generic]] = {"ids": keys.reshape(len(ids), 32)}
        if isinstance(values, SparseMatrix):
            arrays |= values.as_arrays()
        else:
            arrays["values"] = values.astype(np.float32)
        file = self.store.put_arrays(arrays)
        size = self.store.size(file)
        row = {"kind": kind, "provider": provider, "item": file, "value": f'{{"rows":{len(ids)}}}'}
        artefact = artefact_row(file.partition(".")[0], file, kind, size)
        self.lineage.commit({"artefacts": [artefact], "shared": [row]})

    def _blocks(self, kind: str, provider: str) -> Iterator[tuple[NDArray[np.uint8], Values]]:
        for file in self.lineage.shared_items(kind, provider):
            try:
                arrays: Mapping[str, NDArray[np.generic]] = self.store.arrays(file)
            except StoreError:
                continue  # a lost block is computed anew, like one that never was
            ids = arrays["ids"].astype(np.uint8)
            if "starts" in arrays:
                yield ids, SparseMatrix.of_arrays(arrays)
            else:
                yield ids, arrays["values"].astype(np.float32, copy=False)
