"""What the report keeps of every unit: enough for the index and the overview, no pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from dnd_assets.lineage.records import Payload
from dnd_assets.report.names import picture_name, visible
from dnd_assets.results.unit_card.card import UnitCard
from dnd_assets.results.unit_card.unit_records import own_first
from dnd_assets.workflow.atlas_address import page_name

THUMBS: Final = 4
LONGEST: Final = 200
"""Characters of a label in the index."""


@dataclass(frozen=True, slots=True)
class MethodSummary:
    """A method's label of a unit, as `MethodLabel` without its details."""

    label: str | None
    score: float | None
    status: str
    interpretable: bool | None = None
    concepts: int | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One unit in the index.

    Attributes:
        unit: its key.
        model: name of the network.
        layer: path of the layer.
        neuron: index.
        methods: what each method says, by asset, the main one first.
        thumbs: SHA-256 of its first exemplars.
        metrics: metrics of each method's label, by asset of labels.
        exemplars: all exemplars and activations, for the map of overlaps.
        texts: provider of the stored embeddings of texts; empty where none is recorded.
        confidence: probability that the label is right, or what came nearest; None where nothing
            tells.
        activations: the unit's activation on each exemplar.
        class_name: the class that the unit stands for, or the name of its direction; empty where it
            has none.
    """

    unit: str
    model: str
    layer: str
    neuron: int
    methods: Mapping[str, MethodSummary]
    thumbs: tuple[str, ...] = ()
    metrics: Mapping[str, Mapping[str, float | None]] | None = None
    exemplars: tuple[str, ...] = ()
    texts: str = ""
    confidence: float | None = None
    activations: tuple[float, ...] = ()
    class_name: str = ""

    @property
    def main(self) -> MethodSummary:
        """What is shown of the unit unless another method is asked for."""
        return next(iter(self.methods.values()), MethodSummary(None, None, "no_label"))

    @property
    def page(self) -> str:
        """Path of the unit's page in the report."""
        return f"units/{page_name(self.unit)}"

    @property
    def data(self) -> str:
        """Path of the unit's data in the report."""
        return f"data/{page_name(self.unit).removesuffix('.html')}.json"

    @property
    def group(self) -> str:
        """`model/layer`, for people."""
        return f"{self.model}/{self.layer}"

    @property
    def interpretable(self) -> bool | None:
        """Whether any method that judges it counts the unit as interpretable."""
        said = [one.interpretable for one in self.methods.values()]
        known = [one for one in said if one is not None]
        return any(known) if known else None

    def as_json(self) -> dict[str, object]:
        """All of it as plain values."""
        return {**asdict(self), "methods": {name: asdict(s) for name, s in self.methods.items()}}

    @classmethod
    def from_json(cls, value: Payload) -> Entry:
        """The entry that `as_json` told."""
        plain = dict(value)
        said = sorted(value["methods"].items(), key=lambda item: own_first(item[0]))
        plain["methods"] = {name: MethodSummary(**one) for name, one in said}
        plain["thumbs"], plain["exemplars"] = tuple(value["thumbs"]), tuple(value["exemplars"])
        plain["activations"] = tuple(value["activations"])
        return cls(**plain)


def entry_of(card: UnitCard, class_name: str = "") -> Entry:
    """The entry of a card, of a unit that stands for a class or for none."""
    texts = next((one.weights["clip"] for one in card.made if "clip" in one.weights), "")
    return Entry(
        card.unit, card.model, card.layer, card.neuron,
        methods={
            one.asset: MethodSummary(
                one.label, one.score, one.status, one.interpretable, one.concepts
            )
            for one in card.methods
        },
        thumbs=tuple(one.image for one in card.exemplars[:THUMBS]),
        metrics={one.asset: dict(one.values) for one in card.metrics},
        exemplars=tuple(one.image for one in card.exemplars),
        texts=texts,
        confidence=card.evidence.confidence if card.evidence else None,
        activations=tuple(one.activation for one in card.exemplars),
        class_name=class_name or card.name,
    )  # fmt: skip


def index_data(entries: Sequence[Entry], shown: Iterable[str]) -> dict[str, object]:
    """The index as the page's script reads it: columns, with every text once.

    Args:
        entries: the units in their order.
        shown: file names of the thumbnails there are.
    """
    texts: dict[str, int] = {}
    there = set(shown)

    def number(text: str | None) -> int:
        if text is None:
            return -1
        return texts.setdefault(visible(text)[:LONGEST], len(texts))

    methods = list(dict.fromkeys(name for entry in entries for name in entry.methods))
    pictures: dict[str, int] = {}

    def picture(content: str) -> int:
        name = picture_name(content)
        return pictures.setdefault(name[9:-4], len(pictures)) if name in there else -1

    columns: dict[str, object] = {
        "unit": [visible(one.unit) for one in entries],
        "page": [one.page[6:-5] for one in entries],
        "layer": [number(one.group) for one in entries],
        "thumbs": [[p for t in one.thumbs if (p := picture(t)) >= 0] for one in entries],
        "sure": [_short(one.confidence) for one in entries],
        "class": [number(one.class_name or None) for one in entries],
        "metrics": _metrics(entries),
        "methods": {
            name: _column([one.methods.get(name) for one in entries], number) for name in methods
        },
    }
    return {**columns, "texts": list(texts), "pictures": list(pictures)}


def exemplar_data(entries: Sequence[Entry], shown: Iterable[str]) -> dict[str, object]:
    """Exemplars and activations of all units, for the page that compares some of them.

    Args:
        entries: the units in their order.
        shown: file names of the thumbnails there are.
    """
    there = set(shown)
    pictures: dict[str, int] = {}

    def picture(content: str) -> int:
        name = picture_name(content)
        return pictures.setdefault(name[9:-4], len(pictures)) if name in there else -1

    columns = {
        "images": [[picture(image) for image in one.exemplars] for one in entries],
        "values": [[_short(value) for value in one.activations] for one in entries],
    }
    return {**columns, "pictures": list(pictures)}


def metric_names(entries: Sequence[Entry]) -> list[str]:
    """Every metric that any unit has of any method, in the order of the first."""
    some = (values for one in entries for values in (one.metrics or {}).values())
    return list(dict.fromkeys(name for values in some for name in values))


def _metrics(entries: Sequence[Entry]) -> dict[str, dict[str, list[float | None]]]:
    """Values of each metric of each method, one for each unit."""
    found: dict[str, dict[str, list[float | None]]] = {}
    for place, one in enumerate(entries):
        for method, values in (one.metrics or {}).items():
            for name, value in values.items():
                empty: list[float | None] = [None] * len(entries)
                column = found.setdefault(method, {}).setdefault(name, empty)
                column[place] = _short(value)
    return found


def _column(said: Sequence[MethodSummary | None], number: Any) -> dict[str, list[Any]]:
    flags = {True: 1, False: 0, None: -1}
    return {
        "label": [number(one.label if one else None) for one in said],
        "score": [_short(one.score) if one else None for one in said],
        "status": [number(one.status if one else None) for one in said],
        "clear": [flags[one.interpretable] if one else -1 for one in said],
        "count": [(one.concepts if one and one.concepts else 0) for one in said],
    }


def _short(value: float | None) -> float | None:
    return None if value is None or value != value else float(f"{value:.4g}")
