"""Methods and ablations side by side: how many units each labels, how well, and how alike.

A method is a column of labels; where these come from stands in `compare_request`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from dnd_assets.analysis.metric_means import MetricMean
from dnd_assets.errors import TableError
from dnd_assets.methods.metrics import TextEncoder, similarities
from dnd_assets.methods.metrics.means import Mean, mean_of
from dnd_assets.methods.metrics.strict_match import Strict


@dataclass(frozen=True)
class Costs:
    """What it took to make labels.

    Attributes:
        seconds: of all stages, a unit, as the newest run of each stage took them.
        pictures: painted for labels, a unit; units that share a picture share its part.
    """

    seconds: float
    pictures: float


@dataclass(frozen=True)
class Method:
    """A column of labels.

    Attributes:
        name: what the method is called.
        by_unit: label of each unit that the method was asked for, by key; None where it gave none.
        setting: what sets it apart, for people.
        costs: what its labels took, where that is known of it alone.
    """

    name: str
    by_unit: Mapping[str, str | None]
    setting: str = ""
    costs: Costs | None = None


@dataclass(frozen=True)
class Judgement:
    """What is found of a label, or of no label, of a unit whose truth is known.

    Attributes:
        exact: whether it names the truth and nothing else.
        holds: whether it holds the words of the truth, whatever else it says; None where truths
            are texts of no known words.
        words: precision, recall and F1 of its content words; None likewise.
    """

    exact: bool
    holds: bool | None = None
    words: Strict | None = None


@dataclass(frozen=True)
class Reference:
    """What is known about the units that are compared.

    Attributes:
        groups: the group that each unit is counted in, by key, in the order of the units.
        texts: what each unit responds to, where it is known; any of them is right.
        judge: what is found of a label, or of None for no label; None where nobody knows.
    """

    groups: Mapping[str, str]
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    judge: Callable[[str, str | None], Judgement | None] = lambda unit, label: None


@dataclass(frozen=True)
class Row:
    """One method in one group.

    Attributes:
        group: the group of units.
        method: name of the method.
        units: how many of the group's units the method was asked for.
        labelled: how many of them have a label; the method abstained from the others.
        words: mean words of these labels. A judge that looks for words favours long labels.
        exact: share of labels that name the truth and nothing else, over units whose truth is
            known. A unit without a label counts too: as wrong, unless no label is what is right.
        holds: share of labels that hold the words of the truth, whatever else they say.
        precision: mean share of a label's content words that are in the truth.
        recall: mean share of the truth's words that are in the label.
        f1: mean of the harmonic means of the two.
        similarity: mean cosine of label and nearest truth, over units that have both.
    """

    group: str
    method: str
    units: int
    labelled: int
    words: float | None
    exact: Mean | None
    holds: Mean | None
    precision: Mean | None
    recall: Mean | None
    f1: Mean | None
    similarity: Mean | None


@dataclass(frozen=True)
class Pair:
    """How alike two methods are in one group, over the units that both have labelled.

    Attributes:
        group: the group of units.
        one: name of a method.
        other: name of a later method.
        units: how many units both have labelled.
        exact: share of these with the same label, letter for letter.
        similarity: mean cosine of the two labels.
    """

    group: str
    one: str
    other: str
    units: int
    exact: float
    similarity: float | None


@dataclass(frozen=True)
class Comparison:
    """Methods side by side.

    Attributes:
        methods: the methods, in their given order.
        rows: one for each group and each method that has been asked for any of its units.
        pairs: one for each group and two methods with a common labelled unit.
        metrics: means of the metrics that the study has of its labels.
    """

    methods: tuple[Method, ...]
    rows: tuple[Row, ...]
    pairs: tuple[Pair, ...]
    metrics: tuple[MetricMean, ...] = ()

    @property
    def groups(self) -> list[str]:
        """The groups, in the order of their first units."""
        return list(dict.fromkeys(row.group for row in self.rows))

    def row(self, group: str, method: str) -> Row | None:
        """A method's row in a group, if it has been asked for any unit there."""
        return next((r for r in self.rows if (r.group, r.method) == (group, method)), None)

    def as_json(self) -> dict[str, object]:
        """All attributes as plain values."""
        return {
            "methods": [
                {"method": method.name, "setting": method.setting} for method in self.methods
            ],
            "rows": [asdict(row) for row in self.rows],
            "agreement": [asdict(pair) for pair in self.pairs],
            "metrics": [metric.as_json() for metric in self.metrics],
        }


