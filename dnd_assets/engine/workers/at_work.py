"""What a worker does with a part: the same as one process would, with the same models.

It builds the study's resources once and keeps them, with their models, for the parts that follow.
What it computes with must be what the coordinator's keys say: the code, and the model with its
weights, libraries, kind of device and precision are compared before a part is begun.
"""

from __future__ import annotations

import os
import platform
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path

from dnd_assets.engine.cache.stored_pictures import tell_whereabouts
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.context_builder import build_context
from dnd_assets.engine.workers.parts import Job, Part, WorkerAnswer, WorkerTask
from dnd_assets.engine.workers.pools import Workers
from dnd_assets.engine.workers.told_lineage import ToldLineage
from dnd_assets.errors import DndError, WorkerError
from dnd_assets.lineage.code import code_version
from dnd_assets.lineage.fingerprint import digest
from dnd_assets.study.study import parse_study
from resources.runtime.model_cache import limit_models
from resources.runtime.progress import Progress


def work_on(text: str) -> tuple[str, bytes]:
    """Do a part.

    Args:
        text: a `WorkerTask` as JSON.

    Returns:
        A `WorkerAnswer`, packed. Errors are answers, too: what is raised here is a worker's end,
        and so a reason to hand the part out again.
    """
    began, task = time.monotonic(), WorkerTask.of(text)
    worker = f"{platform.node()}:{os.getpid()}"
    try:
        return replace(_answer(task), worker=worker, seconds=time.monotonic() - began).packed()
    except DndError as error:
        return WorkerAnswer(worker=worker, problem=(type(error).__name__, str(error))).packed()
    except Exception:  # noqa: BLE001 - told whole to the coordinator, who raises it
        return WorkerAnswer(worker=worker, fault=traceback.format_exc()).packed()


def agree(context: StudyContext, part: Part, known_by: Callable[[], str]) -> None:
    """Check, where a worker does a part, that it would be done by what the coordinator meant.

    Args:
        context: the study's context at hand.
        part: the part.
        known_by: hash of what makes it here.

    Raises:
        WorkerError: when it is another model, other weights or libraries, or another device.
    """
    if isinstance(context.lineage, ToldLineage) and known_by() != part.provider:
        raise WorkerError(
            f"the worker {platform.node()} would compute with another model, weights, libraries or "
            "kind of device than the coordinator's keys say. Give it the same environment and the "
            "same files; name the device (compute.device = 'cuda') where the coordinator has none."
        )


def _answer(task: WorkerTask) -> WorkerAnswer:
    job = named_job(task.job)
    if _version(job) != task.code:
        raise WorkerError(
            f"the worker {platform.node()} has other code of {task.job} than the coordinator. "
            "Install the same version of this project there."
        )
    context, lineage = _context_of(task)
    log_lines: list[str] = []
    tally: Counter[str] = Counter()
    context = replace(context, log=log_lines.append, tally=tally)
    tell_whereabouts(context.pictures, task.paths, task.packs)
    result = job(context, task.part, Progress("", len(task.part.items), lambda _: None))
    return WorkerAnswer(result, lineage.taken(), tally, log_lines, device=context.compute.name())


def named_job(name: str) -> Job:
    """The function of this project that a task names.

    Raises:
        WorkerError: when it is none.
    """
    module, _, function = name.partition(":")
    candidate = getattr(import_module(module), function, None)
    if not callable(candidate):
        raise WorkerError(f"there is no {name!r} to do a part; install the coordinator's version.")
    job: Job = candidate
    return job


@cache
def _version(job: Job) -> str:
    return code_version(job)


def version_of(job: Job) -> str:
    """Version of all code that a job leads to."""
    return _version(job)


_KEPT: dict[str, tuple[StudyContext, ToldLineage]] = {}
"""The study being worked on, by its hash; one at most, as models take memory."""


def _context_of(task: WorkerTask) -> tuple[StudyContext, ToldLineage]:
    """The study's resources without the right to ask or to write the lineage."""
    key = digest([task.study, task.folder, task.home])
    if key not in _KEPT:
        study = parse_study(dict(task.study), Path(task.folder), "the coordinator's study")
        lineage = ToldLineage(root=task.home)
        context = build_context(study, Path(task.home))
        _KEPT.clear()
        limit_models(study.compute.models_gb)
        _KEPT[key] = replace(context, lineage=lineage, workers=Workers()), lineage
    return _KEPT[key]
