"""A trace as OpenLineage run events, for catalogues such as Marquez or DataHub.

Every product of the unit is one run of the job `<asset>`: a START and a COMPLETE (or FAIL) event,
with the products, images and weights it read as input datasets, and itself as the output, each with
its content hash as version. The fingerprint travels in a facet of our own.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta

import attr
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import (
    DatasetFacet,
    RunFacet,
    dataset_version_dataset,
    parent_run,
)
from openlineage.client.serde import Serde

from dnd_assets.lineage.fingerprint import digest
from dnd_assets.lineage.records import UNPARTITIONED
from dnd_assets.lineage.trace import Step, Trace, image_hashes

_PRODUCER = "urn:dnd-assets"
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, _PRODUCER)


@attr.define
class FingerprintRunFacet(RunFacet):
    """What decided a product: its key and the readable preimage of it, and how it ended."""

    key: str
    code: str
    parameters: dict[str, object]
    weights: dict[str, object]
    status: str
    reason: str
    device: str


@attr.define
class ContentDatasetFacet(DatasetFacet):
    """A product's content as JSON."""

    content: dict[str, object]


def events(trace: Trace) -> list[dict[str, object]]:
    """OpenLineage run events of a trace as JSON objects, upstream first.

    Args:
        trace: from `dnd_assets.lineage.trace.trace`.
    """
    run_events = [event for step in _upstream_first(trace) for event in _events(trace, step)]
    return [Serde.to_dict(event) for event in run_events]


def _upstream_first(trace: Trace) -> list[Step]:
    """The steps of a trace, each after those that it was made from."""
    ordered: dict[str, Step] = {}

    def visit(name: str) -> None:
        if name in trace.steps and name not in ordered:
            for source in trace.steps[name].preimage["inputs"]:
                visit(source)
            ordered[name] = trace.steps[name]

    for name in trace.steps:
        visit(name)
    return list(ordered.values())


def _events(trace: Trace, step: Step) -> Iterator[RunEvent]:
    """The start and the end of one product's computation."""
    ended = datetime.fromisoformat(str(step.record["recorded_at"]))
    started = ended - timedelta(seconds=float(step.record["seconds"]))
    dagster_run = _uuid(str(step.record["run"]))
    facets: dict[str, RunFacet] = {
        "parent": parent_run.ParentRunFacet(
            run=parent_run.Run(runId=dagster_run),
            job=parent_run.Job(namespace=_namespace(trace), name="dnd run"),
        ),
        "dnd_fingerprint": _fingerprint(step),
    }
    run = Run(runId=_uuid(f"{dagster_run}/{trace.unit}/{step.asset}"), facets=facets)
    job = Job(namespace=_namespace(trace), name=step.asset)
    inputs, outputs = list(_inputs(trace, step)), [_output(trace, step)]
    succeeded = step.record["status"] == "ok"
    for moment, state in ((started, RunState.START), (ended, "COMPLETE" if succeeded else "FAIL")):
        yield RunEvent(
            eventTime=moment.isoformat(), eventType=RunState(state), run=run, job=job,
            inputs=inputs, outputs=outputs, producer=_PRODUCER,
        )  # fmt: skip


def _fingerprint(step: Step) -> FingerprintRunFacet:
    summary = step.summary()
    names = ("key", "code", "parameters", "weights", "status", "reason", "device")
    return FingerprintRunFacet(**{name: summary[name] for name in names})


def _inputs(trace: Trace, step: Step) -> Iterator[InputDataset]:
    for name, version in step.preimage["inputs"].items():
        if name in trace.steps:
            yield InputDataset(_namespace(trace), _name(trace, name), facets=_version(version))
    for name, weights in step.weights.items():
        yield InputDataset("dnd://weights", name, facets=_version(digest(weights)))
    if step.asset == "activations":
        for image in dict.fromkeys(image_hashes(step.payload)):
            for path in trace.images.get(image, {}).get("paths", ()):
                yield InputDataset("file", str(path), facets=_version(image))


def _output(trace: Trace, step: Step) -> OutputDataset:
    content = ContentDatasetFacet(content=dict(step.payload))
    facets = {**_version(str(step.record["data_version"])), "dnd_content": content}
    return OutputDataset(_namespace(trace), _name(trace, step.asset), facets=facets)


def _version(version: str) -> dict[str, DatasetFacet]:
    facet = dataset_version_dataset.DatasetVersionDatasetFacet(version)
    return {"version": facet}


def _name(trace: Trace, asset: str) -> str:
    return asset if asset in UNPARTITIONED else f"{trace.unit}/{asset}"


def _namespace(trace: Trace) -> str:
    return f"dnd://{trace.study}"


def _uuid(name: str) -> str:
    """A run's id as it is where it is a UUID, otherwise one made from it."""
    try:
        return str(uuid.UUID(name))
    except ValueError:
        return str(uuid.uuid5(_NAMESPACE, name))