def compare(
    methods: Sequence[Method], reference: Reference, encoder: TextEncoder | None = None
) -> Comparison:
    """Measure methods on the units of a reference.

    Args:
        methods: the methods; their order decides the order of the rows and nothing else.
        reference: groups and truths of the units.
        encoder: space in which labels are compared; None leaves similarities out.

    Raises:
        TableError: when two methods have one name.
    """
    require_distinct([method.name for method in methods])
    groups: dict[str, list[str]] = {}
    for unit, group in reference.groups.items():
        groups.setdefault(group, []).append(unit)
    rows = [
        _row(group, method, asked_units, reference, encoder)
        for group, units in groups.items()
        for method in methods
        if (asked_units := [unit for unit in units if unit in method.by_unit])
    ]
    pairs = [
        _pair(group, first, second, common_units, encoder)
        for group, units in groups.items()
        for first, second in itertools.combinations(methods, 2)
        if (common_units := [u for u in units if first.by_unit.get(u) and second.by_unit.get(u)])
    ]
    return Comparison(tuple(methods), tuple(rows), tuple(pairs))


def require_distinct(names: Sequence[str]) -> None:
    """Check that no two methods have the same name.

    Raises:
        TableError: when two are the same.
    """
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise TableError(f"two methods are called {repeated[0]!r}. Give the file another name.")


def _row(
    group: str,
    method: Method,
    units: Sequence[str],
    reference: Reference,
    encoder: TextEncoder | None,
) -> Row:
    labels = {unit: method.by_unit[unit] for unit in units}
    verdicts = [reference.judge(unit, label) for unit, label in labels.items()]
    judgements = [judgement for judgement in verdicts if judgement is not None]
    matches = [judgement.words for judgement in judgements if judgement.words is not None]
    labelled = {unit: label for unit, label in labels.items() if label}
    cosines = _nearness(labelled, reference.texts, encoder) if encoder else []
    words = (
        float(np.mean([len(label.split()) for label in labelled.values()])) if labelled else None
    )
    return Row(
        group,
        method.name,
        len(units),
        len(labelled),
        words,
        exact=mean_of([float(judgement.exact) for judgement in judgements]),
        holds=mean_of(
            [float(judgement.holds) for judgement in judgements if judgement.holds is not None]
        ),
        precision=mean_of([match.precision for match in matches]),
        recall=mean_of([match.recall for match in matches]),
        f1=mean_of([match.f1 for match in matches]),
        similarity=mean_of(cosines),
    )


def _nearness(
    labels: Mapping[str, str], truths: Mapping[str, tuple[str, ...]], encoder: TextEncoder
) -> list[float]:
    """Cosine of each label with the nearest of its unit's truths, where there are any."""
    triples = [(u, label, text) for u, label in labels.items() for text in truths.get(u, ())]
    if not triples:
        return []
    units, label_texts, truth_texts = zip(*triples, strict=True)
    best_cosine: dict[str, float] = {}
    for unit, value in zip(
        units, similarities(label_texts, truth_texts, encoder).tolist(), strict=True
    ):
        best_cosine[unit] = max(value, best_cosine.get(unit, -1.0))
    return list(best_cosine.values())


def _pair(
    group: str, first: Method, second: Method, units: Sequence[str], encoder: TextEncoder | None
) -> Pair:
    first_labels, second_labels = (
        [str(method.by_unit[unit]) for unit in units] for method in (first, second)
    )
    agreement = np.mean([a == b for a, b in zip(first_labels, second_labels, strict=True)])
    cosine = (
        None
        if encoder is None
        else float(similarities(first_labels, second_labels, encoder).mean())
    )
    return Pair(group, first.name, second.name, len(units), float(agreement), cosine)
