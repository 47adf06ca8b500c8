"""Vectors of pictures, got or computed: what is missing is cut into blocks and handed out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dnd_assets.engine.cache.vectors import Matrix, Values
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.workers.handing_out import hand_out
from dnd_assets.engine.workers.parts import Job, Part, PartResult, Plain
from dnd_assets.lineage.fingerprint import digest
from dnd_assets.methods.sparse_matrix import SparseMatrix

BLOCK = 512
"""Pictures per stored block of vectors, about: whole batches up to this many."""


@dataclass(frozen=True)
class Wanted:
    """Vectors that are wanted.

    Attributes:
        kind: of the vectors.
        providers: hash of what makes them, by name.
        job: makes them.
        about: what the job is told besides pictures and rows.
        label: what the progress line calls the pictures.
        work: what is counted.
    """

    kind: str
    providers: Mapping[str, str]
    job: Job
    about: Mapping[str, Plain]
    label: str
    work: str


def vectors(
    context: StudyContext, request: Wanted, needs: Mapping[str, Iterable[str]], batch: int
) -> dict[str, tuple[dict[str, int], Values]]:
    """Read the known rows of each name, compute the others in one pass over the pictures."""
    kind, providers, sparse = request.kind, request.providers, request.about["sparse"]
    tables = {
        name: (context.vectors.sparse_table if name in sparse else context.vectors.table)(
            kind, providers[name], sorted(set(ids))
        )
        for name, ids in needs.items()
    }
    missing = {name: table.missing() for name, table in tables.items()}
    pending = context.pictures.in_order({picture for ids in missing.values() for picture in ids})
    progress = context.progress(request.label, len(pending))
    parts = (
        _part_of_vectors(request, block, missing)
        for block in in_parts(pending, max(batch, BLOCK // batch * batch))
    )
    for part, result in hand_out(context, request.job, parts, progress):
        context.count(request.work, len(part.items))
        for name, rows in part.about["rows"].items():
            new_ids, values = [part.items[row] for row in rows], _of_name(result, name)
            context.vectors.add(kind, providers[name], new_ids, values)
            tables[name].fill(new_ids, values)
    return {name: (table.rows, table.values) for name, table in tables.items()}


def _part_of_vectors(
    request: Wanted, block: Sequence[str], missing: Mapping[str, Collection[str]]
) -> Part:
    """A block of pictures, with the rows that are missing of each name."""
    rows = {
        name: missing_rows
        for name, ids in missing.items()
        if (missing_rows := [row for row, picture in enumerate(block) if picture in ids])
    }
    provider = digest({name: request.providers[name] for name in rows})
    return Part(block, block, {**request.about, "rows": rows}, provider)


def rows_of(part: Part, matrices: Mapping[str, Matrix]) -> PartResult:
    """The rows of each name that a part is to give; of some names what is not zero."""
    arrays: dict[str, NDArray[np.generic]] = {}
    for name, rows in part.about["rows"].items():
        matrix = matrices[name][rows]
        sparse_arrays = (
            SparseMatrix.of_dense(matrix).as_arrays() if name in part.about["sparse"] else None
        )
        arrays |= {
            f"{key} {name}": values for key, values in (sparse_arrays or {"values": matrix}).items()
        }
    return PartResult(arrays=arrays)


def _of_name(result: PartResult, name: str) -> Values:
    """The vectors of one name, see `rows_of`."""
    key_parts = {key: key.split(" ", 1) for key in result.arrays}
    arrays = {kind: result.arrays[key] for key, (kind, owner) in key_parts.items() if owner == name}
    return SparseMatrix.of_arrays(arrays) if "starts" in arrays else array(result, f"values {name}")


def array(result: PartResult, name: str) -> Matrix:
    """One of the arrays that a part gave, as float32."""
    return result.arrays[name].astype(np.float32, copy=False)


def in_parts(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Items in batches of one size, the last one perhaps smaller."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
