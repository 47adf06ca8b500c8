"""Comparisons and evaluations as tables for the terminal, CSV, JSON and Markdown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, Literal

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dnd_assets.analysis.class_prediction import ClassPrediction
from dnd_assets.analysis.compare import Comparison, Method, Pair, Row
from dnd_assets.analysis.metric_means import WORTHLESS, EvaluationReport, MetricMean, Soundness
from dnd_assets.methods.metrics.means import Mean
from dnd_assets.results.labels import export

HEAD: Final = ("method", "setting", "words")


def show(comparison: Comparison, out: Console) -> None:
    """Print two tables for each group: how the methods do, and how alike they are."""
    for group in comparison.groups:
        rows = [row for row in comparison.rows if row.group == group]
        out.print(_measures(group, rows))
        agreement = _agreement(comparison, group, [row.method for row in rows])
        if agreement is not None:
            out.print(agreement)
        measured = [metric for metric in comparison.metrics if metric.group == group]
        if measured:
            out.print(metrics_table(measured))
        out.print()


def metrics_table(means: Sequence[MetricMean]) -> Table:
    """Metrics by method, of one group: mean, interval, units, and units without a value."""
    table = Table(box=None, pad_edge=False, title="metrics by method", title_justify="left")
    for name in ("metric", "method"):
        table.add_column(name, no_wrap=True)
    for name in ("mean", "95 %", "units", "without"):
        table.add_column(name, justify="right", no_wrap=True)
    for metric in dict.fromkeys(metric_mean.metric for metric_mean in means):
        for row_number, metric_mean in enumerate(
            metric_mean for metric_mean in means if metric_mean.metric == metric
        ):
            cells = (
                f"{metric_mean.mean.mean:.3f}",
                _ends(metric_mean.mean),
                f"{metric_mean.mean.units:,}",
            )
            missing = f"{metric_mean.without:,}" if metric_mean.without else ""
            table.add_row("" if row_number else metric, escape(metric_mean.method), *cells, missing)
    return table


def show_evaluation(
    report: EvaluationReport, classes: Sequence[ClassPrediction], out: Console
) -> None:
    """Print the metrics of each layer, what the sanity checks say of them, and the classes."""
    for layer in dict.fromkeys(metric_mean.group for metric_mean in report.means):
        out.print(layer, style="bold", markup=False)
        out.print(
            metrics_table(
                [metric_mean for metric_mean in report.means if metric_mean.group == layer]
            )
        )
        checks = [check for check in report.checks if check.layer == layer]
        if checks:
            out.print(_sanity_table(checks))
        out.print()
    if classes:
        out.print(_classes_table(classes))


def _sanity_table(checks: Sequence[Soundness]) -> Table:
    """Mean with labels as they are and made wrong, the share of units that fell, the verdict."""
    title = "are the metrics sound: do they fall when labels are made wrong"
    table = Table(box=None, pad_edge=False, title=title, title_justify="left")
    for name in ("metric", "method", "made wrong"):
        table.add_column(name, no_wrap=True)
    for name in ("mean", "then", "fell"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for entry in checks:
        check = entry.check
        numbers = (f"{check.plain:.3f}", f"{check.changed:.3f}", f"{check.dropped:.0%}")
        cells = numbers if check.units else ("-", "-", "-")
        style = "red" if entry.verdict == WORTHLESS else ""
        table.add_row(
            check.metric, escape(entry.method), check.check, *cells, entry.verdict, style=style
        )
    return table


def _classes_table(predictions: Sequence[ClassPrediction]) -> Table:
    title = "class of an image, read off the label of its most contributing unit"
    table = Table(box=None, pad_edge=False, title=title, title_justify="left")
    for name in ("layer", "method"):
        table.add_column(name, no_wrap=True)
    for name in ("right", "95 %", "labels", "weights ~ likeness"):
        table.add_column(name, justify="right", no_wrap=True)
    for prediction in predictions:
        correlations = [prediction.correlation, prediction.top_correlation]
        likeness = ", top ".join(f"{value:.3f}" for value in correlations if value is not None)
        cells = (
            f"{prediction.right.mean:.1%}",
            percent(prediction.right),
            f"{prediction.labelled:,}",
        )
        table.add_row(prediction.layer, escape(prediction.method), *cells, likeness or "-")
    feeding_inputs, inputs = predictions[0].feeds
    table.caption = (
        f"{predictions[0].classes:,} classes, the most common {predictions[0].most_common:.1%} of "
        f"{predictions[0].right.units:,} images; {predictions[0].layer} gives {feeding_inputs:,} "
        f"of the last layer's {inputs:,} inputs"
    )
    table.caption_justify = "left"
    return table


def _measures(group: str, rows: list[Row]) -> Table:
    table = Table(box=None, pad_edge=False, title=group, title_justify="left")
    table.add_column("method", no_wrap=True, min_width=max(len(row.method) for row in rows))
    compared = any(row.similarity for row in rows)
    cosine = ("cosine", "95 %") if compared else ()
    by_word = ("holds", "precision", "recall", "F1") if any(row.f1 for row in rows) else ()
    for name in ("units", "labelled", "words", "exact", "95 %", *by_word, *cosine):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        cells = (
            f"{row.units:,}",
            f"{row.labelled / row.units:.0%}",
            f"{row.words:.1f}" if row.words is not None else "-",
            _count(row.exact),
            percent(row.exact),
            *(_word_for_word(row) if by_word else ()),
        )
        similarity_cells = (
            f"{row.similarity.mean:.4f}" if row.similarity else "-",
            _ends(row.similarity),
        )
        table.add_row(escape(row.method), *cells, *(similarity_cells if compared else ()))
    return table


def _count(share: Mean | None) -> str:
    return f"{share.count}/{share.units}" if share else "-"


def _word_for_word(row: Row) -> tuple[str, ...]:
    means = (row.precision, row.recall, row.f1)
    return (_count(row.holds), *(f"{mean.mean:.2f}" if mean else "-" for mean in means))


def _agreement(comparison: Comparison, group: str, names: list[str]) -> Table | None:
    """How often each two methods give the same label; columns are numbered as the rows are."""
    pairs = {(p.one, p.other): p for p in comparison.pairs if p.group == group}
    if not pairs:
        return None
    table = Table(box=None, pad_edge=False)
    table.add_column("same label as number", no_wrap=True)
    for number in range(1, len(names)):
        table.add_column(str(number), justify="right")
    for number, name in enumerate(names, 1):
        cells = [_alike(pairs.get((other_name, name))) for other_name in names[: number - 1]]
        table.add_row(f"{number} {escape(name)}", *cells)
    return table


def _alike(pair: Pair | None) -> str:
    if pair is None:
        return "-"
    return f"{pair.exact:.0%}" + ("" if pair.similarity is None else f" {pair.similarity:.3f}")


def as_text(comparison: Comparison, form: Literal["csv", "json", "markdown"]) -> str:
    """A comparison as the text of a CSV file, of JSON, or of a Markdown table."""
    if form == "markdown":
        return markdown(comparison)
    if form == "json":
        return json.dumps(comparison.as_json(), indent=1, ensure_ascii=False) + "\n"
    return export(_flat(comparison), "csv").decode()


def _flat(comparison: Comparison) -> pd.DataFrame:
    """One row for each group and method; the last columns hold the agreement with each method."""
    agreement: dict[tuple[str, str, str], tuple[float, float | None]] = {}
    for pair in comparison.pairs:
        for first, second in ((pair.one, pair.other), (pair.other, pair.one)):
            agreement[pair.group, first, second] = (pair.exact, pair.similarity)
    rows = []
    for row in comparison.rows:
        flat_row: dict[str, object] = {"group": row.group, "method": row.method}
        flat_row |= {"units": row.units, "labelled": row.labelled, "words": row.words}
        for name, mean in _means(row):
            flat_row[name] = mean.mean if mean else None
            flat_row |= {
                f"{name} {end}": getattr(mean, end, None) for end in ("low", "high", "units")
            }
        for method in comparison.methods:
            exact, cosine = agreement.get((row.group, row.method, method.name), (None, None))
            flat_row |= {f"same as {method.name}": exact, f"cosine with {method.name}": cosine}
        rows.append(flat_row)
    return pd.DataFrame(rows)


def _means(row: Row) -> tuple[tuple[str, Mean | None], ...]:
    return (
        ("exact", row.exact),
        ("holds", row.holds),
        ("precision", row.precision),
        ("recall", row.recall),
        ("f1", row.f1),
        ("cosine", row.similarity),
    )


def markdown(comparison: Comparison) -> str:
    """A row for each method, a column for each group: exact of all, the interval, and F1.

    Labels that hold the truth among other words follow where they are more.
    """
    groups = comparison.groups
    lines = [line_of([*HEAD, *groups]), "|" + "---|" * (len(groups) + len(HEAD))]
    for method in comparison.methods:
        cells = [_cell(comparison.row(group, method.name)) for group in groups]
        lines.append(line_of([method.name, method.setting, _words(comparison, method), *cells]))
    return "\n".join(lines) + "\n"


def _words(comparison: Comparison, method: Method) -> str:
    """Mean number of words of a method's labels over all groups, as text."""
    rows = [row for row in comparison.rows if row.method == method.name and row.words is not None]
    labelled = sum(row.labelled for row in rows)
    return f"{sum((r.words or 0) * r.labelled for r in rows) / labelled:.1f}" if rows else "-"


