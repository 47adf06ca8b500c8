"""Results of a study in a notebook: tables as pandas frames, a unit as a card."""

from __future__ import annotations

import html
import os
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from dnd_assets.engine.cache.stored_pictures import Pictures
from dnd_assets.errors import NotFoundError, StudyError, not_found
from dnd_assets.lineage.rows import Row
from dnd_assets.results.export.export import Written, export, frame
from dnd_assets.results.export.formats import Format
from dnd_assets.results.standing import newest_study, stand_by
from dnd_assets.results.tables.table_source import TableSource
from dnd_assets.results.unit_card.card import UnitCard
from dnd_assets.results.unit_card.card_reader import Cards
from dnd_assets.results.unit_card.html import card_html
from dnd_assets.results.unit_card.unit_records import ProductRecord
from dnd_assets.study.direction_names import direction_names
from dnd_assets.study.image_settings import ProbingSetSettings
from dnd_assets.study.study import Study, load_study
from resources.artefact_store import ArtefactStore, store_of
from resources.lineage_db.database import Lineage
from resources.lineage_db.reader import LineageReader

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Card:
    """A unit with everything known of it; a notebook shows it with its pictures.

    Attributes:
        known: what is known, typed.
    """

    known: UnitCard
    _pictures: Pictures = field(repr=False)

    def picture(self, name: str) -> Image.Image:
        """A picture of the card by its SHA-256, RGB.

        Raises:
            StoreError: when it is gone or has changed.
        """
        return self._pictures.shown(name)

    def __repr__(self) -> str:
        main = self.known.main
        status = main.status if main else "no product"
        return f"{self.known.unit}: {self.known.label or f'no label ({status})'}"

    def _repr_html_(self) -> str:
        return card_html(self.known, self._pictures)


@dataclass(frozen=True)
class Results:
    """The newest results of a study, as they were when each table was first asked for.

    The tables and their columns are those of `dnd export`; docs/data-dictionary.md describes them.

    Attributes:
        study: the study's name.
        home: the state folder.
    """

    study: str
    home: Path
    _settings: Study | None = field(default=None, repr=False, compare=False)

    @cached_property
    def _lineage(self) -> Lineage:
        lineage = LineageReader(root=str(self.home))
        if self._settings is not None:
            stand_by(lineage, self._settings)
        return lineage

    def notice(self) -> str:
        """What was made under other settings of the study than now; empty for nothing."""
        return "" if self._settings is None else stand_by(self._lineage, self._settings).notice()

    @cached_property
    def _store(self) -> ArtefactStore:
        store_address = "" if self._settings is None else self._settings.store
        return store_of(self.home, store_address, reading=True)

    @cached_property
    def _pictures(self) -> Pictures:
        settings = self._settings
        probing = ProbingSetSettings(folders=["."]) if settings is None else settings.probing_set
        return Pictures(self._lineage, self._store, probing.max_pixels, probing.reading)

    @cached_property
    def _cards(self) -> Cards:
        names = {} if self._settings is None else direction_names(self._settings)
        return Cards(self._lineage, self._store, self.study, names)

    def _source(self) -> TableSource:
        return TableSource(self._lineage, self.study)

    def tables(self) -> list[str]:
        """Names of the tables that the study has."""
        return [table.name for table in self._source().tables()]

    def table(self, name: str) -> pd.DataFrame:
        """A table by name.

        Raises:
            NotFoundError: when there is none; names the nearest.
        """
        return frame(self._source(), name)

    def labels(self, asset: str = "labels") -> pd.DataFrame:
        """The newest label of every unit; of another method by its asset."""
        return self.table(asset)

    def units(self) -> pd.DataFrame:
        """The units for which anything was recorded."""
        return self.table("units")

    def activations(self) -> pd.DataFrame:
        """How each unit answers to the probing set."""
        return self.table("activations")

    def layer_activations(self, layer: str) -> pd.DataFrame:
        """Pooled activations of a layer's units: a row for each probing image, by its SHA-256.

        Args:
            layer: `model/layer`, as in a unit's key.

        Returns:
            float32 (images, units), the columns being the units' numbers.

        Raises:
            NotFoundError: when none are stored of it; names the nearest.
        """
        layers: dict[str, ProductRecord] = {}
        for unit, records in self._cards.records.items():
            if "activations" in records:
                layers.setdefault(unit.rpartition("/")[0], records["activations"])
        if layer not in layers:
            raise not_found("layer with activations", layer, layers)
        (product,) = self._lineage.products([layers[layer].key]).values()
        stored = self._cards.activations(product)
        if stored is None:
            raise NotFoundError(
                f"the activations of {layer} are not all stored any more. Run `dnd run {layer}`."
            )
        return pd.DataFrame(stored[1], index=pd.Index(stored[0], name="image"))

    def exemplars(self) -> pd.DataFrame:
        """The most activating probing images."""
        return self.table("exemplars")

    def crops(self) -> pd.DataFrame:
        """Attention crops."""
        return self.table("crops")

    def captions(self) -> pd.DataFrame:
        """Captions of the activating images."""
        return self.table("captions")

    def candidate_concepts(self) -> pd.DataFrame:
        """Candidate concepts."""
        return self.table("candidate_concepts")

    def detection_scores(self) -> pd.DataFrame:
        """How well concepts predict where each unit is active, where labels are by detection."""
        return self.table("detection_scores")

    def synthetic_images(self) -> pd.DataFrame:
        """Pictures painted of the candidate concepts."""
        return self.table("synthetic_images")

    def scores(self) -> pd.DataFrame:
        """Every scoring function of every candidate concept."""
        return self.table("scores")

    def metrics(self) -> pd.DataFrame:
        """Metrics of labels, where the study measures them."""
        return self.table("metrics")

    def runs(self) -> pd.DataFrame:
        """The runs of the study."""
        return self.table("runs")

    def unit(self, key: str) -> Card:
        """A unit's card.

        Raises:
            NotFoundError: when nothing is recorded of it; names the nearest.
        """
        return Card(self._cards.card(key), self._pictures)

    def picture(self, name: str) -> Image.Image:
        """A picture by the SHA-256 that tables name it by, RGB.

        Raises:
            StoreError: when it is gone or has changed.
        """
        return self._pictures.shown(name)

    def export(
        self, folder: str | Path, kind: Format = "parquet", *, pictures: bool = False
    ) -> Written:
        """Write every table to a new folder, as `dnd export` does."""
        path = Path(folder)
        return export(self._source(), self._pictures, path, kind, with_pictures=pictures)

    def _repr_html_(self) -> str:
        source = self._source()
        rows = "".join(
            f"<tr><td><code>{html.escape(table.name)}</code></td>"
            f"<td>{html.escape(table.meaning)}</td></tr>"
            for table in source.tables()
        )
        title = f"{html.escape(self.study)}: {len(source.units()):,} units"
        return f"<b>{title}</b><table>{rows}</table>"


