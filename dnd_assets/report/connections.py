"""How strongly weights connect units whose labels are alike, between adjacent layers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dnd_assets.engine.context import StudyContext
from dnd_assets.files.atomic import sha256
from dnd_assets.lineage.code import code_version
from dnd_assets.lineage.fingerprint import canonical, digest
from dnd_assets.lineage.records import Payload
from dnd_assets.report.class_names import fingerprint
from dnd_assets.results.unit_card.card_reader import Cards
from dnd_assets.study.study import Study
from resources.targets.network_sources import find_source

_SHOWN: Final = 12
_ENOUGH: Final = 10


@dataclass(frozen=True)
class Connection:
    """One weight between two labelled units.

    Attributes:
        source: key of the unit in the lower layer.
        target: key of the unit in the upper layer.
        weight: signed, summed over the kernel.
        similarity: cosine of the two labels.
    """

    source: str
    target: str
    weight: float
    similarity: float


@dataclass(frozen=True)
class Adjacent:
    """Two adjacent layers of a network.

    Attributes:
        lower: `model/layer` of the lower one.
        upper: `model/layer` of the upper one.
        correlation: Spearman's, of a weight's size and the similarity of the two labels, over
            all pairs of labelled units; None when it cannot be computed.
        pairs: how many pairs.
        strongest: the heaviest of them.
        reason: why there is no correlation; empty when there is one.
    """

    lower: str
    upper: str
    correlation: float | None = None
    pairs: int = 0
    strongest: tuple[Connection, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class LabelSpace:
    """Labels of units and their stored embeddings.

    Attributes:
        labels: text by unit.
        vectors: unit-length embedding by text, float (width,).
    """

    labels: Mapping[str, str]
    vectors: Mapping[str, NDArray[np.float32]]

    def of(self, units: Mapping[int, str]) -> dict[int, NDArray[np.float32]]:
        """The label's embedding of each neuron that has one."""
        return {
            neuron: self.vectors[self.labels[unit]]
            for neuron, unit in units.items()
            if self.labels.get(unit) in self.vectors
        }


@dataclass(frozen=True)
class Connections:
    """Each two adjacent layers, and why there are none."""

    adjacent: tuple[Adjacent, ...] = ()
    why: str = ""

    @classmethod
    def from_json(cls, value: Payload) -> Connections:
        """What `dataclasses.asdict` told."""
        pairs = [
            Adjacent(
                **{
                    **pair,
                    "strongest": tuple(
                        Connection(**connection) for connection in pair["strongest"]
                    ),
                }
            )
            for pair in value["adjacent"]
        ]
        return cls(tuple(pairs), value["why"])


def connections_key(context: StudyContext, space: LabelSpace) -> str:
    """Hash of what decides the connections; the networks are not loaded."""
    models: list[object] = [
        [model.name, [layer.path for layer in model.layers], fingerprint(context, model.name)]
        for model in context.study.models
    ]
    vectors = [[text, sha256(vector.tobytes())] for text, vector in sorted(space.vectors.items())]
    return digest([models, dict(space.labels), vectors, code_version(connections)])


def connections(context: StudyContext, cards: Cards, space: LabelSpace) -> Connections:
    """Weights and labels of each two adjacent layers of the study, and why there are none.

    Layers are adjacent when the upper one is a linear or convolutional layer that reads exactly
    the lower one's units and no other layer with weights lies between them.
    """
    adjacent: list[Adjacent] = []
    units = _by_layer(cards)
    pairs = [
        (model, lower, upper)
        for model in context.study.models
        for lower in model.layers
        for upper in model.layers
        if lower.path != upper.path
    ]
    if not pairs:
        return Connections(
            why="The study labels one layer of each network, so no two layers are adjacent."
        )
    networks: dict[str, object] = {}
    for model, lower, upper in pairs:
        if model.name not in networks:
            networks[model.name] = _network(context.study, context, model.name, units)
        module = networks[model.name]
        if isinstance(module, str):
            return Connections(why=module)
        weight = _between(module, lower.path, upper.path)
        if weight is not None:
            names = (f"{model.name}/{lower.path}", f"{model.name}/{upper.path}")
            keys = units.get((model.name, lower.path), {}), units.get((model.name, upper.path), {})
            adjacent.append(measured(*names, weight, space, *keys))
    if not adjacent:
        return Connections(
            why="No layer of the study reads another one of it directly through the weights of a "
            "linear or convolutional layer."
        )
    return Connections(tuple(adjacent))


