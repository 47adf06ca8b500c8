"""The one engine that all seven products share: what is missing, compute it, commit, announce.

A stage says what its product depends on and how to compute it for many units at once. The engine
resolves every unit's key from the present study and inputs, takes stored products where the key is
known, hands the others to the stage in one go, and records each result: artefacts first, then the
journal and DuckDB, then an announcement that becomes a Dagster event.
"""

from __future__ import annotations

import platform
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from itertools import chain
from types import MappingProxyType, ModuleType
from typing import Any, ClassVar

from dnd_assets.engine.batch_sizes import with_batch_sizes
from dnd_assets.engine.context import Workbench
from dnd_assets.engine.models import used_by
from dnd_assets.errors import DndError, UpstreamError
from dnd_assets.lineage.code import method_version
from dnd_assets.lineage.fingerprint import canonical, digest, preimage
from dnd_assets.lineage.records import (
    RETRYABLE,
    UNPARTITIONED,
    Head,
    Materialization,
    Outcome,
    Product,
    now,
)
from dnd_assets.study.study import Study
from dnd_assets.units import Unit, by_layer
from resources.lineage_db.reader import LineageReader
from resources.runtime.memory import PeakMemory, in_words
from resources.runtime.model_cache import limit_models

_COMMIT = 256
"""Units recorded together when they are computed."""
_REUSE = 4096
"""Units recorded together when they are reused: nothing is lost with them."""
_STREAM = 1024
"""Units whose inputs lie in memory together while a plan is counted."""
LIBRARIES = (
    "dagster", "torch", "torchvision", "open_clip_torch", "transformers", "diffusers", "openai",
    "duckdb", "numpy", "pillow", "scikit-image",
)  # fmt: skip
"""Libraries whose versions are recorded with each run."""


@dataclass(frozen=True)
class Work:
    """One unit to compute, with its upstream products by asset name, and what it was `given`."""

    unit: Unit
    inputs: Mapping[str, Product]
    given: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Announcement:
    """One product of one unit, recorded and ready to be shown.

    Attributes:
        peak_memory: bytes that its stage had in use at most until then; 0 when it was reused.
    """

    unit: Unit
    product: Product
    record: Materialization
    peak_memory: int = 0


Results = Iterator[tuple[Work, Outcome]]


Settings = tuple[dict[str, Any], dict[str, str]]
"""Parameters and weights of an unpartitioned product."""


class Whole(ABC):
    """One product of the whole study, of no unit: what it was read from decides its key.

    Attributes:
        name: the asset's key.
        uses: resources that compute it.
        group: the step that the interface shows it in.
        kinds: tags of the interface: what it is made with.
    """

    name: ClassVar[str]
    uses: ClassVar[tuple[str, ...]] = ()
    group: ClassVar[str]
    kinds: ClassVar[frozenset[str]]

    @abstractmethod
    def settings(self, bench: Workbench) -> Settings:
        """What of the study decides the product, besides the files it is read from."""

    @abstractmethod
    def look(self, bench: Workbench) -> Product:
        """The product as it is now, for a plan: recorded as seen, not as materialized."""

    @abstractmethod
    def materialize(self, bench: Workbench, run: str) -> Product:
        """Read everything again, and record the product in the name of a run."""

    def code(self) -> str:
        """Code version of everything that `look` leads to, which reads what there is."""
        return method_version(type(self), "look")


