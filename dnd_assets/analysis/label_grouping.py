"""The labels of a study or of a file, grouped by likeness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dnd_assets.analysis.unit_vectors import labels_of, recorded_units, text_encoder, text_vectors
from dnd_assets.engine.context import StudyContext
from dnd_assets.errors import StudyError, UpstreamError, not_found
from dnd_assets.files.unit_texts import read_labels
from dnd_assets.lineage.records import is_labels
from dnd_assets.methods.label_groups import SIMILARITY, LabelGroup, group_labels, plain_label
from dnd_assets.methods.metrics.text_similarity import TextEncoder
from dnd_assets.results.tables.table_source import TableSource


@dataclass(frozen=True)
class Grouping:
    """Groups of units by their labels.

    Attributes:
        groups: the largest first.
        unlabelled: units without a label; they are in no group.
    """

    groups: tuple[LabelGroup, ...]
    unlabelled: int

    def rows(self, least: int = 1) -> list[dict[str, object]]:
        """A row for each unit of a group of `least` units or more, for CSV and JSON."""
        return [
            {"unit": unit, "group": number, "name": group.name, "size": len(group.units)}
            for number, group in enumerate(self.groups, 1)
            if len(group.units) >= least
            for unit in group.units
        ]


def group_file(path: Path, encoder: TextEncoder, similarity: float = SIMILARITY) -> Grouping:
    """Group the labels of a file, read as by `dnd evaluate`.

    Raises:
        NotFoundError: when there is no such file.
        TableError: when it cannot be understood.
    """
    labels = read_labels(path)
    texts = sorted({plain_label(text) for text in labels.by_unit.values()})
    vectors = dict(zip(texts, encoder.encode(texts), strict=True)) if texts else {}
    groups = group_labels(labels.by_unit, vectors, similarity) if texts else []
    return Grouping(tuple(groups), len(labels.blank))


def group_study(
    context: StudyContext,
    units: Sequence[str] = (),
    asset: str = "labels",
    similarity: float = SIMILARITY,
) -> Grouping:
    """Group the best labels of a study's units, in its sentence or image-text encoder's space.

    Args:
        context: the study's context.
        units: keys, prefixes or ranges; none for all.
        asset: whose labels.
        similarity: mean cosine from which two groups are one.

    Raises:
        UpstreamError: when nothing was recorded.
        NotFoundError: when a unit, or the asset of labels, does not exist.
        StudyError: when the encoder cannot be used.
    """
    source = TableSource(context.lineage, context.study.name)
    selected = recorded_units(source).select(units)
    label_assets = [name for name in source.assets if is_labels(name)]
    if asset not in label_assets:
        raise not_found("asset of labels", asset, label_assets, "Run `dnd run` for it first.")
    best_labels = {
        unit_label.unit: unit_label.label
        for unit_label in labels_of(source)
        if unit_label.asset == asset and unit_label.best
    }
    labels = {unit.key: best_labels[unit] for unit in selected if unit in best_labels}
    if not labels:
        raise UpstreamError(f"none of {len(selected):,} units has a label by {asset}.")
    encoder, remark = text_encoder(context)
    if encoder is None:
        raise StudyError(f"labels cannot be compared: {remark}")
    texts = sorted({plain_label(text) for text in labels.values()})
    vectors = dict(zip(texts, text_vectors(context, encoder, texts), strict=True))
    groups = group_labels(labels, vectors, similarity)
    return Grouping(tuple(groups), len(selected) - len(labels))
