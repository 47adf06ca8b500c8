"""What a table is: its columns with their meaning, and how rows come of a product.

The tables themselves are the one description of what `dnd export` writes, what `dnd_assets.open`
gives as frames, and what the data dictionary says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from dnd_assets.lineage.records import Payload, Product
from dnd_assets.lineage.rows import Row
from dnd_assets.methods.dissection.painted import cause_of

Type = Literal[
    "text", "int", "uint", "number", "flag", "texts", "ints", "numbers", "scored", "json"
]
"""`scored` is a list of labels with scores; `json` is text that holds JSON."""
COLUMN_TYPES: Final[tuple[Type, ...]] = get_args(Type)


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: of the column.
        type: of its values; every value may be missing.
        meaning: what it says.
        unit: what numbers count or measure; empty where they have no unit.
        path: where the value stands, if not under the column's name: keys of an entry with dots
            between them; after `^.` of the entry or product around it; after `@` of the record, as
            `@status`; `.` is the entry itself. None where no one place has it.
        made: computes the value from an entry, where the entry does not hold it as it is.
    """

    name: str
    type: Type
    meaning: str
    unit: str = ""
    path: str | None = ""
    made: Callable[[Any], object] | None = None


@dataclass(frozen=True, slots=True)
class NewestProduct:
    """The newest product of one asset for one unit of a study.

    Attributes:
        asset: the asset.
        unit: the unit's key; empty for products of the whole study.
        model: the unit's network.
        layer: its layer.
        neuron: its index; None for products of the whole study.
        run: the run that announced it.
        recorded_at: when.
        product: the product.
    """

    asset: str
    unit: str
    model: str
    layer: str
    neuron: int | None
    run: str
    recorded_at: str
    product: Product


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: of the table and of its file.
        meaning: what a row is.
        source: the assets that it comes from, as the data dictionary names them.
        columns: its columns.
        reads: whether it takes rows from an asset, by name; those of the whole lineage take none.
        entries: lists of the product's content that a row is an entry of, the outer one first;
            empty for a row a product.
        rows: rows of one product; None takes them from `entries` and the columns.
        view: whether the database has a view of it, made from `entries` and the columns' paths.
    """

    name: str
    meaning: str
    source: str
    columns: tuple[Column, ...]
    reads: Callable[[str], bool] = lambda asset: False
    entries: tuple[str, ...] = ()
    rows: Callable[[NewestProduct], Iterable[Row]] | None = None
    view: bool = False


UNIT: Final = Column("unit", "text", "the unit's key, model/layer/neuron", path="@unit")
IMAGE: Final = Column("image", "text", "SHA-256 of the picture's file; table pictures has it")
ASSET: Final = Column("asset", "text", "the asset that the row comes from", path="@asset")
POSITION: Final = Column("position", "int", "place in the list, from 1", path="@position")
ACTIVATION: Final = Column(
    "activation", "number", "the unit's pooled activation on the picture", "as the layer gives it"
)
PAINTED: Final = (
    Column("index", "int", "number of the picture among those of its concept, from 0"),
    Column("seed", "uint", "seed of the painter, from the concept and the index"),
    IMAGE,
    Column("rejected", "flag", "whether it is no evidence: refused by the safety checker, or none"),
    Column("cause", "text", "why: safety, not_finite (NaN) or constant; empty for a sound picture",
           path=None, made=cause_of),
)  # fmt: skip
"""Columns of a painted picture."""
STATUS: Final = (
    Column("status", "text", "ok, or the typed failure of the product", path="@status"),
    Column("reason", "text", "why the status is not ok, for people", path="@reason"),
)
SURENESS: Final = (
    Column("confidence", "number", "probability that a label by detection is right; the others "
           "have none", "probability"),
    Column("held_out", "number", "correlation of caption and activation on images that had no part "
           "in the choice", "Matthews' correlation, -1 to 1", path="evidence.held_out"),
    Column("stability", "number", "share of resamples of the images that choose the same label",
           "share", path="evidence.stability"),
    Column("gap", "number", "how far it lies above the best candidate of other words",
           "Matthews' correlation", path="evidence.gap"),
)  # fmt: skip


def _ranked(payload: Payload) -> list[Row]:
    entries = payload.get("labels", ())
    return [{"label": entry["label"], "score": entry.get("score")} for entry in entries]


LABEL_COLUMNS: Final = (
    UNIT,
    Column("model", "text", "the network's name in the study", path="@model"),
    Column("layer", "text", "the layer's path in named_modules()", path="@layer"),
    Column("neuron", "int", "index of the channel, feature or output, from 0", path="@neuron"),
    Column("label", "text", "the best label; missing where the status says why"),
    Column("score", "number", "its score", "the method's own scale"),
    *SURENESS,
    Column("confirmed", "flag", "whether painted pictures of the label activate the unit",
           path="evidence.confirmed"),
    *STATUS,
    Column("interpretable", "flag", "whether the method counts the unit as interpretable"),
    Column("concepts", "int", "how many concepts the method finds the unit to answer to",
           path="count"),
    Column("labels", "scored", "all labels that were kept, best first, with their scores",
           path="labels", made=_ranked),
    Column("run", "text", "the run that announced the product", path="@run"),
    Column("recorded_at", "text", "when, ISO 8601 in UTC", path="@recorded_at"),
)  # fmt: skip
