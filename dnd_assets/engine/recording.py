"""Records of what a run made or reused: products, times, memory, models, libraries."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.models import used_by
from dnd_assets.engine.resolve import Graph, Resolved
from dnd_assets.engine.stage import Stage
from dnd_assets.engine.stage_versions import recorded_version, stage_version
from dnd_assets.lineage.fingerprint import canonical
from dnd_assets.lineage.records import RETRYABLE, Materialization, Outcome, Product, now
from dnd_assets.units import Unit
from resources.runtime.memory import PeakMemory, in_words

LIBRARIES = (
    "dagster", "torch", "torchvision", "open_clip_torch", "transformers", "diffusers", "openai",
    "duckdb", "numpy", "pillow", "scikit-image",
)  # fmt: skip
"""Libraries whose versions are recorded with each run."""


@dataclass(frozen=True)
class MaterializationEvent:
    """One product of one unit, recorded and ready to be shown.

    Attributes:
        peak_memory: bytes that its stage had in use at most until then; 0 when it was reused.
        parts: who has done what of its stage until then, in words; empty where this process did.
    """

    unit: Unit
    product: Product
    record: Materialization
    peak_memory: int = 0
    parts: str = ""


class Recorder:
    """Commits results of one stage and makes an event of each."""

    def __init__(self, graph: Graph, stage: Stage, run: str) -> None:
        self._context, self._stage, self._run = graph.context, stage, run
        self._version = stage_version(graph.context, stage)
        self._since = self._begun = time.monotonic()
        self._peak: PeakMemory | None = None

    def watch(self) -> None:
        """Begin to measure time and memory of the computation."""
        self._since = self._begun = time.monotonic()
        self._context.workers.begin()
        on_card = "compute" in self._stage.uses and not self._context.workers.elsewhere
        cuda = on_card and self._context.compute.torch_device().type == "cuda"
        self._peak = PeakMemory(cuda=cuda)

    def sum_up(self, units: int) -> None:
        """Record and log time and peak memory of the computation of so many units."""
        if self._peak is None:
            return
        seconds, peak = time.monotonic() - self._begun, self._peak.bytes
        place = "on the card" if self._peak.cuda else "of the process"
        self._context.log(
            f"{self._stage.name}: {units:,} units in {seconds:,.1f} s, {seconds / units:.3g} s "
            f"each; peak memory {place} {in_words(peak)}"
        )
        account = self._context.workers.account
        for line in filter(None, [account.summary, *account.lines()]):
            self._context.log(f"{self._stage.name}: {line}")
        name = self._context.study.name
        row = {
            "run": self._run,
            "study": name,
            "asset": self._stage.name,
            "units": units,
            "seconds": round(seconds, 6),
            "device": self._device(),
            "peak_memory": peak,
            "recorded_at": now(),
        }
        workers = account.rows(self._run, name, self._stage.name)
        self._context.lineage.commit({"stage_runs": [row], "workers": workers})

    def reuse(self, states: Mapping[Unit, Resolved]) -> Iterator[MaterializationEvent]:
        """Announce stored products again, in the name of this run."""
        with self._context.lineage.connect():
            products = self._context.lineage.products(state.key for state in states.values())
            pairs = {unit: products[state.key] for unit, state in states.items()}
            versions = {
                unit: state.head.data_version for unit, state in states.items() if state.head
            }
            announcements = self._record_products(pairs, versions, reused=True)
        yield from announcements

    def record(
        self, outcomes: Mapping[Unit, Outcome], states: Mapping[Unit, Resolved]
    ) -> Iterator[MaterializationEvent]:
        """Record new outcomes and announce them."""
        if not outcomes:
            return
        products = {
            unit: Product(states[unit].key, self._stage.name, states[unit].preimage, outcome)
            for unit, outcome in outcomes.items()
        }
        versions = {unit: product.data_version for unit, product in products.items()}
        yield from self._record_products(products, versions, reused=False)

    def tally(self, work: Mapping[str, int]) -> None:
        """Record what was really done to compute the stage."""
        names = {"run": self._run, "study": self._context.study.name, "asset": self._stage.name}
        rows = [{**names, "what": kind, "count": count} for kind, count in work.items()]
        self._context.lineage.commit({"work": rows})

    def _record_products(
        self, products: Mapping[Unit, Product], versions: Mapping[Unit, str], *, reused: bool
    ) -> list[MaterializationEvent]:
        share = (time.monotonic() - self._since) / max(len(products), 1)
        records = {
            unit: self._materialization(unit, product, versions[unit], reused, share)
            for unit, product in products.items()
        }
        failed = [unit for unit, record in records.items() if record.status in RETRYABLE]
        settled = self._settled(failed)
        self._context.lineage.commit(
            {
                "products": [] if reused else [product.row() for product in products.values()],
                "materializations": [
                    record.row() for unit, record in records.items() if unit.key not in settled
                ],
                "failures": [records[unit].failure_row() for unit in failed],
            }
        )
        self._since = time.monotonic()
        peak = self._peak.bytes if self._peak is not None and not reused else 0
        parts = "" if reused else self._context.workers.account.summary
        return [
            MaterializationEvent(unit, product, records[unit], peak, parts)
            for unit, product in products.items()
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
        parameters = [self._context.study.name, self._stage.name, keys, sorted(RETRYABLE)]
        return {row["unit"] for row in self._context.lineage.query(sql, parameters)}

    def _materialization(
        self, unit: Unit, product: Product, version: str, reused: bool, seconds: float
    ) -> Materialization:
        seconds = 0.0 if reused else seconds
        return record_of(
            self._context,
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
        devices = self._context.workers.account.devices
        if devices:
            return "; ".join(devices)
        if self._context.workers.elsewhere:
            return "cpu"  # of what is not handed out; this machine need have no card
        return self._context.compute.name() if self._stage.uses else "cpu"


def record_of(
    context: StudyContext,
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
        study=context.study.name,
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
    context: StudyContext,
    run: str,
    product: Product,
    rows: Mapping[str, Sequence[Mapping[str, object]]],
    device: str = "cpu",
) -> None:
    """Record a product of the whole study in the name of a run, with what it was read from."""
    record = record_of(context, run, product, recorded_version(product), device=device)
    records = {"products": [product.row()], "materializations": [record.row()]}
    context.lineage.commit({**rows, **records})


def record_run(context: StudyContext, run: str) -> None:
    """Record a run's study as it is now, and the library versions, once."""
    name = context.study.name
    sql = "SELECT 1 FROM runs WHERE run = ? AND study = ?"
    if context.lineage.query(sql, [run, name]):
        return
    libraries = {library: version(library) for library in LIBRARIES}
    row = {
        "run": run,
        "study": name,
        "recorded_at": now(),
        "definition": canonical(
            {**context.study.model_dump(mode="json"), "folder": str(context.study.folder)}
        ),
        "versions": canonical({"python": platform.python_version(), **libraries}),
    }
    context.lineage.commit({"runs": [row]})


def record_models(context: StudyContext, stage: Stage, run: str) -> None:
    """Record the revisions of the models that a stage works with, as they lie there now."""
    used_models = used_by(context, stage.name, stage.uses)
    rows = [
        listed.row(run, context.study.name, stage.name)
        for listed in used_models
        if listed.part.present
    ]
    context.lineage.commit({"models": rows})
