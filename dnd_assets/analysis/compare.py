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
    """What labels took.

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
        """All of it as plain values."""
        return {
            "methods": [{"method": one.name, "setting": one.setting} for one in self.methods],
            "rows": [asdict(row) for row in self.rows],
            "agreement": [asdict(pair) for pair in self.pairs],
            "metrics": [one.as_json() for one in self.metrics],
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
    require_distinct([one.name for one in methods])
    groups: dict[str, list[str]] = {}
    for unit, group in reference.groups.items():
        groups.setdefault(group, []).append(unit)
    rows = [
        _row(group, one, asked, reference, encoder)
        for group, units in groups.items()
        for one in methods
        if (asked := [unit for unit in units if unit in one.by_unit])
    ]
    pairs = [
        _pair(group, one, other, both, encoder)
        for group, units in groups.items()
        for one, other in itertools.combinations(methods, 2)
        if (both := [u for u in units if one.by_unit.get(u) and other.by_unit.get(u)])
    ]
    return Comparison(tuple(methods), tuple(rows), tuple(pairs))


def require_distinct(names: Sequence[str]) -> None:
    """Check names of methods.

    Raises:
        TableError: when two are the same.
    """
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise TableError(f"two methods are called {twice[0]!r}. Give the file another name.")


def _row(
    group: str,
    method: Method,
    units: Sequence[str],
    reference: Reference,
    encoder: TextEncoder | None,
) -> Row:
    said = {unit: method.by_unit[unit] for unit in units}
    asked = [reference.judge(unit, label) for unit, label in said.items()]
    judged = [one for one in asked if one is not None]
    word_for_word = [one.words for one in judged if one.words is not None]
    labelled = {unit: label for unit, label in said.items() if label}
    near = _nearness(labelled, reference.texts, encoder) if encoder else []
    words = (
        float(np.mean([len(label.split()) for label in labelled.values()])) if labelled else None
    )
    return Row(
        group,
        method.name,
        len(units),
        len(labelled),
        words,
        exact=mean_of([float(one.exact) for one in judged]),
        holds=mean_of([float(one.holds) for one in judged if one.holds is not None]),
        precision=mean_of([one.precision for one in word_for_word]),
        recall=mean_of([one.recall for one in word_for_word]),
        f1=mean_of([one.f1 for one in word_for_word]),
        similarity=mean_of(near),
    )


def _nearness(
    labels: Mapping[str, str], truths: Mapping[str, tuple[str, ...]], encoder: TextEncoder
) -> list[float]:
    """Cosine of each label with the nearest of its unit's truths, where there are any."""
    triples = [(u, label, text) for u, label in labels.items() for text in truths.get(u, ())]
    if not triples:
        return []
    units, said, true = zip(*triples, strict=True)
    best: dict[str, float] = {}
    for unit, value in zip(units, similarities(said, true, encoder).tolist(), strict=True):
        best[unit] = max(value, best.get(unit, -1.0))
    return list(best.values())


def _pair(
    group: str, one: Method, other: Method, units: Sequence[str], encoder: TextEncoder | None
) -> Pair:
    said, also = ([str(method.by_unit[unit]) for unit in units] for method in (one, other))
    same = np.mean([a == b for a, b in zip(said, also, strict=True)])
    near = None if encoder is None else float(similarities(said, also, encoder).mean())
    return Pair(group, one.name, other.name, len(units), float(same), near)