class Stage(ABC):
    """One product, partitioned by unit.

    Attributes:
        name: the asset's key.
        upstream: assets it reads, of the same unit or unpartitioned.
        wholes: the unpartitioned ones among them.
        uses: resources that compute it, for the interface and for `device`.
        sources: of a stage outside this project: what else of its code decides the result; all of
            its module, and what it uses of this project, counts anyway.
        by_neuron: whether the neuron's index decides the result, besides what the inputs say.
        own: what counts of a user's own code that it runs; see `resources.own_code.code`.
        group: the step that the interface shows it in.
        kinds: tags of the interface: what it is made with.
    """

    name: str
    upstream: tuple[str, ...]
    wholes: ClassVar[tuple[Whole, ...]] = ()
    uses: tuple[str, ...] = ()
    sources: tuple[ModuleType | Callable[..., Any], ...] = ()
    by_neuron: ClassVar[bool] = False
    own: Mapping[str, Any] = MappingProxyType({})
    group: ClassVar[str]
    kinds: ClassVar[frozenset[str]]

    @abstractmethod
    def parameters(self, bench: Workbench) -> dict[str, Any]:
        """The settings that matter to this product, and no others."""

    def given(self, bench: Workbench, units: Sequence[Unit]) -> dict[Unit, dict[str, Any]]:
        """What is read from outside for single units; it counts as parameters of theirs."""
        return {}

    def weights(self, bench: Workbench, unit: Unit) -> dict[str, str]:
        """Provider hashes of the models that this product uses; the same for a whole layer."""
        return {}

    @abstractmethod
    def compute(self, bench: Workbench, work: Sequence[Work]) -> Results:
        """Outcomes of all units of `work`, whose upstream products are all `ok`."""

    def cost(self, bench: Workbench, work: Iterable[Work]) -> dict[str, int]:
        """What `compute` would have to do for `work`, counted exactly, by kind.

        `work` is gone through once, so that the inputs of many units need not lie in memory.
        """
        return {}

    def most(self, bench: Workbench, units: int) -> dict[str, int]:
        """What `compute` may have to do at most for units whose inputs are not known yet."""
        return {}

    def code(self) -> str:
        """Code version of everything that `compute` leads to; see `dnd_assets.lineage.code`."""
        return method_version(type(self), "compute", sources=self.sources)


_OF_ONE_LAYER = ("target", "truths")
"""Weights that differ between layers; what of a layer's settings matters stands for them."""


def stage_version(bench: Workbench, stage: Stage) -> str:
    """What Dagster calls a stage's code version: a hash of its code, parameters and models.

    It changes when the keys of all units do for a reason of the stage's own, so that the interface
    and automation see what `dnd plan` sees. A network's files are told by their source asset.
    """
    first = bench.study.models[0]
    # Asking for the hash of a model's fingerprint records it otherwise.
    asking = replace(bench, lineage=LineageReader(root=bench.lineage.root))
    try:
        weights = stage.weights(asking, Unit(first.name, first.layers[0].path, 0))
    except DndError:  # a model that is not here is told when it is needed
        weights = {}
    own = {name: value for name, value in weights.items() if name not in _OF_ONE_LAYER}
    layers = _unusual_layers(bench.study) if "target" in weights else {}
    made_by = {"parameters": stage.parameters(bench), "weights": own, "layers": layers}
    return digest({"code": stage.code(), **made_by})[:12]


def whole_version(code: str, settings: Settings) -> str:
    """The same of an unpartitioned product; `code` is that of its key."""
    parameters, weights = settings
    return digest({"code": code, "parameters": parameters, "weights": weights})[:12]


def recorded_version(product: Product) -> str:
    """`whole_version` of an unpartitioned product that was made or looked at."""
    image = product.preimage
    return whole_version(image["code"], (image["parameters"], image["weights"]))


def _unusual_layers(study: Study) -> dict[str, Any]:
    """Settings of layers that are not the default, so that one more layer changes nothing."""
    ours = {"path", "neurons"}
    found = {
        f"{model.name}/{layer.path}": layer.model_dump(
            mode="json", exclude=ours, exclude_defaults=True
        )
        for model in study.models
        for layer in model.layers
    }
    return {name: settings for name, settings in found.items() if settings}


def wholes_of(stages: Mapping[str, Stage]) -> dict[str, Whole]:
    """The unpartitioned products that stages read, by name, in the order of the stages."""
    return {whole.name: whole for stage in stages.values() for whole in stage.wholes}


@dataclass(frozen=True, slots=True)
class Resolved:
    """What the present study and inputs lead to for one unit, and what is stored of it.

    Attributes:
        recipe: what is hashed besides inputs and neuron; one object for a whole layer.
        inputs: data version of each input.
        neuron: the unit's index where it decides the result.
        key: hash of all of it.
        head: the stored product, if there is one.
        given: what was read from outside for the unit alone.
    """

    recipe: Mapping[str, Any]
    inputs: Mapping[str, str]
    neuron: int | None
    key: str
    head: Head | None
    given: Mapping[str, Any] | None = None

    @property
    def preimage(self) -> dict[str, Any]:
        """The readable description that `key` is the hash of."""
        return _preimage(self.recipe, self.inputs, self.neuron, self.given)


