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
        judgements = [summary.interpretable for summary in self.methods.values()]
        definite = [judgement for judgement in judgements if judgement is not None]
        return any(definite) if definite else None

    def as_json(self) -> dict[str, object]:
        """All attributes as plain values."""
        return {
            **asdict(self),
            "methods": {name: asdict(summary) for name, summary in self.methods.items()},
        }

    @classmethod
    def from_json(cls, value: Payload) -> Entry:
        """The entry that `as_json` told."""
        fields = dict(value)
        methods = sorted(value["methods"].items(), key=lambda item: own_first(item[0]))
        fields["methods"] = {name: MethodSummary(**summary) for name, summary in methods}
        fields["thumbs"], fields["exemplars"] = tuple(value["thumbs"]), tuple(value["exemplars"])
        fields["activations"] = tuple(value["activations"])
        return cls(**fields)


def entry_of(card: UnitCard, class_name: str = "") -> Entry:
    """The entry of a card, of a unit that stands for a class or for none."""
    texts = next((step.weights["clip"] for step in card.made if "clip" in step.weights), "")
    return Entry(
        card.unit, card.model, card.layer, card.neuron,
        methods={
            method.asset: MethodSummary(
                method.label, method.score, method.status, method.interpretable, method.concepts
            )
            for method in card.methods
        },
        thumbs=tuple(exemplar.image for exemplar in card.exemplars[:THUMBS]),
        metrics={metric_set.asset: dict(metric_set.values) for metric_set in card.metrics},
        exemplars=tuple(exemplar.image for exemplar in card.exemplars),
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
    names = set(shown)

    def number(text: str | None) -> int:
        if text is None:
            return -1
        return texts.setdefault(visible(text)[:LONGEST], len(texts))

    methods = list(dict.fromkeys(name for entry in entries for name in entry.methods))
    pictures: dict[str, int] = {}

    def picture(content: str) -> int:
        name = picture_name(content)
        return pictures.setdefault(name[9:-4], len(pictures)) if name in names else -1

    columns: dict[str, object] = {
        "unit": [visible(unit.unit) for unit in entries],
        "page": [unit.page[6:-5] for unit in entries],
        "layer": [number(unit.group) for unit in entries],
        "thumbs": [
            [index for image in unit.thumbs if (index := picture(image)) >= 0] for unit in entries
        ],
        "sure": [_rounded(unit.confidence) for unit in entries],
        "class": [number(unit.class_name or None) for unit in entries],
        "metrics": _metrics(entries),
        "methods": {
            name: _column([unit.methods.get(name) for unit in entries], number) for name in methods
        },
    }
    return {**columns, "texts": list(texts), "pictures": list(pictures)}


def exemplar_data(entries: Sequence[Entry], shown: Iterable[str]) -> dict[str, object]:
    """Exemplars and activations of all units, for the page that compares some of them.

    Args:
        entries: the units in their order.
        shown: file names of the thumbnails there are.
    """
    names = set(shown)
    pictures: dict[str, int] = {}

    def picture(content: str) -> int:
        name = picture_name(content)
        return pictures.setdefault(name[9:-4], len(pictures)) if name in names else -1

    columns = {
        "images": [[picture(image) for image in entry.exemplars] for entry in entries],
        "values": [[_rounded(value) for value in entry.activations] for entry in entries],
    }
    return {**columns, "pictures": list(pictures)}


def metric_names(entries: Sequence[Entry]) -> list[str]:
    """Every metric that any unit has of any method, in the order of the first."""
    tables = (values for entry in entries for values in (entry.metrics or {}).values())
    return list(dict.fromkeys(name for values in tables for name in values))


def _metrics(entries: Sequence[Entry]) -> dict[str, dict[str, list[float | None]]]:
    """Values of each metric of each method, one for each unit."""
    columns: dict[str, dict[str, list[float | None]]] = {}
    for position, entry in enumerate(entries):
        for method, values in (entry.metrics or {}).items():
            for name, value in values.items():
                empty: list[float | None] = [None] * len(entries)
                column = columns.setdefault(method, {}).setdefault(name, empty)
                column[position] = _rounded(value)
    return columns


def _column(summaries: Sequence[MethodSummary | None], number: Any) -> dict[str, list[Any]]:
    flags = {True: 1, False: 0, None: -1}
    return {
        "label": [number(summary.label if summary else None) for summary in summaries],
        "score": [_rounded(summary.score) if summary else None for summary in summaries],
        "status": [number(summary.status if summary else None) for summary in summaries],
        "clear": [flags[summary.interpretable] if summary else -1 for summary in summaries],
        "count": [
            (summary.concepts if summary and summary.concepts else 0) for summary in summaries
        ],
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None or value != value else float(f"{value:.4g}")
