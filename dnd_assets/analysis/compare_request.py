"""What a comparison is asked for: its units, and labels and truths from wherever they lie.

The lineage holds the labels of the study, of its ablations and of every other asset that ends in
`_labels`; files bring those of anyone else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from dnd_assets.analysis.compare import (
    Comparison,
    Costs,
    Judgement,
    Method,
    Reference,
    compare,
    require_distinct,
)
from dnd_assets.analysis.metric_means import DND, method_name, metric_means
from dnd_assets.engine.context_builder import build_context, find_units
from dnd_assets.errors import NotFoundError
from dnd_assets.files.unit_texts import First, Texts, by_key, numbering, read_labels, read_truths
from dnd_assets.known_answers.hard.planted import hard_truths
from dnd_assets.known_answers.target import Truth, is_correct
from dnd_assets.known_answers.target import truths as known_truths
from dnd_assets.methods.metrics import TextEncoder
from dnd_assets.methods.metrics.strict_match import strict
from dnd_assets.results.standing import stand_by
from dnd_assets.study.ablations import SEPARATOR, ablation, variants
from dnd_assets.study.label_files import EMPTY, sizes_of
from dnd_assets.study.study import Study
from dnd_assets.units import Unit
from resources.lineage_db.database import Lineage

Sizes = Mapping[str, int]
"""Units of each layer, by `model/layer`."""
Firsts = Mapping[str, First]
"""What the user says of the number of a layer's first unit in files, by the name of the file's
method; `TRUTHS` for the file of truths, an empty name for all files of labels."""
TRUTHS: Final = "truths"
"""What a file of truths is called among files of labels."""
_NO_FIRSTS: Final[Firsts] = {}
_WORLD_NET: Final = "module:dnd_assets.known_answers.target:world_net"
_HARD_NET: Final = "module:dnd_assets.known_answers.hard.hard_network:hard_net"
_SECONDS_SQL: Final = """
SELECT sum(seconds) AS seconds FROM (
  SELECT seconds FROM stage_runs WHERE study = ?
  QUALIFY row_number() OVER (PARTITION BY asset ORDER BY recorded_at DESC) = 1)
"""
_PICTURES_SQL: Final = """
SELECT count(DISTINCT picture.value ->> 'image') AS pictures
FROM latest l, json_each(l.payload, '$.concepts') concept,
     json_each(concept.value, '$.images') picture
WHERE l.study = ? AND l.asset = 'synthetic_images'
"""


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
        comparison = compare([*stored, *self.given], self.known, encoder)
        stand_by(self.lineage, self.study)
        means = metric_means(self.lineage, self.study.name, self.known.groups)
        return replace(comparison, metrics=tuple(means))


def request(
    study: Study,
    home: Path,
    units: Sequence[str],
    names: Iterable[str],
    files: Mapping[str, Path],
    truths: Path | None = None,
    firsts: Firsts = _NO_FIRSTS,
) -> Request:
    """Read the files and find the units of a comparison.

    Args:
        study: the study.
        home: the state folder.
        units: keys, prefixes or ranges; none for all units of the study.
        names: ablations of the study.
        files: files of labels by the name of their method.
        truths: a file of truths.
        firsts: the number that files give a layer's first unit; those that it says nothing of are
            looked at.

    Raises:
        NotFoundError: when a unit, an ablation or a file does not exist.
        TableError: when a file cannot be understood, is not counted as `firsts` says, or two
            methods have one name.
    """
    ablations = tuple(variants(study, names))
    require_distinct([DND, *ablations, *files])
    context = build_context(study, home, reading=True)
    selected = tuple(find_units(context).select(units))
    sizes = sizes_of(study, context.targets.units) if files or truths else {}
    remarks: list[str] = []
    truth_reference = reference(study, selected, truths, sizes, remarks, firsts)
    file_methods = tuple(
        imported(name, path, selected, sizes, remarks, firsts) for name, path in files.items()
    )
    return Request(
        study, context.lineage, ablations, selected, file_methods, truth_reference, tuple(remarks)
    )


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
    study_labels = _columns(lineage, study, keys)
    own_method = _required(study.name, DND, study_labels, "the study's own settings")
    methods = [replace(own_method, costs=_costs(lineage, study.name, len(study_labels["labels"])))]
    for name in names:
        variant = f"{study.name}{SEPARATOR}{name}"
        columns = _columns(lineage, ablation(name).of(study), keys)
        method = _required(variant, name, columns, str(ablation(name)))
        methods.append(replace(method, costs=_costs(lineage, variant, len(columns["labels"]))))
    for asset, labels in study_labels.items():
        if asset != "labels":
            methods.append(Method(method_name(asset), labels, asset))
    return methods


def _costs(lineage: Lineage, study: str, units: int) -> Costs | None:
    """Seconds and painted pictures a unit of a study's labels; None where none are recorded."""
    seconds = lineage.query(_SECONDS_SQL, [study])[0]["seconds"]
    pictures = lineage.query(_PICTURES_SQL, [study])[0]["pictures"]
    return None if seconds is None else Costs(seconds / units, pictures / units)


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
    columns: dict[str, dict[str, str | None]] = {}
    unit_keys = set(units)
    stand_by(lineage, study)
    for row in lineage.query(sql, [study.name]):
        if row["unit"] in unit_keys:
            columns.setdefault(row["asset"], {})[row["unit"]] = row["label"] or None
    return columns


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


