"""What a run would do for one asset: a row of `dnd plan`."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class StagePlan:
    """What a run would do for one asset.

    Attributes:
        asset: the asset.
        reuse: units whose stored product is taken.
        compute: units that are computed for certain.
        may: units whose inputs change; computed unless the new content equals the old.
        cost: work of the certain units, exactly: passes, captions, calls, pictures.
        most: work of the `may` units, at most.
        seconds: time of the certain units from measured rates; None when nothing was measured.
        most_seconds: the same with all `may` units.
        why: reasons for which the certain units are computed, with the number of units of each.
    """

    asset: str
    reuse: int = 0
    compute: int = 0
    may: int = 0
    cost: dict[str, int] = field(default_factory=dict)
    most: dict[str, int] = field(default_factory=dict)
    seconds: float | None = None
    most_seconds: float | None = None
    why: dict[str, int] = field(default_factory=dict)
