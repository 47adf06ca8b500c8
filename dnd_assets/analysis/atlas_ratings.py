"""What people said of labels on the pages of an atlas: read, counted, and given back as labels."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dnd_assets.analysis.metric_means import method_name
from dnd_assets.errors import StudyError, TableError, not_found
from dnd_assets.files.csv_tables import guarded, read_text

FORMAT: Final = "dnd-ratings"
VERSION: Final = 1
_VERDICTS: Final = ("up", "down", "")
_LONGEST: Final = 2_000
_ADVICE: Final = "Press `Export as a file` on the page Ratings of an atlas."


@dataclass(frozen=True)
class Rating:
    """What one person said of one label.

    Attributes:
        unit: key of the unit.
        method: asset of labels; empty for a unit that none was asked of.
        label: the label that was judged, as the page shows it; empty for no label.
        verdict: `up` for right, `down` for wrong, empty where only a better label is given.
        better: the label that the person would give; empty for none.
        at: when, as ISO 8601 in UTC.
    """

    unit: str
    method: str
    label: str
    verdict: str
    better: str
    at: str


@dataclass(frozen=True)
class Tally:
    """Ratings of one method's labels in one layer.

    Attributes:
        layer: `model/layer`.
        method: name of the method.
        up: labels found right.
        down: labels found wrong.
        better: labels that were given instead.
        low: lower end of the 95 % interval of the share found right (Wilson); None without any.
        high: its upper end.
    """

    layer: str
    method: str
    up: int
    down: int
    better: int
    low: float | None
    high: float | None

    @property
    def share(self) -> float | None:
        """Share of labels found right; None without any verdict."""
        return self.up / (self.up + self.down) if self.up + self.down else None


def read_atlas_ratings(path: Path, study: str) -> list[Rating]:
    """Ratings as the atlas exports them; of two of a unit and method, the later one.

    Args:
        path: of the file.
        study: name of the study that they have to be of.

    Raises:
        NotFoundError: when there is no such file.
        TableError: when it is no such file, or an entry is not sound; names the entry.
        StudyError: when it is of another study.
    """
    try:
        content = json.loads(read_text(path))
    except ValueError as error:
        raise TableError(f"{path} is no JSON ({error}). {_ADVICE}") from error
    if not isinstance(content, Mapping) or content.get("format") != FORMAT:
        raise TableError(f"{path} is no export of an atlas's ratings. {_ADVICE}")
    if content.get("version") != VERSION:
        raise TableError(
            f"{path} is of version {content.get('version')!r}; this program reads {VERSION}. "
            "Export again from an atlas that `dnd report` of this version wrote."
        )
    if content.get("study") != study:
        raise StudyError(
            f"{path} holds ratings of study {content.get('study')!r}, and {study!r} was asked "
            "about. Give the study they are of: --study."
        )
    entries = content.get("ratings")
    if not isinstance(entries, list):
        raise TableError(f"{path} has no list of ratings. {_ADVICE}")
    return newest(_rating(entry, n, path) for n, entry in enumerate(entries, 1))


def newest(ratings: Iterable[Rating]) -> list[Rating]:
    """Of several ratings of a unit and method the latest, ordered by unit and method."""
    latest: dict[tuple[str, str], Rating] = {}
    for rating in sorted(ratings, key=lambda r: (r.unit, r.method, r.at)):
        latest[rating.unit, rating.method] = rating
    return list(latest.values())


def check_units(ratings: Iterable[Rating], labelled: Iterable[str]) -> None:
    """Check that every rated unit has a label.

    Raises:
        NotFoundError: when one has none; names the nearest.
    """
    labelled_units = dict.fromkeys(labelled)
    for rating in ratings:
        if rating.unit not in labelled_units:
            raise not_found(
                "unit with labels", rating.unit, labelled_units, "The study no longer labels it."
            )


def outdated(ratings: Iterable[Rating], present: Mapping[tuple[str, str], str]) -> list[Rating]:
    """Ratings of a label that the unit no longer has.

    Args:
        ratings: what people said.
        present: the label of each unit and asset as pages show it; empty for none.
    """
    return [
        rating
        for rating in ratings
        if present.get((rating.unit, rating.method), "") != rating.label
    ]


def tally(ratings: Sequence[Rating]) -> list[Tally]:
    """Ratings counted by layer and method, in the order of the ratings."""
    groups: dict[tuple[str, str], list[Rating]] = {}
    for rating in ratings:
        groups.setdefault((rating.unit.rpartition("/")[0], rating.method), []).append(rating)
    return [_tally(layer, method, group) for (layer, method), group in groups.items()]


def corrected(ratings: Iterable[Rating]) -> str:
    """Labels that people give, as a CSV that `[imported_labels]` reads: unit, label.

    The better label where one is given, else the label itself where it was found right; units
    whose label is wrong and that got no better one are left out. The latest rating counts. Of
    several methods' labels of a unit a better one goes before one that was found right.
    """
    corrections: dict[str, tuple[bool, str]] = {}
    for rating in newest(ratings):
        text = rating.better or (rating.label if rating.verdict == "up" else "")
        if text and (
            rating.unit not in corrections or (rating.better and not corrections[rating.unit][0])
        ):
            corrections[rating.unit] = (bool(rating.better), text)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["unit", "label"])
    writer.writerows([unit, guarded(text)] for unit, (_, text) in corrections.items())
    return buffer.getvalue()


def _rating(entry: object, number: int, path: Path) -> Rating:
    texts = {}
    for name in ("unit", "method", "label", "verdict", "better", "at"):
        text = entry.get(name, "") if isinstance(entry, Mapping) else None
        if not isinstance(text, str) or len(text) > _LONGEST:
            raise TableError(f"{path}: rating {number} has no sound {name!r}: a text is wanted.")
        texts[name] = " ".join(text.split()) if name == "better" else text
    if not texts["unit"] or texts["verdict"] not in _VERDICTS:
        raise TableError(
            f"{path}: rating {number} needs a unit, and a verdict of 'up', 'down' or ''; found "
            f"unit {texts['unit']!r}, verdict {texts['verdict']!r}."
        )
    return Rating(**texts)


def _tally(layer: str, method: str, ratings: Sequence[Rating]) -> Tally:
    from scipy.stats import binomtest

    up = sum(rating.verdict == "up" for rating in ratings)
    down = sum(rating.verdict == "down" for rating in ratings)
    low = high = None
    if up + down:
        bounds = binomtest(up, up + down).proportion_ci(method="wilson")
        low, high = float(bounds.low), float(bounds.high)
    better = sum(bool(rating.better) for rating in ratings)
    return Tally(layer, method_name(method), up, down, better, low, high)