def _counted_from_zero(
    name: str,
    texts: Texts,
    units: Sequence[Unit],
    sizes: Sizes,
    remarks: list[str] | None,
    firsts: Firsts,
) -> Texts:
    """A file's texts with units counted from 0; how the file counted goes to `remarks`.

    The first number that is said for all files of labels holds for the file of truths, too, where
    its own numbers leave open from where they count.
    """
    layers = {unit.key.rpartition("/")[0] for unit in units}
    size = sizes.get(next(iter(layers))) if len(layers) == 1 else None
    first_number = firsts.get(name, None if name == TRUTHS else firsts.get(""))
    counting = numbering(texts, size, first_number, f"say --first-unit {name}=1")
    if counting.is_open and "" in firsts:
        counting = numbering(texts, size, firsts[""])
    if counting.told and remarks is not None:
        remarks.append(counting.told)
    return texts.shifted(counting.first)


def imported(
    name: str,
    path: Path,
    units: Sequence[Unit],
    sizes: Sizes = EMPTY,
    remarks: list[str] | None = None,
    firsts: Firsts = _NO_FIRSTS,
) -> Method:
    """A method whose labels lie in a CSV file, as `dnd evaluate` reads them.

    Args:
        name: what to call it.
        path: the file; its units are keys, or numbers when one layer is compared.
        units: the units that are compared.
        sizes: units of each layer by `model/layer`, which tell whether numbers count from 0.
        remarks: takes what there is to be said of how the file counts.
        firsts: what the user says of that.

    Raises:
        NotFoundError: when there is no such file.
        TableError: when it cannot be understood, is not counted as said, or holds none of the
            units.
    """
    texts = _counted_from_zero(name, read_labels(path), units, sizes, remarks, firsts)
    unlabelled: dict[str, str | None] = dict.fromkeys(texts.blank)
    return Method(name, by_key(texts, {**unlabelled, **texts.by_unit}, units), path.name)


def reference(
    study: Study,
    units: Sequence[Unit],
    truths: Path | None = None,
    sizes: Sizes = EMPTY,
    remarks: list[str] | None = None,
    firsts: Firsts = _NO_FIRSTS,
) -> Reference:
    """Groups and truths of units: from a file, else those of the generated world's network.

    Without either the units are grouped by layer and no truth is known. `sizes`, `remarks` and
    `firsts` are as for `imported`.

    Raises:
        NotFoundError: when there is no such file.
        TableError: when it cannot be understood, is not counted as said, or holds none of the
            units.
    """
    groups = {unit.key: unit.key.rpartition("/")[0] for unit in units}
    if truths is not None:
        truth_file = _counted_from_zero(TRUTHS, read_truths(truths), units, sizes, remarks, firsts)
        truth_of = by_key(truth_file, truth_file.by_unit, units)
        texts = {unit: (text,) for unit, text in truth_of.items()}
        return Reference(
            groups,
            texts,
            lambda u, label: Judgement(label == truth_of[u]) if u in truth_of else None,
        )
    truths_of = {_WORLD_NET: _plain_truths, _HARD_NET: _hard_truths}
    world_truths = {truths_of[source] for source in truths_of if _is_network(study, source)}
    return _world_reference(units, world_truths.pop()()) if world_truths else Reference(groups)


def has_known_answers(study: Study) -> bool:
    """Whether the study labels the network of the generated world, whose truths are known."""
    return _is_network(study, _WORLD_NET)


def _is_network(study: Study, source: str) -> bool:
    """Whether the network from `source` is the only one that a study labels."""
    return all(model.source == source for model in study.models)


Known = Mapping[tuple[str, int], tuple[str, Truth]]
"""Kind and truth of units, by layer and index."""


def _plain_truths() -> Known:
    return {unit: (truth.kind, truth) for unit, truth in known_truths().items()}


def _hard_truths() -> Known:
    return {
        layer_and_index: (unit.kind, unit.truth) for layer_and_index, unit in hard_truths().items()
    }


def _world_reference(units: Sequence[Unit], truths: Known) -> Reference:
    """The truths of a generated world's network, grouped by kind."""
    kinds_and_truths = {
        u.key: truths[u.layer, u.neuron] for u in units if (u.layer, u.neuron) in truths
    }
    truth_of = {unit: truth for unit, (_, truth) in kinds_and_truths.items()}

    def judge(unit: str, label: str | None) -> Judgement | None:
        expected = truth_of.get(unit)
        match = strict(label, expected) if expected else None
        if expected is None or match is None:
            return None
        return Judgement(match.exact, is_correct(label, expected), match)

    texts = {
        unit: tuple(" ".join(words) for words in truth.accepted if words)
        for unit, truth in truth_of.items()
        if truth.accepted
    }
    groups = {
        u.key: kinds_and_truths[u.key][0] if u.key in kinds_and_truths else u.layer for u in units
    }
    return Reference(groups, texts, judge)
