"""What of the recorded products stands under the present settings of a study.

The lineage knows studies by their names, and settings change; two studies may even have one name.
Each run is recorded with the study as it was, so what a run announced stands under the present
settings where those that decide it are the same. This is seen from settings alone: no key is
worked out and no model is looked at, so it takes no time. Readers ask `stand_by` first; what they
read from the lineage afterwards is what stands, and where nothing does the newest there is, with a
notice that says so.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import ValidationError

from dnd_assets.lineage.rows import Row
from dnd_assets.study.deciding import Deciding, deciding
from dnd_assets.study.study import Study
from resources.lineage_db.database import Lineage, announced_as

_SHOWN = 3
_ANNOUNCED = """
SELECT DISTINCT m.run, m.asset, m.model, m.layer, r.definition
FROM materializations m LEFT JOIN runs r ON r.run = m.run AND r.study = m.study
WHERE m.study = ?
"""
_NEWEST = """
SELECT run, asset, model, layer, min(recorded_at) AS since, count(*) AS n
FROM latest WHERE study = ?
GROUP BY run, asset, model, layer ORDER BY since DESC, run, asset, model, layer
"""


@dataclass(frozen=True)
class Standing:
    """Which recorded products the present settings lead to, judged by settings alone.

    Attributes:
        lineage: the lineage.
        study: the study as it is now.
    """

    lineage: Lineage
    study: Study

    @cached_property
    def _runs(self) -> dict[tuple[str, str, str, str], str]:
        """What runs have announced, (run, asset, model, layer), and their study as JSON."""
        rows = self.lineage.query(_ANNOUNCED, [self.study.name])
        names = ("run", "asset", "model", "layer")
        return {tuple(row[name] for name in names): row["definition"] or "" for row in rows}

    @cached_property
    def _studies(self) -> dict[str, Study | None]:
        """The studies that were recorded with runs; None where this version cannot read one."""
        return {text: _study(text, self.study) for text in set(self._runs.values())}

    def stands(self, run: str, asset: str, model: str, layer: str) -> bool:
        """Whether what a run announced of an asset and layer stands under the present settings."""
        return not self.differences(run, asset, model, layer)

    def differences(self, run: str, asset: str, model: str, layer: str) -> list[str]:
        """The settings that decide an asset and are others now, by name, then and now."""
        then = self._studies[self._runs[run, asset, model, layer]]
        if then is None:
            return ["settings that this version does not know"]
        now = deciding(self.study, asset, model, layer)
        return list(_differences(deciding(then, asset, model, layer), now))

    def standing(self) -> list[tuple[str, str, str, str]]:
        """All that stands: (run, asset, model, layer)."""
        return [announced for announced in sorted(self._runs) if self.stands(*announced)]

    def others(self, assets: Sequence[str] | None = None) -> list[Row]:
        """Counts of shown products that come of other settings, by run and layer.

        Columns: run, asset, model, layer, n (how many), since (when the first was recorded).
        """
        rows = self.lineage.query(_NEWEST, [self.study.name])
        names = ("run", "asset", "model", "layer")
        return [
            row
            for row in rows
            if (assets is None or row["asset"] in assets)
            and not self.stands(*(row[name] for name in names))
        ]

    def notice(self, assets: Sequence[str] | None = None) -> str:
        """What to tell people of products that are shown and do not stand; empty for none.

        Args:
            assets: those that are shown; None for all.
        """
        others = self.others(assets)
        if not others:
            return ""
        rows = [row for row in others if row["model"]] or others
        count: Counter[str] = Counter()
        for row in rows:
            count[row["asset"]] += row["n"]
        amounts = ", ".join(f"{number:,} of {asset}" for asset, number in count.most_common(_SHOWN))
        more_assets = f" and {len(count) - _SHOWN} more assets" if len(count) > _SHOWN else ""
        newest = rows[0]
        settings = self.differences(*(newest[name] for name in ("run", "asset", "model", "layer")))
        more_settings = f" and {len(settings) - _SHOWN} more" if len(settings) > _SHOWN else ""
        return (
            f"made under other settings of {self.study.name!r} than now: {amounts}{more_assets}; "
            f"run {newest['run'][:8]} of {newest['since'][:10]} had "
            f"{'; '.join(settings[:_SHOWN])}{more_settings}. "
            "`dnd run` makes those of the present settings, `dnd plan` says what that takes."
        )


def stand_by(lineage: Lineage, study: Study) -> Standing:
    """Have a lineage give what the present settings of a study lead to, where that is recorded.

    Args:
        lineage: what is read afterwards, by its view `latest` and the views that rest on it.
        study: the study as it is now.
    """
    standing = Standing(lineage, study)
    lineage.prefer([announced_as(*announced) for announced in standing.standing()])
    return standing


def newest_study(lineage: Lineage, name: str) -> Study | None:
    """The study of a name as the newest run recorded it; None where none can be read."""
    sql = "SELECT definition FROM runs WHERE study = ? ORDER BY recorded_at DESC, run DESC LIMIT 1"
    rows = lineage.query(sql, [name])
    return _study(rows[0]["definition"], None) if rows else None


def _study(text: str, now: Study | None) -> Study | None:
    """A study as a run recorded it.

    One that was recorded without its folder is taken to have lain where the present one lies.
    """
    if not text:
        return None
    table = json.loads(text)
    folder = table.pop("folder", None) or (now.folder if now else Path())
    name = table.pop("name", "")
    try:
        study = Study.model_validate({**table, "name": "recorded", "folder": Path(folder)})
    except ValidationError:
        return None
    return study.model_copy(update={"name": name})  # "study+ablation", too, which no file may have


def _differences(then: Deciding, now: Deciding, name: str = "") -> Iterator[str]:
    """Each setting that is not the same, by its dotted name, with its value then and now."""
    for key in sorted({*then, *now}):
        before, after = then.get(key), now.get(key)
        full_name = f"{name}.{key}" if name else key
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _differences(before, after, full_name)
        elif before != after:
            yield f"{full_name} = {json.dumps(before)}, now {json.dumps(after)}"
