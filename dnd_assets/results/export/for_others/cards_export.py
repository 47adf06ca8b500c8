"""Cards of units, layer by layer, and their pictures, for the layouts of other tools."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, Protocol

from dnd_assets.engine.cache.stored_pictures import Pictures
from dnd_assets.errors import not_found
from dnd_assets.files.atomic import write
from dnd_assets.results.export.export import Written, new_folder, picture_data, picture_suffix
from dnd_assets.results.unit_card.card import UnitCard
from dnd_assets.results.unit_card.card_reader import Cards
from resources.runtime.progress import Progress

CardFormat = Literal["neuronpedia", "saedashboard", "maia"]
FOLDER: Final = "pictures"


@dataclass(frozen=True)
class LayerUnits:
    """The units of one layer.

    Attributes:
        model: the network's name.
        layer: the layer's path.
        position: of the layer among those of its network, from 0.
        units: keys of its units, by neuron.
        neurons: their numbers.
    """

    model: str
    layer: str
    position: int
    units: tuple[str, ...]
    neurons: tuple[int, ...]


@dataclass
class PictureFiles:
    """Writes pictures, each once.

    Attributes:
        pictures: where they lie.
        folder: where they go, below which paths are told.
        written: file of each, by its hash.
        missing: those that are nowhere.
    """

    pictures: Pictures
    folder: Path
    written: dict[str, str] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)

    def file(self, name: str) -> str | None:
        """A picture's file as a path from the folder; None where it is nowhere."""
        if name not in self.written and name not in self.missing:
            data, _ = picture_data(self.pictures, name)
            if data is None:
                self.missing.add(name)
            else:
                file = f"{FOLDER}/{name}.{picture_suffix(data)}"
                (self.folder / FOLDER).mkdir(parents=True, exist_ok=True)
                write(self.folder / file, data)
                self.written[name] = file
        return self.written.get(name)


class ToolLayout(Protocol):
    """Writes the units of a layer as a tool has them."""

    def __call__(
        self, study: str, layer: LayerUnits, cards: Iterator[UnitCard], files: PictureFiles
    ) -> int:
        """Write the units of `cards` below `files.folder`; returns how many there were."""


def export_cards(
    cards: Cards,
    pictures: Pictures,
    folder: Path,
    kind: CardFormat,
    log: Callable[[str], None] = lambda _: None,
) -> Written:
    """Write all units of a study with results as another tool's files.

    Args:
        cards: the study's units.
        pictures: where its pictures lie.
        folder: what to write; must not exist, or be empty.
        kind: whose layout.
        log: takes lines of progress.

    Raises:
        StudyError: when the folder exists.
        NotFoundError: when nothing was recorded of the study.
        StoreError: when the disk refuses.
    """
    from dnd_assets.results.export.for_others.maia import maia_layout
    from dnd_assets.results.export.for_others.neuronpedia import neuronpedia_layout
    from dnd_assets.results.export.for_others.saedashboard import saedashboard_layout

    layouts: Mapping[str, ToolLayout] = {
        "neuronpedia": neuronpedia_layout, "saedashboard": saedashboard_layout,
        "maia": maia_layout,
    }  # fmt: skip
    if kind not in layouts:
        raise not_found("format", kind, layouts)
    layers = layers_of(cards)
    progress = Progress("units", sum(len(layer.units) for layer in layers), log)
    rows = {}
    with new_folder(folder) as root:
        files = PictureFiles(pictures, root)
        for layer in layers:
            counted_cards = _counted(cards.read(layer.units), progress)
            rows[f"{layer.model}/{layer.layer}"] = layouts[kind](
                cards.study, layer, counted_cards, files
            )
    return Written(folder, rows, len(files.written), len(files.missing))


def layers_of(cards: Cards) -> list[LayerUnits]:
    """The layers that anything is recorded of, in the order of their networks and paths.

    Raises:
        NotFoundError: when nothing was recorded of the study.
    """
    by_layer: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for unit, records in cards.records.items():
        first_record = next(iter(records.values()))
        by_layer.setdefault((first_record.model, first_record.layer), []).append(
            (first_record.neuron, unit)
        )
    if not by_layer:
        next(cards.read())  # says that there are no results
    layers: list[LayerUnits] = []
    for model, layer in sorted(by_layer):
        position = sum(first_record.model == model for first_record in layers)
        numbered = sorted(by_layer[model, layer])
        units, neurons = tuple(u for _, u in numbered), tuple(n for n, _ in numbered)
        layers.append(LayerUnits(model, layer, position, units, neurons))
    return layers


def json_lines(rows: Iterable[Mapping[str, object]]) -> bytes:
    """Rows as JSON, one a line."""
    lines = (json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows)
    return "".join(f"{line}\n" for line in lines).encode()


def bars(card: UnitCard) -> tuple[list[float], list[float]]:
    """Middle and number of images of each bar of a unit's activations; empty where unknown."""
    distribution = card.distribution
    if distribution is None or not distribution.counts:
        return [], []
    width = (distribution.high - distribution.low) / len(distribution.counts)
    middles = [distribution.low + width * (n + 0.5) for n in range(len(distribution.counts))]
    return middles, [float(count) for count in distribution.counts]


def share_nonzero(card: UnitCard) -> float:
    """Share of images on which a unit fires; above 0 where nothing tells when it fires."""
    distribution = card.distribution
    if distribution is None:
        return 0.0
    return distribution.fires if distribution.fires is not None else distribution.positive


def _counted(cards: Iterator[UnitCard], progress: Progress) -> Iterator[UnitCard]:
    for card in cards:
        yield card
        progress.advance()
