"""Keys of products under the present study and inputs, and what is stored of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.stage import Stage, Work, study_assets_of
from dnd_assets.errors import UpstreamError
from dnd_assets.lineage.fingerprint import Preimage, digest, preimage
from dnd_assets.lineage.records import UNPARTITIONED, Payload, Product, StoredVersion
from dnd_assets.units import Unit, by_layer

_STREAM = 1024
"""Units whose inputs lie in memory together while a plan is counted."""


Recipe = Mapping[str, Any]
"""What is hashed of all products of a layer besides their inputs and neurons: a `Preimage` without
`inputs`."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """What the present study and inputs lead to for one unit, and what is stored of it.

    Attributes:
        recipe: what is hashed besides inputs and neuron; one object for a whole layer.
        inputs: data version of each input.
        neuron: the unit's index where it decides the result.
        key: hash of all of it.
        head: the stored product, if there is one.
        external_inputs: what was read from outside for the unit alone.
    """

    recipe: Recipe
    inputs: Mapping[str, str]
    neuron: int | None
    key: str
    head: StoredVersion | None
    external_inputs: Payload | None = None

    @property
    def preimage(self) -> Preimage:
        """The readable description that `key` is the hash of."""
        return _preimage(self.recipe, self.inputs, self.neuron, self.external_inputs)


def _preimage(
    recipe: Recipe,
    inputs: Mapping[str, str],
    neuron: int | None,
    external_inputs: Payload | None,
) -> Preimage:
    neuron_parameters = {} if neuron is None else {"neuron": neuron}
    parameters = {**recipe["parameters"], **neuron_parameters, **(external_inputs or {})}
    return preimage(recipe["asset"], recipe["code"], parameters, recipe["weights"], inputs)


@dataclass
class Graph:
    """Keys of products under the present study, worked out from the images downwards.

    Attributes:
        context: the study's context.
        stages: the stages by name.
        known: what has been resolved; the stages of one run share it, so that each key is worked
            out once and a run's products rest on one state of the inputs.
        seen: unpartitioned products to reckon with, where they are not the materialized ones.
    """

    context: StudyContext
    stages: Mapping[str, Stage]
    known: dict[tuple[str, Unit], Resolved] = field(default_factory=dict)
    seen: Mapping[str, Product] = field(default_factory=dict)

    def resolve(self, asset: str, units: Sequence[Unit]) -> dict[Unit, Resolved]:
        """The key of each unit's product and what the store holds under it.

        Raises:
            UpstreamError: when an upstream product of some unit has not been materialized under
                the present study; says which, and what to run.
        """
        stage = self.stages[asset]
        unresolved = [unit for unit in units if (asset, unit) not in self.known]
        inputs = self._versions(stage, unresolved)
        recipes = self.recipes(stage, unresolved)
        external_inputs = stage.external_inputs(self.context, unresolved) if unresolved else {}
        keys = {}
        for unit in unresolved:
            recipe = recipes[unit.model, unit.layer]
            neuron = unit.neuron if stage.by_neuron else None
            keys[unit] = digest(_preimage(recipe, inputs[unit], neuron, external_inputs.get(unit)))
        heads = self.context.lineage.heads(keys.values())
        for unit, key in keys.items():
            recipe = recipes[unit.model, unit.layer]
            neuron = unit.neuron if stage.by_neuron else None
            head = heads.get(key)
            self.known[asset, unit] = Resolved(
                recipe, inputs[unit], neuron, key, head, external_inputs.get(unit)
            )
        return {unit: self.known[asset, unit] for unit in units}

    def recipes(self, stage: Stage, units: Sequence[Unit]) -> dict[tuple[str, str], Recipe]:
        """What is hashed of each layer's products besides inputs and neuron."""
        if not units:
            return {}
        parameters = stage.parameters(self.context) | (
            {"own": dict(stage.own)} if stage.own else {}
        )
        common = {"asset": stage.name, "code": stage.code(), "parameters": parameters}
        return {
            layer: {**common, "weights": stage.weights(self.context, layer_units[0])}
            for layer, layer_units in by_layer(units).items()
        }

    def forget(self, asset: str, units: Iterable[Unit]) -> None:
        """Drop what was worked out for an asset, after its products have changed."""
        for unit in units:
            self.known.pop((asset, unit), None)

    def _versions(self, stage: Stage, units: Sequence[Unit]) -> dict[Unit, dict[str, str]]:
        versions: dict[Unit, dict[str, str]] = {unit: {} for unit in units}
        for name in stage.upstream:
            if name in UNPARTITIONED:
                version = self.unpartitioned(name).data_version if units else ""
                for unit in units:
                    versions[unit][name] = version
                continue
            resolved = self.resolve(name, units)
            _require(stage.name, name, {unit: state.head for unit, state in resolved.items()})
            for unit, state in resolved.items():
                versions[unit][name] = state.head.data_version if state.head else ""
        return versions

    def unpartitioned(self, name: str) -> Product:
        """The study's current product of that name.

        Raises:
            UpstreamError: when it was never materialized, or for other settings.
        """
        if name in self.seen:
            return self.seen[name]
        study = self.context.study
        sql = (
            "SELECT key, max(recorded_at) AS newest FROM materializations "
            "WHERE study = ? AND asset = ? GROUP BY key ORDER BY newest DESC, key"
        )
        keys = [row["key"] for row in self.context.lineage.query(sql, [study.name, name])]
        products = self.context.lineage.products(keys)
        parameters, weights = study_assets_of(self.stages)[name].settings(self.context)
        for product in (products[key] for key in keys if key in products):
            product_preimage = product.preimage
            if (product_preimage["parameters"], product_preimage["weights"]) == (
                parameters,
                weights,
            ):
                return product
        raise UpstreamError(
            f"study {study.name!r} has no {name.replace('_', ' ')} under its present settings. "
            f"Materialize {name} first: `dnd run --assets {name}`, or select it in the UI."
        )


