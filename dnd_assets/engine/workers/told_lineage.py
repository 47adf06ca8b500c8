"""A worker's stand-in for the lineage: it collects rows, and answers no question."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NoReturn

from pydantic import PrivateAttr

from dnd_assets.errors import LineageError
from dnd_assets.lineage.fingerprint import Json, digest
from resources.lineage_db.database import Lineage, Rows


class ToldLineage(Lineage):
    """Takes what is to be recorded for the coordinator, and refuses every question.

    Workers read and write the store only: who asks the lineage from there has a fault, as its
    answers would depend on when it asks.

    Attributes:
        root: the state folder, of which nothing is opened.
    """

    _rows: list[Rows] = PrivateAttr(default_factory=list)

    def taken(self) -> list[Rows]:
        """What was to be recorded since this was asked last."""
        rows = list(self._rows)
        self._rows.clear()
        return rows

    def commit(self, rows: Rows) -> None:
        """Keep rows for the coordinator."""
        if any(rows.values()):
            self._rows.append(rows)

    def provider(self, fingerprint: Mapping[str, Json]) -> str:
        """A provider's hash; the coordinator has recorded it."""
        return digest(fingerprint)

    def connect(self) -> NoReturn:
        """Refused."""
        self._refuse("opened")

    def exclusive(self, log: Callable[[str], None], who: str = "") -> NoReturn:
        """Refused."""
        self._refuse("locked")

    def query(self, sql: str, parameters: Sequence[Json] = ()) -> list[dict[str, Json]]:
        """Refused."""
        self._refuse(f"asked ({sql[:60]}…)")

    def locate(self, hashes: Iterable[str]) -> dict[str, str]:
        """Refused: where pictures lie was told with the part."""
        names = list(hashes)
        if names:
            self._refuse(f"asked where {names[0][:12]}… lies")
        return {}

    def _refuse(self, action: str) -> NoReturn:
        raise LineageError(
            f"a worker has {action} the lineage of {self.root}, which only the coordinator may: a "
            "fault of the stage that cut the part. Please report it; without compute.workers the "
            "study runs."
        )