def line_of(cells: Sequence[str]) -> str:
    """A row of a Markdown table."""
    escaped = (cell.replace("|", "\\|").replace("\n", " ") for cell in cells)
    return f"| {' | '.join(escaped)} |"


def _cell(row: Row | None) -> str:
    if row is None:
        return "-"
    if row.exact is None:
        text = f"{row.labelled} / {row.units} labelled"
    else:
        interval = percent(row.exact)
        text = f"{row.exact.count} / {row.exact.units}" + (f" ({interval})" if interval else "")
        if row.holds and row.holds.count > row.exact.count:
            text += f", {row.holds.count} hold it"
        if row.f1 and row.f1.mean < 1:
            text += f", F1 {row.f1.mean:.2f}"
    if row.similarity is None:
        return text
    interval = _ends(row.similarity)
    return f"{text}, cosine {row.similarity.mean:.3f}" + (f" ({interval})" if interval else "")


def percent(mean: Mean | None) -> str:
    """The interval of a share, such as `40 to 60 %`; empty where the bootstrap knows none."""
    if mean is None or mean.low is None or mean.high is None or mean.low == mean.high:
        return ""  # equal values tell the bootstrap nothing about how sure their mean is
    return f"{100 * mean.low:.0f} to {100 * mean.high:.0f} %"


def _ends(mean: Mean | None) -> str:
    if mean is None or mean.low is None or mean.high is None:
        return ""
    return f"{mean.low:.3f} to {mean.high:.3f}"
