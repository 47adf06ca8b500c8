"""`dnd gc`: store files that no kept run reaches."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from dnd_assets.engine.cache.heat_maps import MAPS, map_image
from dnd_assets.engine.cache.shared_results import TEXTS, text_id
from dnd_assets.engine.context import StudyContext
from dnd_assets.errors import StoreError
from dnd_assets.lineage.trace import image_hashes

_KEPT = """
WITH ranked AS (
  SELECT study, run, row_number() OVER (PARTITION BY study ORDER BY max(recorded_at) DESC) AS age
  FROM materializations GROUP BY study, run
), kept AS (
  SELECT m.key FROM materializations m JOIN ranked USING (study, run) WHERE age <= ?
  UNION SELECT key FROM latest
)
SELECT DISTINCT p.key, p.payload, p.notes FROM products p JOIN kept USING (key)
"""


@dataclass(frozen=True)
class Garbage:
    """Files that can go.

    Attributes:
        files: names of unreachable files, known to the lineage or not.
        bytes: their size together.
        kept: how many files stay.
    """

    files: tuple[str, ...]
    bytes: int
    kept: int


def find_garbage(context: StudyContext, runs: int = 1) -> Garbage:
    """Store files that neither the newest products nor the newest runs of any study reach.

    Blocks of activations and embeddings, and heat maps, stay as long as one of their pictures is
    reached; pictures that a server was paid for always stay.

    Args:
        context: the study's context.
        runs: how many of the newest runs of each study to keep, besides the newest products.
    """
    reached, pictures = _reached(context, runs)
    reached |= {*_blocks_of(context, pictures), *_maps_of(context, pictures), *_paid_for(context)}
    stored = context.store.names()
    garbage = sorted(stored.keys() - reached)
    size = sum(stored[name] for name in garbage)
    return Garbage(tuple(garbage), size, len(stored) - len(garbage))


def collect(context: StudyContext, garbage: Garbage) -> None:
    """Remove the files and record that they were removed on purpose.

    What is needed again later is computed again.
    """
    with context.lineage.exclusive(context.log):
        context.lineage.record_removal(garbage.files, "no kept run reaches it")
        for name in garbage.files:
            context.store.remove(name)


def _reached(context: StudyContext, runs: int) -> tuple[set[str], set[str]]:
    """Files that kept products name, and the pictures and texts inside those products."""
    files: set[str] = set()
    pictures: set[str] = set()
    for row in context.lineage.query(_KEPT, [runs]):
        payload, notes = json.loads(row["payload"]), json.loads(row["notes"])
        files |= set(notes.get("files", []))
        pictures |= set(image_hashes(payload))
        if "manifest" in payload:
            try:
                pictures |= set(json.loads(context.store.get(payload["manifest"])))
            except StoreError:
                continue  # a lost manifest reaches nothing
        if "texts" in payload:
            with suppress(StoreError):
                pictures |= set(map(text_id, json.loads(context.store.get(payload["texts"]))))
    return files, pictures


def _blocks_of(context: StudyContext, pictures: set[str]) -> Iterator[str]:
    """Blocks of vectors that hold a row of one of the pictures or texts."""
    picture_ids = {bytes.fromhex(name) for name in pictures}
    sql = "SELECT DISTINCT item FROM shared WHERE kind IN ('activations', 'embeddings', ?)"
    for row in context.lineage.query(sql, [TEXTS]):
        try:
            ids = context.store.arrays(row["item"])["ids"]
        except StoreError:
            continue
        if any(row_id.tobytes() in picture_ids for row_id in ids):
            yield row["item"]


def _maps_of(context: StudyContext, pictures: set[str]) -> Iterator[str]:
    """Packs of heat maps of one of the pictures."""
    sql = "SELECT item, value FROM shared WHERE kind = ?"
    for row in context.lineage.query(sql, [MAPS]):
        if map_image(row["item"]) in pictures:
            yield json.loads(row["value"])["file"]


def _paid_for(context: StudyContext) -> set[str]:
    """Packs that hold a picture of an image server."""
    sql = (
        "SELECT response ->> '$.data[0].b64_json' AS picture FROM llm_calls "
        "WHERE status = 'ok' AND response ->> '$.data[0].b64_json' IS NOT NULL"
    )
    names = [row["picture"].removeprefix("sha256:") for row in context.lineage.query(sql)]
    return set(context.lineage.locate(names).values())
