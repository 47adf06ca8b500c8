"""Methods and ablations side by side: how many units each labels, how well, and how alike.

A method is a column of labels. The lineage holds those of the study, of its ablations and of every
other asset that ends in `_labels`; files bring those of anyone else.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from dnd_assets.ablations import SEPARATOR, ablation, variants
from dnd_assets.bench import build_bench, find_units
from dnd_assets.errors import NotFoundError, TableError
from dnd_assets.known_answers.target import Strict, is_correct, strict
from dnd_assets.known_answers.target import truths as known_truths
from dnd_assets.label_files import EMPTY, sizes_of
from dnd_assets.means import Mean, mean_of
from dnd_assets.methods.metrics import TextEncoder, similarities
from dnd_assets.metric_means import DND, MetricMean, method_name, metric_means
from dnd_assets.standing import stand_by
from dnd_assets.study import Study
from dnd_assets.unit_texts import Texts, by_key, numbering, read_labels, read_truths
from dnd_assets.units import Unit
from resources.lineage_db import Lineage

Sizes = Mapping[str, int]
"""Units of each layer, by `model/layer`."""
_STRICT: Final = ("exact", "precision", "recall", "f1")
_WORLD_NET: Final = "module:dnd_assets.known_answers.target:world_net"


@dataclass(frozen=True)
class Method:
    """A column of labels.

    Attributes:
        name: what the method is called.
        by_unit: label of each unit that the method was asked for, by key; None where it gave none.
        setting: what sets it apart, for people.
    """

    name: str
    by_unit: Mapping[str, str | None]
    setting: str = ""


@dataclass(frozen=True)
class Reference:
    """What is known about the units that are compared.

    Attributes:
        groups: the group that each unit is counted in, by key, in the order of the units.
        texts: what each unit responds to, where it is known; any of them is right.
        right: whether a label, or None for no label, is right for a unit; None where nobody knows.
        strict: the same, word for word; None where the truth has no words.
    """

    groups: Mapping[str, str]
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    right: Callable[[str, str | None], bool | None] = lambda unit, label: None
    strict: Callable[[str, str | None], Strict | None] = lambda unit, label: None


@dataclass(frozen=True)
class StrictMeans:
    """How labels do when they have to name the truth and nothing else.

    Attributes:
        exact: share of labels that name the truth and nothing else.
        precision: mean share of a label's content words that are in the truth.
        recall: mean share of the truth's words that are in the label.
        f1: mean of the harmonic means of the two.
    """

    exact: Mean
    precision: Mean
    recall: Mean
    f1: Mean


@dataclass(frozen=True)
class Row:
    """One method in one group.

    Attributes:
        group: the group of units.
        method: name of the method.
        units: how many of the group's units the method was asked for.
        labelled: how many of them have a label.
        words: mean words of these labels. A judge that looks for words favours long labels.
        right: share of right labels, over units whose truth is known. A unit without a label
            counts too: as wrong, unless no label is what is right.
        similarity: mean cosine of label and nearest truth, over units that have both.
        strict: word for word, over the units of `right` whose truth has words.
    """

    group: str
    method: str
    units: int
    labelled: int
    words: float | None
    right: Mean | None
    similarity: Mean | None
    strict: StrictMeans | None = None

    @property
    def abstained(self) -> int:
        """How many units the method was asked for and gave no label."""
        return self.units - self.labelled


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
        strict: of each method over all groups, where truths have words.
    """

    methods: tuple[Method, ...]
    rows: tuple[Row, ...]
    pairs: tuple[Pair, ...]
    metrics: tuple[MetricMean, ...] = ()
    strict: Mapping[str, StrictMeans] = field(default_factory=dict)

    @property
    def groups(self) -> list[str]:
        """The groups, in the order of their first units."""
        return list(dict.fromkeys(row.group for row in self.rows))

    def row(self, group: str, method: str) -> Row | None:
        """A method's row in a group, if it has been asked for any unit there."""
        return next((r for r in self.rows if (r.group, r.method) == (group, method)), None)

    def as_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "methods": [{"method": one.name, "setting": one.setting} for one in self.methods],
            "rows": [asdict(row) | {"abstained": row.abstained} for row in self.rows],
            "strict": {name: asdict(means) for name, means in self.strict.items()},
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
    _require_distinct([one.name for one in methods])
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
    whole = {one.name: _strict(one, list(reference.groups), reference) for one in methods}
    told = {name: means for name, means in whole.items() if means is not None}
    return Comparison(tuple(methods), tuple(rows), tuple(pairs), strict=told)


