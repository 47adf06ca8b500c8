"""`dnd merge`: what was made in several state folders apart, united in one.

Files first, then records, in commits that may be repeated: a merge that was cut off is done again,
and adds what is lacking. Nothing that is recorded here is replaced.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from dnd_assets.errors import NotFoundError, StoreError
from dnd_assets.lineage.fingerprint import canonical
from resources.artefact_store import ArtefactStore, store_of
from resources.lineage_db.database import Lineage
from resources.lineage_db.index import KEYED
from resources.lineage_db.reader import LineageReader

_TABLES = (
    "providers", "images", "artefacts", "shared", "llm_calls", "products", "runs", "models",
    "stage_runs", "work", "removed", "failures", "materializations",
)  # fmt: skip
"""In this order: what is announced has been recorded."""
_AT_ONCE = 2_000
"""Rows looked at, and committed, together."""
_PLACES = ("file", "row")
"""Where in the store a shared result lies: the same result may lie in another pack elsewhere."""
Row = dict[str, object]


@dataclass(frozen=True, order=True)
class Difference:
    """One thing that two folders made, and that is not the same.

    Attributes:
        what: a product's asset, or the kind of a shared result.
        of: its unit, or the item.
        here: content in the one folder.
        there: content in the other.
        folders: the two.
    """

    what: str
    of: str
    here: str
    there: str
    folders: tuple[str, str]


@dataclass
class Merged:
    """What a merge found and did.

    Attributes:
        differences: what was made twice and does not agree; nothing of it was replaced.
        rows: rows added, by table.
        files: files copied into the store.
        damaged: files of other folders that have changed since they were written, left there.
        done: whether anything was added at all.
    """

    differences: list[Difference] = field(default_factory=list)
    rows: Counter[str] = field(default_factory=Counter)
    files: int = 0
    damaged: list[str] = field(default_factory=list)
    done: bool = False


def merge(
    home: Path,
    sources: Sequence[Path],
    named: str = "",
    *,
    keep: bool = False,
    log: Callable[[str], None] = lambda _: None,
) -> Merged:
    """Add to a state folder what others hold.

    Args:
        home: the state folder that is added to.
        sources: the others; they are read only.
        named: where the artefacts of `home` lie, as `store_of` takes it.
        keep: where the same was made twice and does not agree, keep what is here (of the others,
            what the first one has) and add the rest. Otherwise nothing at all is added.
        log: where progress goes.

    Raises:
        NotFoundError: when a source is no state folder, or is `home`.
    """
    for source in sources:
        _require_state(source, home)
    lineage, merged = Lineage(root=str(home)), Merged()
    with lineage.exclusive(log, "merge"):
        readers = [LineageReader(root=str(source)) for source in sources]
        merged.differences = _differences([lineage, *readers])
        if merged.differences and not keep:
            return merged
        for source, reader in zip(sources, readers, strict=True):
            store = store_of(home, named)
            _copy_files(reader, _store_at(source, store), store, merged)
            _copy_rows(lineage, reader, merged)
            log(f"{source}: taken in")
        merged.done = True
        lineage.settle()
    return merged


def _require_state(source: Path, home: Path) -> None:
    if not (source / "journal").is_dir():
        raise NotFoundError(
            f"{source} is no state folder: it has no journal. Name the folders that DND_HOME named "
            "where the others ran (`.dnd` beside the study, if it was not set)."
        )
    if source.resolve() == home.resolve():
        raise NotFoundError(f"{source} is the state folder itself; name the others alone")


def _store_at(source: Path, store: ArtefactStore) -> ArtefactStore:
    """The store of another folder: in it, or the one that all share."""
    if (source / "store").is_dir():
        return ArtefactStore(root=str(source / "store"), reading=True)
    return store


def _differences(folders: Sequence[Lineage]) -> list[Difference]:
    """What any two folders made that is not the same."""
    differences = [
        difference
        for here, there in combinations(folders, 2)
        for difference in (*_products_apart(here, there), *_shared_apart(here, there))
    ]
    return sorted(differences)


def _products_apart(here: Lineage, there: Lineage) -> Iterator[Difference]:
    """Products of one key whose contents differ."""
    sql = "SELECT key, asset, data_version FROM products"
    for rows in _parts(there, sql):
        local_rows = _by_key(here, f"{sql} WHERE key IN (SELECT unnest(?::VARCHAR[]))", rows)
        for row in rows:
            local_row = local_rows.get(row["key"], row)
            if local_row["data_version"] != row["data_version"]:
                units = there.query(
                    "SELECT unit FROM materializations WHERE key = ? ORDER BY unit", [row["key"]]
                )
                unit = str(units[0]["unit"]) if units else ""
                yield Difference(
                    str(row["asset"]),
                    unit,
                    str(local_row["data_version"]),
                    str(row["data_version"]),
                    (here.root, there.root),
                )


def _shared_apart(here: Lineage, there: Lineage) -> Iterator[Difference]:
    """Shared results of one item whose values differ."""
    sql = "SELECT kind, provider, item, value, concat_ws(chr(31), kind, provider, item) AS key "
    sql += "FROM shared"
    local_sql = (
        f"{sql} WHERE concat_ws(chr(31), kind, provider, item) IN (SELECT unnest(?::VARCHAR[]))"
    )
    for rows in _parts(there, sql):
        local_rows = _by_key(here, local_sql, rows)
        for row in rows:
            local_value, other_value = (
                _content(candidate["value"]) for candidate in (local_rows.get(row["key"], row), row)
            )
            if local_value != other_value:
                yield Difference(
                    str(row["kind"]),
                    str(row["item"]),
                    local_value,
                    other_value,
                    (here.root, there.root),
                )


def _content(value: object) -> str:
    """A shared result without the place in the store where it lies."""
    content = json.loads(str(value))
    if isinstance(content, dict):
        content = {name: part for name, part in content.items() if name not in _PLACES}
    return canonical(content)


def _by_key(lineage: Lineage, sql: str, rows: Sequence[Row]) -> dict[object, Row]:
    return {row["key"]: row for row in lineage.query(sql, [[row["key"] for row in rows]])}


def _copy_files(
    reader: Lineage, source_store: ArtefactStore, store: ArtefactStore, merged: Merged
) -> None:
    """Have the store hold every file that another folder's records name, checked on the way."""
    if source_store.root == store.root:
        return
    recorded = {row["file"] for row in reader.query("SELECT DISTINCT file FROM artefacts")}
    for name in sorted(recorded & source_store.names().keys() - store.names().keys()):
        try:
            store.put(source_store.get(name), name.partition(".")[2])
        except StoreError:
            if source_store.intact(name):
                raise  # our own store refuses it
            merged.damaged.append(name)
        else:
            merged.files += 1


