"""Builds a report: cards to pages, only where something changed, pictures once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from dnd_assets.engine.cache.heat_maps import MAPS
from dnd_assets.engine.context import StudyContext
from dnd_assets.lineage.fingerprint import digest
from dnd_assets.lineage.records import Payload
from dnd_assets.report import pages
from dnd_assets.report.changes import Changes, changes_since
from dnd_assets.report.class_names import Names, class_names, class_names_key
from dnd_assets.report.comparison import compared
from dnd_assets.report.connections import (
    Connections,
    LabelSpace,
    connections,
    connections_key,
)
from dnd_assets.report.entries import (
    Entry,
    entry_of,
    exemplar_data,
    index_data,
    metric_names,
)
from dnd_assets.report.folder import Folder
from dnd_assets.report.heat_maps import make_heat_maps
from dnd_assets.report.names import picture_name, script
from dnd_assets.report.network_comparison import compare_networks
from dnd_assets.report.overview import (
    Map,
    layer_summaries,
    map_key,
    ranking,
    shared_concepts,
    stored_embeddings,
    unit_map,
)
from dnd_assets.report.pictures import pictures_of
from dnd_assets.report.similar import LEAST, similar_key, similar_units
from dnd_assets.report.sources_page import sources_page
from dnd_assets.report.thumbnails import Thumbnails
from dnd_assets.report.unit_data import unit_data
from dnd_assets.results.standing import stand_by
from dnd_assets.results.unit_card.card import UnitCard
from dnd_assets.results.unit_card.card_reader import Cards
from dnd_assets.results.unit_card.unit_records import ProductRecord
from dnd_assets.study.direction_names import direction_names
from dnd_assets.units import Unit, UnitIndex
from resources.runtime.progress import Progress

_AT_ONCE: Final = 256


@dataclass(frozen=True)
class Built:
    """What a report took.

    Attributes:
        index: the page to open.
        units: how many units it shows.
        rendered: how many of their pages were made anew.
        pictures: how many thumbnails it holds.
        written: files written.
        removed: files of an earlier report removed.
        seconds: in all.
        rate: units a second, of the pages made anew with their pictures.
        told: what is missing and why, for people.
    """

    index: Path
    units: int
    rendered: int
    pictures: int
    written: int
    removed: int
    seconds: float
    rate: float
    told: tuple[str, ...]


@dataclass
class _Work:
    """A report in the making."""

    context: StudyContext
    cards: Cards
    folder: Folder
    thumbs: Thumbnails
    style: str
    names: Names
    units: dict[str, Payload] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)
    file_names: dict[str, str] = field(default_factory=dict)


def build_report(
    context: StudyContext,
    output: Path,
    units: Sequence[str] = (),
    against: str | None = None,
    heat_maps: bool = False,
    log: Callable[[str], None] = lambda line: None,
) -> Built:
    """Write the atlas of a study's units to a folder, or bring the one there up to date.

    Args:
        context: the study's context.
        output: the folder; new, empty, or of an earlier report.
        units: keys, prefixes or ranges; all units with results where empty.
        against: a run's id or the folder of another report, to compare labels with.
        heat_maps: first compute the heat maps of exemplars that have none; loads the networks.
        log: takes lines of progress.

    Raises:
        StudyError: when the folder holds other files.
        NotFoundError: when there are no results, or no such unit, run or report.
    """
    started = time.monotonic()
    folder = Folder.open(output)
    notice = stand_by(context.lineage, context.study).notice()
    directions = direction_names(context.study)
    cards = Cards(context.lineage, context.store, context.study.name, directions)
    order = _ordered(context, cards, units)
    changes = changes_since(context, cards, against) if against else None
    remarks = [notice] if notice else []
    remarks += make_heat_maps(context, cards, order) if heat_maps else []
    thumbs = Thumbnails(context.pictures, folder, {})
    names = folder.once("classes", class_names_key(context), lambda: class_names(context))
    work = _Work(context, cards, folder, thumbs, pages.style(), names)
    pages_started = time.monotonic()
    stale = _unit_pages(work, order, log)
    rate = len(stale) / max(time.monotonic() - pages_started, 1e-9)
    entries = [work.entries[unit] for unit in order]
    _other_pages(work, entries, changes)
    folder.finish(work.units)
    if thumbs.gone:
        first = next(iter(thumbs.gone.values()))
        remarks.append(f"{len(thumbs.gone):,} pictures cannot be shown; the first: {first}")
    remarks += _about_maps(work.units.values(), heat_maps)
    pictures = sum(name.startswith("pictures/") for name in folder.files)
    seconds = time.monotonic() - started
    return Built(
        output / "index.html", len(order), len(stale), pictures, folder.written, folder.removed,
        seconds, rate, tuple(remarks),
    )  # fmt: skip


def _ordered(context: StudyContext, cards: Cards, patterns: Sequence[str]) -> list[str]:
    """The units in the order of the study, then by neuron."""
    if not cards.records:
        next(cards.read())  # says that there are no results
    layers = [(model.name, layer.path) for model in context.study.models for layer in model.layers]
    layer_numbers = {layer: number for number, layer in enumerate(layers)}

    def rank(unit: str) -> tuple[int, str, str, int]:
        record = _first(cards.records[unit])
        layer_number = layer_numbers.get((record.model, record.layer), len(layer_numbers))
        return layer_number, record.model, record.layer, record.neuron

    ordered = sorted(cards.records, key=rank)
    if not patterns:
        return ordered
    units_of_study = [_unit(_first(cards.records[unit])) for unit in ordered]
    chosen = {unit.key for unit in UnitIndex(units_of_study).select(patterns)}
    return [unit for unit in ordered if unit in chosen]


def _first(records: Mapping[str, ProductRecord]) -> ProductRecord:
    return next(iter(records.values()))


def _unit(record: ProductRecord) -> Unit:
    return Unit(record.model, record.layer, record.neuron)


def _unit_pages(work: _Work, order: Sequence[str], log: Callable[[str], None]) -> list[str]:
    """Bring every unit's page up to date; returns the units whose pages were made anew."""
    maps = _map_counts(work.cards)
    stale: list[str] = []
    digests: dict[str, str] = {}
    for position, unit in enumerate(order):
        neighbours = pages.neighbours_of(order, position)
        records = work.cards.records[unit]
        digests[unit] = _digest(work, records, neighbours, maps.get(_first(records).neuron, 0))
        if not _taken_over(work, unit, digests[unit]):
            stale.append(unit)
    progress = Progress("unit pages", len(stale), log)
    positions = {unit: position for position, unit in enumerate(order)}
    for start in range(0, len(stale), _AT_ONCE):
        cards = list(work.cards.read(stale[start : start + _AT_ONCE]))
        pictures = {card.unit: _pictures(card) for card in cards}
        shown = [name for names in pictures.values() for name in names]
        with work.context.lineage.connect():  # opened once for both
            names = _file_names(work, cards)
            work.context.pictures.in_order(shown)
        work.thumbs.make(shown)
        for card in cards:
            neighbours = pages.neighbours_of(order, positions[card.unit])
            _write(work, card, pictures[card.unit], names, neighbours, digests[card.unit])
        progress.advance(len(cards))
    return stale