def _strict(method: Method, units: Iterable[str], reference: Reference) -> StrictMeans | None:
    """Labels held against the truth word for word, over those units that were asked for."""
    asked = [unit for unit in units if unit in method.by_unit]
    judged = [reference.strict(unit, method.by_unit[unit]) for unit in asked]
    known = [one for one in judged if one is not None]
    means = [mean_of([float(getattr(one, name)) for one in known]) for name in _STRICT]
    exact, precision, recall, f1 = means
    if exact is None or precision is None or recall is None or f1 is None:
        return None
    return StrictMeans(exact, precision, recall, f1)


def _require_distinct(names: Sequence[str]) -> None:
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
    judged = [reference.right(unit, label) for unit, label in said.items()]
    right = [float(one) for one in judged if one is not None]
    labelled = {unit: label for unit, label in said.items() if label}
    near = _nearness(labelled, reference.texts, encoder) if encoder else []
    words = (
        float(np.mean([len(label.split()) for label in labelled.values()])) if labelled else None
    )
    return Row(
        group, method.name, len(units), len(labelled), words, mean_of(right), mean_of(near),
        _strict(method, units, reference),
    )  # fmt: skip


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


@dataclass(frozen=True)
class Request:
    """What to compare, read and checked, so that nothing is found wrong after hours of work.

    Attributes:
        study: the study.
        lineage: where the labels of the study and of its ablations lie.
        names: the ablations.
        units: the units.
        given: methods from files.
        known: groups and truths of the units.
        told: how files count units, where that is not plain.
    """

    study: Study
    lineage: Lineage
    names: tuple[str, ...]
    units: tuple[Unit, ...]
    given: tuple[Method, ...]
    known: Reference
    told: tuple[str, ...] = ()

    def answer(self, encoder: TextEncoder | None = None) -> Comparison:
        """Compare the labels that there are by now.

        Args:
            encoder: space in which labels are compared; None leaves similarities out.

        Raises:
            NotFoundError: when the study or an ablation has no label of these units.
        """
        stored = stored_methods(self.lineage, self.study, self.names, self.units)
        found = compare([*stored, *self.given], self.known, encoder)
        stand_by(self.lineage, self.study)
        means = metric_means(self.lineage, self.study.name, self.known.groups)
        return replace(found, metrics=tuple(means))


def request(
    study: Study,
    home: Path,
    units: Sequence[str],
    names: Iterable[str],
    files: Mapping[str, Path],
    truths: Path | None = None,
) -> Request:
    """Read the files and find the units of a comparison.

    Args:
        study: the study.
        home: the state folder.
        units: keys, prefixes or ranges; none for all units of the study.
        names: ablations of the study.
        files: files of labels by the name of their method.
        truths: a file of truths.

    Raises:
        NotFoundError: when a unit, an ablation or a file does not exist.
        TableError: when a file cannot be understood or two methods have one name.
    """
    asked = tuple(variants(study, names))
    _require_distinct([DND, *asked, *files])
    bench = build_bench(study, home, reading=True)
    chosen = tuple(find_units(bench).select(units))
    sizes = sizes_of(study, bench.targets.units) if files or truths else {}
    told: list[str] = []
    known = reference(study, chosen, truths, sizes, told)
    given = tuple(imported(name, path, chosen, sizes, told) for name, path in files.items())
    return Request(study, bench.lineage, asked, chosen, given, known, tuple(told))


def stored_methods(
    lineage: Lineage, study: Study, names: Iterable[str], units: Sequence[Unit]
) -> list[Method]:
    """The methods whose labels the lineage holds: the study, its ablations, other assets.

    Args:
        lineage: the lineage.
        study: the study.
        names: its ablations.
        units: the units that are compared.

    Raises:
        NotFoundError: when the study or an ablation has no label of these units yet.
    """
    keys = [unit.key for unit in units]
    own = _columns(lineage, study, keys)
    found = [_required(study.name, DND, own, "the study's own settings")]
    for name in names:
        variant = f"{study.name}{SEPARATOR}{name}"
        columns = _columns(lineage, ablation(name).of(study), keys)
        found.append(_required(variant, name, columns, str(ablation(name))))
    for asset, labels in own.items():
        if asset != "labels":
            found.append(Method(method_name(asset), labels, asset))
    return found


