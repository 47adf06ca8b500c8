"""`dnd runs`: the runs of a study, whose ids other commands ask for."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from dnd_assets.lineage.rows import Query

_RUNS = """
SELECT run, min(recorded_at) AS began, max(recorded_at) AS ended,
  count(DISTINCT unit) FILTER (unit <> '') AS units,
  count(*) FILTER (NOT reused) AS computed, count(*) FILTER (reused) AS reused
FROM materializations WHERE study = ? GROUP BY run ORDER BY ended, run
"""


@dataclass(frozen=True)
class RecordedRun:
    """What a run recorded.

    Attributes:
        run: its id, in lineage and in Dagster.
        began: when it recorded its first product, UTC.
        ended: when it recorded its last one.
        units: how many units it recorded something of.
        computed: products made anew.
        reused: products taken from the store.
    """

    run: str
    began: str
    ended: str
    units: int
    computed: int
    reused: int

    def as_json(self) -> dict[str, object]:
        """The run as `dnd runs --json` writes it."""
        return asdict(self)


def recorded_runs(query: Query, study: str) -> list[RecordedRun]:
    """The runs of a study that recorded anything, the newest last."""
    return [RecordedRun(**row) for row in query(_RUNS, [study])]
