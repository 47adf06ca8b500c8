"""Evaluation of a file of labels against what the units are known to respond to."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from dnd_assets.errors import TableError, nearest
from dnd_assets.files.unit_texts import First, Numbering, Texts, numbering, read_labels, read_truths
from dnd_assets.methods.metrics import (
    Interval,
    TextEncoder,
    exact_matches,
    mean_interval,
    similarities,
)

_SHOWN: Final = 5


@dataclass(frozen=True)
class ScoredUnit:
    """One unit's label against its truth."""

    unit: str
    label: str
    truth: str
    similarity: float


@dataclass(frozen=True)
class Evaluation:
    """How labels and truths compare.

    Attributes:
        units: how many have both.
        similarity: mean cosine of label and truth.
        interval: 95 % bootstrap interval of it; NaN for a single unit.
        exact: labels that are their truth letter for letter.
        repeated: units whose label is in the file several times, always the same.
        unlabelled: units of the labels file without a label.
        without_truth: labelled units that no truth is known for.
        without_label: known truths whose unit has no label.
        scored: every unit, worst first.
        told: how the files count units, where that is not plain.
    """

    units: int
    similarity: float
    interval: Interval
    exact: int
    repeated: int
    unlabelled: int
    without_truth: int
    without_label: int
    scored: tuple[ScoredUnit, ...]
    told: tuple[str, ...] = ()

    @property
    def worst(self) -> tuple[ScoredUnit, ...]:
        """The units whose labels are furthest from the truth, worst first."""
        return self.scored[:_SHOWN]

    @property
    def best(self) -> tuple[ScoredUnit, ...]:
        """The units whose labels are nearest to the truth, best first."""
        return self.scored[::-1][:_SHOWN]

    def lines(self) -> list[str]:
        """The report for people."""
        low, high = self.interval
        bounds = "" if math.isnan(low) else f"  (95 % interval {low:.4f} to {high:.4f})"
        counts = {
            "repeated rows, counted once": self.repeated,
            "units without a label, left out": self.unlabelled,
            "labels without a truth, left out": self.without_truth,
            "truths without a label": self.without_label,
        }
        lines = [
            f"mean similarity  {self.similarity:.4f}{bounds}",
            f"units            {self.units:,}",
            f"exact matches    {self.exact:,}",
            *(f"{count:,} {title}" for title, count in counts.items() if count),
            *self.told,
        ]
        for name, rows in (("worst", self.worst), ("best", self.best)):
            lines.append(f"{name}:")
            lines += [f"  {r.similarity:.3f}  {r.unit}: {r.label} | {r.truth}" for r in rows]
        return lines

    def as_json(self) -> dict[str, object]:
        """All attributes as plain values; a missing number is None."""
        fields = asdict(self)
        interval = [None if math.isnan(end) else end for end in self.interval]
        return {**fields, "interval": interval, "scored": [asdict(unit) for unit in self.scored]}


def evaluate(
    labels: Path,
    truths: Path | None,
    encoder: TextEncoder,
    *,
    seed: int = 0,
    first_unit: First | None = None,
) -> Evaluation:
    """Compare a file of labels with the truths of a second file, or of a column beside them.

    Args:
        labels: CSV with a column of units (`unit`, `Neuron ID`, …) and one of labels.
        truths: CSV with a column of units and one of truths, or a text file whose line i, from
            0, is the truth of unit i; None takes the truths from a column of `labels`.
        encoder: the space in which they are compared.
        seed: of the bootstrap.
        first_unit: the number that the file of labels gives the first unit; None finds it out.

    Raises:
        NotFoundError: when a file does not exist.
        TableError: when a file cannot be understood, a unit has two texts, or no unit has both.
    """
    label_texts = read_labels(labels)
    truth_texts = read_truths(labels if truths is None else truths, beside=truths is None)
    counts = _numberings(label_texts, truth_texts, first_unit) if truths is not None else ()
    if counts:
        label_texts, truth_texts = (
            label_texts.shifted(counts[0].first),
            truth_texts.shifted(counts[1].first),
        )
    unit_truths = _truth_of(label_texts, truth_texts)
    unit_labels = [label_texts.by_unit[unit] for unit in unit_truths]
    values = similarities(unit_labels, list(unit_truths.values()), encoder)
    rows = [
        ScoredUnit(*row)
        for row in zip(unit_truths, unit_labels, unit_truths.values(), values.tolist(), strict=True)
    ]
    nan = float("nan")
    return Evaluation(
        units=len(rows),
        similarity=float(values.mean()),
        interval=mean_interval(values, seed=seed) if len(rows) > 1 else Interval(nan, nan),
        exact=int(exact_matches(unit_labels, list(unit_truths.values())).sum()),
        repeated=len(label_texts.repeated),
        unlabelled=len(label_texts.blank),
        without_truth=len(label_texts.by_unit) - len(rows),
        without_label=len(truth_texts.by_unit) - len(rows),
        scored=tuple(sorted(rows, key=lambda row: row.similarity)),
        told=tuple(count.told for count in counts if count.told),
    )


def _numberings(labels: Texts, truths: Texts, first: First | None) -> tuple[Numbering, Numbering]:
    """From where two files count units: the size of the layer that one holds settles the other."""
    of_labels = numbering(labels, _size(truths), first, "say --first-unit 1")
    size = _size(labels.shifted(of_labels.first))
    of_truths = numbering(truths, size, None, "renumber it")
    keyed = any("/" in unit for unit in (*labels.by_unit, *truths.by_unit))
    if first is None and not keyed and not {0} & {*labels.numbers, *truths.numbers}:
        return Numbering(0), Numbering(0)  # both count alike, it does not matter from where
    return of_labels, of_truths


def _size(texts: Texts) -> int | None:
    """How many units a layer has, by the largest number of a file that counts from 0; else None."""
    numbers = [int(unit.rpartition("/")[2]) for unit in texts.by_unit] if texts.numbers else []
    return max(numbers) + 1 if 0 in numbers else None


def _truth_of(labels: Texts, truths: Texts) -> dict[str, str]:
    """The truth of each labelled unit that has one, in the order of the labels.

    Raises:
        TableError: when no unit has both.
    """
    common = {unit: truths.by_unit[unit] for unit in labels.by_unit if unit in truths.by_unit}
    if common:
        return common
    numbers, by_number = _numbers(labels), {n: u for u, n in _numbers(truths).items()}
    matched = {u: truths.by_unit[by_number[n]] for u, n in numbers.items() if n in by_number}
    if not matched:
        example = next(iter(labels.by_unit), "none")
        nearest_units = ", ".join(nearest(example, truths.by_unit)) or "none"
        raise TableError(
            f"no unit has both a label in {labels.path} and a truth in {truths.path}. A labelled "
            f"unit: {example}; units with a truth: {nearest_units}. Name the units alike in both."
        )
    return matched


def _numbers(texts: Texts) -> dict[str, str]:
    """Each unit's number within its layer; `net/fc/3` and 3 are both 3.

    Raises:
        TableError: when units of several layers would share a number.
    """
    layers = sorted({unit.rpartition("/")[0] for unit in texts.by_unit})
    if len(layers) > 1:
        raise TableError(
            f"{texts.path} holds units of {len(layers):,} layers ({', '.join(layers[:3])}, …), "
            "which a number alone does not tell apart. Name the units by whole keys in both "
            "files, or evaluate one layer at a time."
        )
    return {unit: unit.rpartition("/")[2] for unit in texts.by_unit}