def _columns(
    lineage: Lineage, study: Study, units: Sequence[str]
) -> dict[str, dict[str, str | None]]:
    """Labels by asset and unit, of every asset of labels that a study has.

    A unit without a map was never asked by methods that need one.
    """
    sql = (
        "SELECT asset, unit, label FROM method_labels WHERE study = ? AND status <> 'no_map' "
        "ORDER BY asset"
    )
    found: dict[str, dict[str, str | None]] = {}
    known = set(units)
    stand_by(lineage, study)
    for row in lineage.query(sql, [study.name]):
        if row["unit"] in known:
            found.setdefault(row["asset"], {})[row["unit"]] = row["label"] or None
    return found


def _required(
    study: str, name: str, columns: Mapping[str, dict[str, str | None]], setting: str
) -> Method:
    if "labels" not in columns:
        raise NotFoundError(
            f"study {study!r} has no labels of these units yet. Run `dnd compare` without --no-run."
        )
    return Method(name, columns["labels"], setting)


def stored_ablations(lineage: Lineage, study: Study) -> list[str]:
    """The ablations of a study that the lineage holds labels of."""
    sql = (
        "SELECT DISTINCT study FROM materializations WHERE asset = 'labels' "
        "AND starts_with(study, ?) ORDER BY study"
    )
    start = f"{study.name}{SEPARATOR}"
    return [row["study"].removeprefix(start) for row in lineage.query(sql, [start])]


def _counted(texts: Texts, units: Sequence[Unit], sizes: Sizes, told: list[str] | None) -> Texts:
    """A file with units counted from 0; what there is to be said of that goes to `told`."""
    layers = {unit.key.rpartition("/")[0] for unit in units}
    size = sizes.get(next(iter(layers))) if len(layers) == 1 else None
    found = numbering(texts, size, ask="renumber it")
    if found.told and told is not None:
        told.append(found.told)
    return texts.shifted(found.first)


def imported(
    name: str,
    path: Path,
    units: Sequence[Unit],
    sizes: Sizes = EMPTY,
    told: list[str] | None = None,
) -> Method:
    """A method whose labels lie in a CSV file, as `dnd evaluate` reads them.

    Args:
        name: what to call it.
        path: the file; its units are keys, or numbers when one layer is compared.
        units: the units that are compared.
        sizes: units of each layer by `model/layer`, which tell whether numbers count from 0.
        told: takes what there is to be said of how the file counts.

    Raises:
        NotFoundError: when there is no such file.
        TableError: when it cannot be understood or holds none of the units.
    """
    texts = _counted(read_labels(path), units, sizes, told)
    blank: dict[str, str | None] = dict.fromkeys(texts.blank)
    return Method(name, by_key(texts, {**blank, **texts.by_unit}, units), path.name)


def reference(
    study: Study,
    units: Sequence[Unit],
    truths: Path | None = None,
    sizes: Sizes = EMPTY,
    told: list[str] | None = None,
) -> Reference:
    """Groups and truths of units: from a file, else those of the generated world's network.

    Without either the units are grouped by layer and no truth is known. `sizes` and `told` are as
    for `imported`.

    Raises:
        NotFoundError: when there is no such file.
        TableError: when it cannot be understood or holds none of the units.
    """
    groups = {unit.key: unit.key.rpartition("/")[0] for unit in units}
    if truths is not None:
        read = _counted(read_truths(truths), units, sizes, told)
        true = by_key(read, read.by_unit, units)
        texts = {unit: (text,) for unit, text in true.items()}
        return Reference(groups, texts, lambda u, said: said == true[u] if u in true else None)
    return _known(units) if has_known_answers(study) else Reference(groups)


def has_known_answers(study: Study) -> bool:
    """Whether the study labels the network of the generated world, whose truths are known."""
    return all(model.source == _WORLD_NET for model in study.models)


def _known(units: Sequence[Unit]) -> Reference:
    """The truths of the generated world's network, grouped by kind."""
    truths = known_truths()
    true = {u.key: truths[u.layer, u.neuron] for u in units if (u.layer, u.neuron) in truths}

    def right(unit: str, said: str | None) -> bool | None:
        known = true.get(unit)
        return None if known is None or known.accepted is None else is_correct(said, known)

    def by_word(unit: str, said: str | None) -> Strict | None:
        return strict(said, true[unit]) if unit in true else None

    texts = {
        unit: tuple(" ".join(words) for words in truth.accepted if words)
        for unit, truth in true.items()
        if truth.accepted
    }
    groups = {u.key: true[u.key].kind if u.key in true else u.layer for u in units}
    return Reference(groups, texts, right, by_word)