def open(  # noqa: A001 (`dnd.open` is what it does)
    study: str | Path | None = None, home: str | Path | None = None
) -> Results:
    """Open the results of a study.

    Args:
        study: its name, or its TOML file; None is `DND_STUDY`, or known-answers.
        home: the state folder; None is `DND_HOME`, or `.dnd` in the working folder.

    Raises:
        NotFoundError: when there is no such folder, or it holds nothing of the study.
        StudyError: when the study's file is wrong.
    """
    folder = Path(home or os.environ.get("DND_HOME") or ".dnd").expanduser().resolve()
    if not (folder / "journal").is_dir():
        raise NotFoundError(
            f"no results in {folder}. Run `dnd run` there first, or give the folder that holds "
            "them: dnd_assets.open(study, home='…')."
        )
    recorded_studies = _recorded(folder)
    name = str(study) if str(study) in recorded_studies else _name(study, recorded_studies)
    if name not in recorded_studies:
        raise not_found(
            f"study with results in {folder}", name, recorded_studies, "Run `dnd run` for it."
        )
    results = Results(name, folder, _settings(folder, study, name))
    notice = results.notice()
    if notice:
        warnings.warn(notice, stacklevel=2)
    return results


def _settings(home: Path, study: str | Path | None, name: str) -> Study | None:
    """The study as it is now; of one that is known by its name alone, as the newest run had it."""
    with suppress(StudyError):
        loaded_study = load_study(study)
        if loaded_study.name == name:
            return loaded_study
    return newest_study(Lineage(root=str(home)), name)


def _recorded(home: Path) -> list[str]:
    rows: list[Row] = LineageReader(root=str(home)).query(
        "SELECT DISTINCT study FROM materializations ORDER BY study"
    )
    return [row["study"] for row in rows]


def _name(study: str | Path | None, recorded_studies: list[str]) -> str:
    try:
        return load_study(study).name
    except StudyError as error:
        if study is None or Path(study).suffix == ".toml":
            raise
        advice = "A study's TOML file does, too."
        raise not_found("study with results", str(study), recorded_studies, advice) from error