def _copy_rows(lineage: Lineage, reader: Lineage, merged: Merged) -> None:
    """Commit the rows that are not there yet, table by table."""
    for table in _TABLES:
        key = KEYED.get(table)
        identities = _known_identities(lineage, table, key)
        for rows in _parts(reader, f"SELECT * FROM {table}"):  # noqa: S608 (one of our tables)
            new_rows = [row for row in rows if _identity(row, key) not in identities]
            lineage.commit({table: new_rows})
            merged.rows[table] += len(new_rows)


def _known_identities(lineage: Lineage, table: str, key: Sequence[str] | None) -> set[str]:
    """What a table has, by key, or whole rows where there is none."""
    columns = ", ".join(key) if key else "*"
    sql = f"SELECT {columns} FROM {table}"  # noqa: S608 (one of our tables)
    return {_identity(row, key) for rows in _parts(lineage, sql) for row in rows}


def _identity(row: Mapping[str, object], key: Sequence[str] | None) -> str:
    return canonical([row[name] for name in key] if key else dict(row))


def _parts(lineage: Lineage, sql: str) -> Iterator[list[Row]]:
    """Rows of a query, so many at a time."""
    with lineage.connect() as connection:
        cursor = connection.cursor().execute(sql)
        names = [column[0] for column in cursor.description or []]
        while rows := cursor.fetchmany(_AT_ONCE):
            yield [dict(zip(names, row, strict=True)) for row in rows]
