"""Calls to a language model kept in the lineage database: paid once, replayed for ever."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from resources.lineage_db.database import Lineage
from resources.servers.calls import StoredCall


@dataclass(frozen=True)
class LineageLedger:
    """A `CallLedger` over table `llm_calls`.

    Attributes:
        lineage: the database; a call that was put is journaled before `put` returns.
        on_paid: told each call that was made, after it has been kept.
    """

    lineage: Lineage
    on_paid: Callable[[StoredCall], None] = lambda _: None

    def get(self, request_hash: str) -> StoredCall | None:
        """The stored call of a request, if there is one."""
        sql = "SELECT * FROM llm_calls WHERE request_hash = ?"
        rows = self.lineage.query(sql, [request_hash])
        return StoredCall.from_row(rows[0]) if rows else None

    def put(self, call: StoredCall) -> None:
        """Keep a call for good; one that is stored already stays as it is."""
        if self.get(call.request) is None:
            self.replace(call)
        else:
            self.on_paid(call)

    def replace(self, call: StoredCall) -> None:
        """Keep a call for good, in the place of one that is stored already."""
        self.lineage.commit({"llm_calls": [call.row()]})
        self.on_paid(call)