def _require(asset: str, upstream: str, heads: Mapping[Unit, StoredVersion | None]) -> None:
    absent = [unit.key for unit, head in heads.items() if head is None]
    if absent:
        more = f" and {len(absent) - 3:,} more" if len(absent) > 3 else ""
        raise UpstreamError(
            f"{asset} needs {upstream}, which has not been materialized under the present study "
            f"and inputs for {', '.join(absent[:3])}{more}. Run `dnd run --assets +{asset}` (a "
            f"plus sign takes everything upstream along), or select {upstream} in the UI too."
        )


def load_inputs(graph: Graph, stage: Stage, units: Sequence[Unit]) -> list[Work]:
    """The upstream products of units whose keys resolve."""
    inputs: dict[Unit, dict[str, Product]] = {unit: {} for unit in units}
    for name in stage.upstream:
        if name in UNPARTITIONED:
            product = graph.unpartitioned(name)
            for unit in units:
                inputs[unit][name] = product
            continue
        resolved = graph.resolve(name, units)
        products = graph.context.lineage.products(state.key for state in resolved.values())
        for unit, state in resolved.items():
            inputs[unit][name] = products[state.key]
            if state.head is None or products[state.key].data_version != state.head.data_version:
                raise UpstreamError(
                    f"{name} of {unit} was made anew by another run meanwhile. Run again: finished "
                    "work is kept."
                )
    external_inputs = {
        unit: graph.known[stage.name, unit].external_inputs
        for unit in units
        if (stage.name, unit) in graph.known
    }
    return [Work(unit, inputs[unit], external_inputs.get(unit) or {}) for unit in units]


def stream_inputs(graph: Graph, stage: Stage, units: Sequence[Unit]) -> Iterator[Work]:
    """As `load_inputs`, a part at a time, of the units whose inputs are all `ok`."""
    for part in parts(units):
        for item in load_inputs(graph, stage, part):
            if all(product.ok for product in item.inputs.values()):
                yield item


def parts(units: Sequence[Unit], size: int = _STREAM) -> Iterator[Sequence[Unit]]:
    """Units in their order, so many at a time."""
    for start in range(0, len(units), size):
        yield units[start : start + size]