def _about_maps(units: Iterable[Payload], made: bool) -> list[str]:
    """What to tell of heat maps that are not there.

    Args:
        units: what is noted of each unit's page.
        made: whether those that could be made were made just now.
    """
    with_maps = [page for page in units if page["heat"]]
    if not with_maps:
        missing = "no heat maps are stored; --heat-maps computes them with the network itself"
        return [] if made else [missing]
    # Folders of before do not know it.
    count = sum(page.get("without_heat", 0) for page in with_maps)
    why = (
        "the network's maps of them could not be made or are not finite"
        if made
        else "they, or the size of their crops, came after the others; --heat-maps computes them"
    )
    return [f"{count:,} exemplars lie without a heat map beside others: {why}"] if count else []


def _map_counts(cards: Cards) -> dict[int, int]:
    """How many heat maps are stored of each neuron, whatever its layer."""
    sql = (
        "SELECT (item ->> '$[1]')::INTEGER AS n, count(*) AS c FROM shared WHERE kind = ? "
        "GROUP BY n"
    )
    return {row["n"]: row["c"] for row in cards.lineage.query(sql, [MAPS])}


def _digest(
    work: _Work,
    records: Mapping[str, ProductRecord],
    beside: tuple[str | None, str | None],
    maps: int,
) -> str:
    """Hash of all that a unit's page is made from."""
    made = [[one.asset, one.key, one.data_version, one.run] for one in records.values()]
    unit = _unit(_first(records)).key
    named = [work.names.get(unit, ""), work.cards.names.get(unit, "")]
    return digest([work.style, work.cards.study, made, list(beside), maps, named])[:32]


def _taken_over(work: _Work, unit: str, page_digest: str) -> bool:
    """Take over a unit's page as it is, if nothing changed and all its files are there."""
    page = work.folder.units.get(unit)
    if page is None or page.get("digest") != page_digest or page.get("gone"):
        return False
    entry = Entry.from_json(page["entry"])
    folder = work.folder
    if not all(name in folder.files or folder.keep(name) for name in page["pictures"]):
        return False
    if not folder.keep(entry.page) or not folder.keep(entry.data):
        return False
    work.units[unit], work.entries[unit] = page, entry
    return True


def _pictures(card: UnitCard) -> list[str]:
    """What a unit's page shows; what the safety checker refused is told, not shown."""
    refused = {
        picture.image
        for pictures in (*(c.pictures for c in card.concepts), *(m.pictures for m in card.metrics))
        for picture in pictures
        if picture.rejected
    }
    return [name for name in dict.fromkeys(card.pictures()) if name and name not in refused]


def _file_names(work: _Work, unit_cards: Iterable[UnitCard]) -> Mapping[str, str]:
    """Names of the files of probing images, without the folders they lie in; each asked once."""
    exemplars = {exemplar.image for card in unit_cards for exemplar in card.exemplars}
    paths = work.cards.paths(exemplars - work.file_names.keys())
    work.file_names.update({image: Path(seen[0]).name for image, seen in paths.items()})
    return work.file_names


