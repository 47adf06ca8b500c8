"""What lies in a bucket, told as what lies in a folder is."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from dnd_assets.files.containers import bucket
from dnd_assets.files.containers.container_places import container, holds_many
from dnd_assets.files.containers.contents import AS_TABLES_SAY, Columns, Contents
from dnd_assets.files.image_folders import Listing, Skipped, inside, is_hidden, merged
from dnd_assets.files.image_suffixes import suffixes_of_pictures

_ARROW: Final = ".arrow"


def bucket_listing(place: Path, columns: Columns = AS_TABLES_SAY) -> Listing:
    """Every picture below a place of a bucket, and what else lies there; see `listing`.

    Suffixes tell what is a picture, since looking into an object costs a request.

    Args:
        place: as `study.path` gives it.
        columns: which columns of tables are which.

    Raises:
        BucketError: when the bucket cannot be read.
    """
    listings: list[Listing] = []
    for entry in bucket.objects(place):
        path, suffix = entry.path, entry.path.suffix.lower()
        if any(is_hidden(part) for part in path.parts[len(place.parts) :]):
            listings.append(_left_out(Skipped(path, "hidden")))
        elif suffix == _ARROW:
            reason = "Arrow is read from disk alone; save as Parquet, or copy the folder"
            listings.append(_left_out(Skipped(path, "damaged", reason)))
        elif holds_many(path):
            contents = inside(path, partial(_contents, path, columns))
            listings.append(replace(contents, states=dict.fromkeys(contents.files, entry.state)))
        elif suffix in suffixes_of_pictures():
            listings.append(Listing((path,), states={path: entry.state}))
        else:
            listings.append(_left_out(Skipped(path, "no image", suffix)))
    return merged(listings)


def _left_out(skipped: Skipped) -> Listing:
    return Listing((), (skipped,))


def _contents(path: Path, columns: Columns) -> Contents:
    return container(path, columns).contents()
