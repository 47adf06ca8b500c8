"""The records and artefacts of a study for readers, who need no model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from dnd_assets.study.study import Study
from resources.lineage_db.database import Lineage
from resources.lineage_db.reader import LineageReader

if TYPE_CHECKING:
    from dnd_assets.engine.cache.stored_pictures import Pictures
    from dnd_assets.engine.context import StudyContext
    from resources.artefact_store import ArtefactStore


@dataclass(frozen=True)
class Recorded:
    """The records and the artefacts of a study.

    Attributes:
        study: the study as it is now.
        lineage: its records.
        home: the state folder.
    """

    study: Study
    lineage: Lineage
    home: Path

    @classmethod
    def at(cls, study: Study, home: Path) -> Recorded:
        """What a state folder holds of a study; nothing there is touched."""
        return cls(study, LineageReader(root=str(home)), home)

    @classmethod
    def of(cls, context: StudyContext) -> Recorded:
        """The records and artefacts that a study context works on."""
        return cls(context.study, context.lineage, context.home)

    @cached_property
    def store(self) -> ArtefactStore:
        """The study's artefacts, opened for reading alone."""
        from resources.artefact_store import store_of  # most readers need none

        return store_of(self.home, self.study.store, reading=True)

    @cached_property
    def pictures(self) -> Pictures:
        """Pictures by the SHA-256 of their content."""
        from dnd_assets.engine.cache.stored_pictures import Pictures  # decoders take time to import

        probing = self.study.probing_set
        return Pictures(self.lineage, self.store, probing.max_pixels, probing.reading)