def _write(
    work: _Work,
    card: UnitCard,
    pictures: Sequence[str],
    names: Mapping[str, str],
    neighbours: tuple[str | None, str | None],
    page_digest: str,
) -> None:
    entry = entry_of(card, work.names.get(card.unit, ""))
    page = pages.unit_page(card, entry, work.thumbs.of, names, neighbours, work.cards.study)
    work.folder.put(entry.page, page)
    file_names = {
        exemplar.image: names[exemplar.image]
        for exemplar in card.exemplars
        if exemplar.image in names
    }
    data = unit_data(card, work.cards.study, entry.class_name, file_names)
    work.folder.put(entry.data, data)
    work.entries[card.unit] = entry
    work.units[card.unit] = {
        "digest": page_digest,
        "entry": entry.as_json(),
        "pictures": [
            name for picture in pictures if (name := picture_name(picture)) in work.folder.files
        ],
        "gone": sum(picture in work.thumbs.gone for picture in pictures),
        "heat": sum(exemplar.heat is not None for exemplar in card.exemplars),
        "without_heat": sum(exemplar.heat is None for exemplar in card.exemplars),
    }


def _other_pages(work: _Work, entries: Sequence[Entry], changes: Changes | None) -> None:
    folder, study = work.folder, work.cards.study
    for name in pages.STATIC:
        folder.put(name, pages.static(name))
    folder.put("data-units.js", script("ATLAS_UNITS", index_data(entries, folder.files)))
    exemplars = exemplar_data(entries, folder.files)
    folder.put("data-exemplars.js", script("ATLAS_EXEMPLARS", exemplars))
    folder.put("data-similar.js", script("ATLAS_SIMILAR", _similar(work, entries)))
    texts = [
        summary.label for entry in entries for summary in entry.methods.values() if summary.label
    ]
    embedded = stored_embeddings(work.context.vectors, entries, texts)
    networks = compare_networks(entries, embedded)
    common = {
        "root": "", "study": study, "changes": changes is not None,
        "networks": networks is not None,
    }  # fmt: skip
    groups = list(dict.fromkeys(entry.group for entry in entries))
    methods = list(dict.fromkeys(name for entry in entries for name in entry.methods))
    description = work.context.study.description
    folder.put("index.html", pages.render(
        "index.html", here="index", count=len(entries), groups=groups, methods=methods,
        description=description, metrics=metric_names(entries),
        sure=any(entry.confidence is not None for entry in entries), **common,
    ))  # fmt: skip
    for name in ("compare", "ratings"):
        folder.put(f"{name}.html", pages.render(f"{name}.html", here=name, **common))
    folder.put("overview.html", _overview(work, entries, embedded, common))
    shown, more = pictures_of(entries)
    folder.put("pictures.html", pages.render(
        "pictures.html", here="pictures", shown=shown, more=more, find=work.thumbs.of, **common,
    ))  # fmt: skip
    comparison = compared(work.context, entries, embedded)
    folder.put(
        "methods.html", pages.render("methods.html", here="methods", found=comparison, **common)
    )
    if networks is not None:
        page = pages.render("networks.html", here="networks", found=networks, **common)
        folder.put("networks.html", page)
    if changes is not None:
        linked = {entry.unit: entry.page for entry in entries}
        page = pages.render("changes.html", here="changes", found=changes, linked=linked, **common)
        folder.put("changes.html", page)
    folder.put("sources.html", sources_page(work.cards, common))


def _overview(work: _Work, entries: Sequence[Entry], embedded: Payload, common: Payload) -> bytes:
    labels = {entry.unit: entry.main.label for entry in entries if entry.main.label}
    space = LabelSpace(labels, embedded)
    found = work.folder.once(
        "weights", connections_key(work.context, space),
        lambda: asdict(connections(work.context, work.cards, space)),
    )  # fmt: skip
    weights = Connections.from_json(found)
    found = work.folder.once(
        "map", map_key(entries, embedded), lambda: asdict(unit_map(entries, embedded))
    )
    shared, more = shared_concepts(entries)
    by_unit = {entry.unit: entry for entry in entries}
    return pages.render(
        "overview.html", here="overview", layers=layer_summaries(entries), rank=ranking(entries),
        shared=shared, more=more, places=Map.from_json(found), weights=weights,
        by_unit=by_unit, colours=pages.map_colours(entries), find=work.thumbs.of,
        units=len(entries), **common,
    )  # fmt: skip


def _similar(work: _Work, entries: Sequence[Entry]) -> Payload:
    """Similar units of each unit as scripts read them: place, correlation, place and so on."""
    units = [entry.unit for entry in entries]

    def work_out() -> Payload:
        similar = similar_units(work.cards, units)
        return {
            "near": [
                [v for neighbour in neighbours for v in (neighbour.place, neighbour.correlation)]
                for neighbours in similar
            ]
        }

    return {"least": LEAST, **work.folder.once("similar", similar_key(work.cards, units), work_out)}