def measured(
    lower: str,
    upper: str,
    weight: NDArray[np.float64],
    space: LabelSpace,
    below: Mapping[int, str],
    above: Mapping[int, str],
) -> Adjacent:
    """Compare weights with the similarity of labels.

    Args:
        lower: name of the lower layer.
        upper: name of the upper layer.
        weight: (units above, units below).
        space: labels and their embeddings.
        below: key of each labelled neuron of the lower layer.
        above: the same of the upper layer.
    """
    low, high = space.of(below), space.of(above)
    columns, rows = sorted(low), sorted(high)
    if len(rows) * len(columns) < _ENOUGH:
        reason = "too few of its labels have a stored embedding"
        return Adjacent(lower, upper, reason=reason)
    similarity = np.stack([high[n] for n in rows]) @ np.stack([low[n] for n in columns]).T
    weights = weight[np.ix_(rows, columns)]
    heaviest = np.argsort(-np.abs(weights), axis=None, kind="stable")[:_SHOWN]
    strongest = tuple(
        Connection(
            below[columns[place % len(columns)]], above[rows[place // len(columns)]],
            float(weights.flat[place]), float(similarity.flat[place]),
        )
        for place in heaviest.tolist()
    )  # fmt: skip
    correlation = _spearman(np.abs(weights).ravel(), similarity.ravel())
    reason = "" if correlation is not None else "all weights or all labels are alike"
    return Adjacent(lower, upper, correlation, weights.size, strongest, reason)


def _spearman(first: NDArray[Any], second: NDArray[Any]) -> float | None:
    from scipy.stats import rankdata

    ranks = [rankdata(values) for values in (first, second)]
    if any(float(rank.std()) == 0.0 for rank in ranks):
        return None
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _by_layer(cards: Cards) -> dict[tuple[str, str], dict[int, str]]:
    by_layer: dict[tuple[str, str], dict[int, str]] = {}
    for unit, records in cards.records.items():
        record = next(iter(records.values()))
        by_layer.setdefault((record.model, record.layer), {})[record.neuron] = unit
    return by_layer


def _network(
    study: Study,
    context: StudyContext,
    name: str,
    units: Mapping[tuple[str, str], Mapping[int, str]],
) -> object:
    """The network's module, or why it cannot be had."""
    try:
        if not _recorded(context, name):
            return f"The weights of {name!r} at hand are not those that were recorded."
        spec = next(model for model in context.targets.models if model.name == name)
        return find_source(spec, context.targets.base).build().module
    except Exception as error:  # noqa: BLE001 (a network's own code may raise anything)
        return f"The weights of {name!r} are not at hand ({type(error).__name__})."


def _recorded(context: StudyContext, name: str) -> bool:
    """Whether the newest activations were made by the network as it is now."""
    sql = (
        "SELECT layer, preimage ->> '$.weights.target' AS target FROM latest WHERE study = ? "
        "AND asset = 'activations' AND model = ? ORDER BY recorded_at DESC LIMIT 1"
    )
    rows = context.lineage.query(sql, [context.study.name, name])
    if not rows:
        return False
    providers = context.lineage.query(
        "SELECT fingerprint ->> '$.target' AS target FROM providers WHERE provider = ?",
        [rows[0]["target"]],
    )
    if not providers or providers[0]["target"] is None:
        return False
    present = json.loads(canonical(context.targets.fingerprint(name)))
    return bool(json.loads(providers[0]["target"]) == present)


def _between(module: Any, lower: str, upper: str) -> NDArray[np.float64] | None:
    """The weights by which the upper layer reads the lower one, (above, below)."""
    from torch import nn

    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    modules = dict(module.named_modules())
    names = list(modules)
    if lower not in modules or upper not in modules or names.index(lower) > names.index(upper):
        return None
    target = modules[upper]
    if not isinstance(target, kinds) or getattr(target, "groups", 1) != 1:
        return None
    between = names[names.index(lower) + 1 : names.index(upper)]
    weighted = [
        n for n in between if isinstance(modules[n], kinds) and not n.startswith(f"{lower}.")
    ]
    if weighted:
        return None
    weight = target.weight.detach().float().cpu().numpy().astype(np.float64)
    flat = weight.reshape(*weight.shape[:2], -1).sum(axis=2)
    return flat if flat.shape[1] == _width(modules[lower]) else None


def _width(module: Any) -> int | None:
    """Units of a layer as its own weights, or those of its last part, tell."""
    names = ("out_features", "out_channels", "num_features")
    width = None
    for part in module.modules():
        for name in names:
            width = getattr(part, name, width)
    return width