def _preimage(
    recipe: Mapping[str, Any],
    inputs: Mapping[str, str],
    neuron: int | None,
    given: Mapping[str, Any] | None,
) -> dict[str, Any]:
    own = {} if neuron is None else {"neuron": neuron}
    parameters = {**recipe["parameters"], **own, **(given or {})}
    return preimage(recipe["asset"], recipe["code"], parameters, recipe["weights"], inputs)


@dataclass
class Graph:
    """Keys of products under the present study, worked out from the images downwards.

    Attributes:
        bench: the workbench.
        stages: the stages by name.
        known: what has been resolved; the stages of one run share it, so that each key is worked
            out once and a run's products rest on one state of the inputs.
        seen: unpartitioned products to reckon with, where they are not the materialized ones.
    """

    bench: Workbench
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
        asked = [unit for unit in units if (asset, unit) not in self.known]
        inputs = self._versions(stage, asked)
        recipes = self.recipes(stage, asked)
        given = stage.given(self.bench, asked) if asked else {}
        keys = {}
        for unit in asked:
            recipe = recipes[unit.model, unit.layer]
            own = unit.neuron if stage.by_neuron else None
            keys[unit] = digest(_preimage(recipe, inputs[unit], own, given.get(unit)))
        heads = self.bench.lineage.heads(keys.values())
        for unit, key in keys.items():
            recipe = recipes[unit.model, unit.layer]
            own = unit.neuron if stage.by_neuron else None
            head = heads.get(key)
            self.known[asset, unit] = Resolved(
                recipe, inputs[unit], own, key, head, given.get(unit)
            )
        return {unit: self.known[asset, unit] for unit in units}

    def recipes(self, stage: Stage, units: Sequence[Unit]) -> dict[tuple[str, str], dict[str, Any]]:
        """What is hashed of each layer's products besides inputs and neuron."""
        if not units:
            return {}
        parameters = stage.parameters(self.bench) | ({"own": dict(stage.own)} if stage.own else {})
        common = {"asset": stage.name, "code": stage.code(), "parameters": parameters}
        return {
            layer: {**common, "weights": stage.weights(self.bench, of[0])}
            for layer, of in by_layer(units).items()
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
            found = self.resolve(name, units)
            _require(stage.name, name, {unit: state.head for unit, state in found.items()})
            for unit, state in found.items():
                versions[unit][name] = state.head.data_version if state.head else ""
        return versions

    def unpartitioned(self, name: str) -> Product:
        """The study's current product of that name.

        Raises:
            UpstreamError: when it was never materialized, or for other settings.
        """
        if name in self.seen:
            return self.seen[name]
        study = self.bench.study
        sql = (
            "SELECT key, max(recorded_at) AS newest FROM materializations "
            "WHERE study = ? AND asset = ? GROUP BY key ORDER BY newest DESC, key"
        )
        keys = [row["key"] for row in self.bench.lineage.query(sql, [study.name, name])]
        products = self.bench.lineage.products(keys)
        parameters, weights = wholes_of(self.stages)[name].settings(self.bench)
        for found in (products[key] for key in keys if key in products):
            image = found.preimage
            if (image["parameters"], image["weights"]) == (parameters, weights):
                return found
        raise UpstreamError(
            f"study {study.name!r} has no {name.replace('_', ' ')} under its present settings. "
            f"Materialize {name} first: `dnd run --assets {name}`, or select it in the UI."
        )


def _require(asset: str, upstream: str, heads: Mapping[Unit, Head | None]) -> None:
    absent = [unit.key for unit, head in heads.items() if head is None]
    if absent:
        more = f" and {len(absent) - 3:,} more" if len(absent) > 3 else ""
        raise UpstreamError(
            f"{asset} needs {upstream}, which has not been materialized under the present study "
            f"and inputs for {', '.join(absent[:3])}{more}. Run `dnd run --assets +{asset}` (a "
            f"plus sign takes everything upstream along), or select {upstream} in the UI too."
        )


def materialize(
    graph: Graph, stage: Stage, units: Sequence[Unit], run: str
) -> Iterator[Announcement]:
    """Bring one product of many units up to date.

    Args:
        graph: resolves keys.
        stage: the product.
        units: which units; the order does not matter to any result.
        run: id of the run that asks.

    Yields:
        One announcement for each unit, after it has been recorded for good.

    Raises:
        UpstreamError: when inputs have not been materialized.
    """
    bench = graph.bench
    doing = f"run {run[:8]} of {bench.study.name}: {stage.name}"
    with bench.lineage.exclusive(bench.log, doing):
        with bench.lineage.connect():
            record_run(bench, run)
            graph.forget(stage.name, units)
            resolved = graph.resolve(stage.name, units)
            kept = reusable(bench, resolved)
            _record_models(bench, stage, run)
        missing = {unit: resolved[unit] for unit in units if unit not in kept}
        bench.log(f"{stage.name}: {len(missing):,} units to compute, {len(kept):,} to reuse")
        recorder = _Recorder(graph, stage, run)
        for part in parts([unit for unit in units if unit in kept], _REUSE):
            yield from recorder.reuse({unit: resolved[unit] for unit in part})
        if missing:
            before = Counter(bench.tally)
            limit_models(bench.study.compute.models_gb)
            recorder.watch()
            yield from _compute(graph, stage, missing, recorder)
            recorder.tally(bench.tally - before)
            recorder.sum_up(len(missing))
            bench.lineage.settle()
            graph.forget(stage.name, missing)


def reusable(bench: Workbench, resolved: Mapping[Unit, Resolved]) -> set[Unit]:
    """Units whose stored product may be taken: no failure of a service, all its files there."""
    there: dict[str, bool] = {}

    def has(file: str) -> bool:
        if file not in there:
            there[file] = bench.store.has(file)
        return there[file]

    return {
        unit
        for unit, state in resolved.items()
        if state.head is not None
        and state.head.status not in RETRYABLE
        and all(has(file) for file in state.head.files)
    }


def _compute(
    graph: Graph, stage: Stage, missing: Mapping[Unit, Resolved], recorder: _Recorder
) -> Iterator[Announcement]:
    """Compute each key once, pass failures of upstream on, record in groups."""
    bench = with_batch_sizes(graph.bench, stage.uses)
    sharers: dict[str, list[Unit]] = {}
    for unit, state in missing.items():
        sharers.setdefault(state.key, []).append(unit)
    work = load_inputs(graph, stage, [units[0] for units in sharers.values()])
    failed = {one.unit: reason for one in work if (reason := _failure(one)) is not None}
    ready = [one for one in work if one.unit not in failed]
    computed = stage.compute(bench, ready) if ready else iter(())
    group: dict[Unit, Outcome] = {}
    for unit, outcome in chain(failed.items(), ((one.unit, made) for one, made in computed)):
        group.update(dict.fromkeys(sharers[missing[unit].key], outcome))
        if len(group) >= _COMMIT:
            _require_same(graph, stage, group, missing)
            yield from recorder.record(group, missing)
            group = {}
    _require_same(graph, stage, group, missing)
    yield from recorder.record(group, missing)


def _require_same(
    graph: Graph, stage: Stage, units: Iterable[Unit], resolved: Mapping[Unit, Resolved]
) -> None:
    """Check that models, own code and settings are those that the products' keys were made of.

    Raises:
        UpstreamError: when something was changed while the products were computed.
    """
    firsts = {(unit.model, unit.layer): unit for unit in units}
    for layer, recipe in graph.recipes(stage, list(firsts.values())).items():
        known = resolved[firsts[layer]].recipe
        other = [name for name in recipe if recipe[name] != known[name]]
        if other:
            raise UpstreamError(
                f"the {' and '.join(other)} of {stage.name} changed while it was computed, so the "
                "results are not kept: they may be of the old or of the new. Run again; finished "
                "work is kept."
            )


def load_inputs(graph: Graph, stage: Stage, units: Sequence[Unit]) -> list[Work]:
    """The upstream products of units whose keys resolve."""
    inputs: dict[Unit, dict[str, Product]] = {unit: {} for unit in units}
    for name in stage.upstream:
        if name in UNPARTITIONED:
            whole = graph.unpartitioned(name)
            for unit in units:
                inputs[unit][name] = whole
            continue
        resolved = graph.resolve(name, units)
        products = graph.bench.lineage.products(state.key for state in resolved.values())
        for unit, state in resolved.items():
            inputs[unit][name] = products[state.key]
            if state.head is None or products[state.key].data_version != state.head.data_version:
                raise UpstreamError(
                    f"{name} of {unit} was made anew by another run meanwhile. Run again: finished "
                    "work is kept."
                )
    given = {u: graph.known[stage.name, u].given for u in units if (stage.name, u) in graph.known}
    return [Work(unit, inputs[unit], given.get(unit) or {}) for unit in units]


def stream_inputs(graph: Graph, stage: Stage, units: Sequence[Unit]) -> Iterator[Work]:
    """As `load_inputs`, a part at a time, of the units whose inputs are all `ok`."""
    for part in parts(units):
        for one in load_inputs(graph, stage, part):
            if all(product.ok for product in one.inputs.values()):
                yield one


def _failure(work: Work) -> Outcome | None:
    """The failure that a unit inherits from its inputs, if any."""
    for name, product in work.inputs.items():
        if not product.ok:
            reason = product.outcome.reason or f"{name}: {product.outcome.status}"
            return Outcome(product.outcome.status, {}, reason)
    return None


class _Recorder:
    """Commits results and turns them into announcements."""

    def __init__(self, graph: Graph, stage: Stage, run: str) -> None:
        self._bench, self._stage, self._run = graph.bench, stage, run
        self._version = stage_version(graph.bench, stage)
        self._since = self._begun = time.monotonic()
        self._peak: PeakMemory | None = None

    def watch(self) -> None:
        """Begin to measure time and memory of the computation."""
        self._since = self._begun = time.monotonic()
        on_card = "compute" in self._stage.uses
        cuda = on_card and self._bench.compute.torch_device().type == "cuda"
        self._peak = PeakMemory(cuda=cuda)

    def sum_up(self, units: int) -> None:
        """Record and log time and peak memory of the computation of so many units."""
        if self._peak is None:
            return
        seconds, peak = time.monotonic() - self._begun, self._peak.bytes
        place = "on the card" if self._peak.cuda else "of the process"
        self._bench.log(
            f"{self._stage.name}: {units:,} units in {seconds:,.1f} s, {seconds / units:.3g} s "
            f"each; peak memory {place} {in_words(peak)}"
        )
        row = {
            "run": self._run,
            "study": self._bench.study.name,
            "asset": self._stage.name,
            "units": units,
            "seconds": round(seconds, 6),
            "device": self._device(),
            "peak_memory": peak,
            "recorded_at": now(),
        }
        self._bench.lineage.commit({"stage_runs": [row]})

    def reuse(self, states: Mapping[Unit, Resolved]) -> Iterator[Announcement]:
        """Announce stored products again, in the name of this run."""
        with self._bench.lineage.connect():
            products = self._bench.lineage.products(state.key for state in states.values())
            pairs = {unit: products[state.key] for unit, state in states.items()}
            versions = {
                unit: state.head.data_version for unit, state in states.items() if state.head
            }
            announcements = self._recorded(pairs, versions, reused=True)
        yield from announcements

    def record(
        self, outcomes: Mapping[Unit, Outcome], states: Mapping[Unit, Resolved]
    ) -> Iterator[Announcement]:
        """Record new outcomes and announce them."""
        if not outcomes:
            return
        products = {
            unit: Product(states[unit].key, self._stage.name, states[unit].preimage, outcome)
            for unit, outcome in outcomes.items()
        }
        versions = {unit: product.data_version for unit, product in products.items()}
        yield from self._recorded(products, versions, reused=False)

    def tally(self, work: Mapping[str, int]) -> None:
        """Record what was really done to compute the stage."""
        names = {"run": self._run, "study": self._bench.study.name, "asset": self._stage.name}
        rows = [{**names, "what": what, "count": count} for what, count in work.items()]
        self._bench.lineage.commit({"work": rows})

    def _recorded(
        self, products: Mapping[Unit, Product], versions: Mapping[Unit, str], *, reused: bool
    ) -> list[Announcement]:
        share = (time.monotonic() - self._since) / max(len(products), 1)
        records = {
            unit: self._materialization(unit, product, versions[unit], reused, share)
            for unit, product in products.items()
        }
        failed = [unit for unit, record in records.items() if record.status in RETRYABLE]
        kept = self._settled(failed)
        self._bench.lineage.commit(
            {
                "products": [] if reused else [one.row() for one in products.values()],
                "materializations": [
                    record.row() for unit, record in records.items() if unit.key not in kept
                ],
                "failures": [records[unit].failure_row() for unit in failed],
            }
        )
        self._since = time.monotonic()
        peak = self._peak.bytes if self._peak is not None and not reused else 0
        return [
            Announcement(unit, product, records[unit], peak) for unit, product in products.items()
        ]

    def _settled(self, units: Sequence[Unit]) -> set[str]:
        """Keys of those units that have a product already which is no failure of a service.

        It stays the newest: what a service could not give displaces nothing.
        """
        if not units:
            return set()
        sql = (
            "SELECT DISTINCT unit FROM materializations WHERE study = ? AND asset = ? "
            "AND unit IN (SELECT unnest(?::VARCHAR[])) "
            "AND status NOT IN (SELECT unnest(?::VARCHAR[]))"
        )
        keys = [unit.key for unit in units]
        asked = [self._bench.study.name, self._stage.name, keys, sorted(RETRYABLE)]
        return {row["unit"] for row in self._bench.lineage.query(sql, asked)}

    def _materialization(
        self, unit: Unit, product: Product, version: str, reused: bool, seconds: float
    ) -> Materialization:
        seconds = 0.0 if reused else seconds
        return record_of(
            self._bench,
            self._run,
            product,
            self._version,
            unit,
            reused,
            self._device(),
            seconds,
            version,
        )

    def _device(self) -> str:
        return self._bench.compute.name() if self._stage.uses else "cpu"


def record_of(
    bench: Workbench,
    run: str,
    product: Product,
    code_version: str,
    unit: Unit | None = None,
    reused: bool = False,
    device: str = "cpu",
    seconds: float = 0.0,
    data_version: str = "",
) -> Materialization:
    """The record of a product made or reused by a run, now; without a unit, of a whole study.

    The data version of stored products is known: hashing thousands of contents takes seconds.
    """
    return Materialization(
        run=run,
        study=bench.study.name,
        asset=product.asset,
        unit=unit.key if unit else "",
        model=unit.model if unit else "",
        layer=unit.layer if unit else "",
        neuron=unit.neuron if unit else None,
        key=product.key,
        data_version=data_version or product.data_version,
        code_version=code_version,
        status=product.outcome.status,
        reason=product.outcome.reason,
        reused=reused,
        device=device,
        seconds=round(seconds, 6),
        recorded_at=now(),
    )


def record_whole(
    bench: Workbench,
    run: str,
    product: Product,
    rows: Mapping[str, Sequence[Mapping[str, Any]]],
    device: str = "cpu",
) -> None:
    """Record a product of the whole study in the name of a run, with what it was read from."""
    record = record_of(bench, run, product, recorded_version(product), device=device)
    own = {"products": [product.row()], "materializations": [record.row()]}
    bench.lineage.commit({**rows, **own})


def record_run(bench: Workbench, run: str) -> None:
    """Record a run's study as it is now, and the library versions, once."""
    name = bench.study.name
    sql = "SELECT 1 FROM runs WHERE run = ? AND study = ?"
    if bench.lineage.query(sql, [run, name]):
        return
    libraries = {library: version(library) for library in LIBRARIES}
    row = {
        "run": run,
        "study": name,
        "recorded_at": now(),
        "definition": canonical(
            {**bench.study.model_dump(mode="json"), "folder": str(bench.study.folder)}
        ),
        "versions": canonical({"python": platform.python_version(), **libraries}),
    }
    bench.lineage.commit({"runs": [row]})


def _record_models(bench: Workbench, stage: Stage, run: str) -> None:
    """Record the revisions of the models that a stage works with, as they lie there now."""
    found = used_by(bench, stage.name, stage.uses)
    rows = [one.row(run, bench.study.name, stage.name) for one in found if one.part.present]
    bench.lineage.commit({"models": rows})


def leading_to(stages: Mapping[str, Stage], names: Iterable[str]) -> dict[str, Stage]:
    """The stages that lead to some, in order, themselves included."""
    needed = set(names)
    for name in reversed(list(stages)):
        if name in needed:
            needed |= set(stages[name].upstream)
    return {name: stage for name, stage in stages.items() if name in needed}


def parts(units: Sequence[Unit], size: int = _STREAM) -> Iterator[Sequence[Unit]]:
    """Units in their order, so many at a time."""
    for start in range(0, len(units), size):
        yield units[start : start + size]
