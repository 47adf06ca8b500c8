"""Parts of a stage's work, done here or by workers: each exactly once as far as records tell.

A part that is lost, because its worker was killed, its node vanished or its pilot job ended, is
handed out again; one that was done twice gives the same files. Only the coordinator records.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass, field
from typing import Final

from dnd_assets import errors
from dnd_assets.engine.cache.stored_pictures import whereabouts
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.workers.account import THIS_PROCESS
from dnd_assets.engine.workers.at_work import version_of, work_on
from dnd_assets.engine.workers.parts import Job, Part, PartResult, WorkerAnswer, WorkerTask
from dnd_assets.errors import DndError, WorkerError
from resources.runtime.progress import Progress

MOST_LOST: Final = 3
"""How often a part may be lost while no other comes back, before the run gives up."""
_PARTS = "parts"


def hand_out(
    context: StudyContext, job: Job, parts: Iterable[Part], progress: Progress | None = None
) -> Iterator[tuple[Part, PartResult]]:
    """Have parts done, by this process or by the study's workers.

    Args:
        context: the study's context.
        job: does a part; a function of a module.
        parts: cut as one process cuts its batches.
        progress: counts items that are done.

    Yields:
        Each part with what became of it: in order where this process does them, as they come back
        otherwise.

    Raises:
        WorkerError: when a part is lost again and again.
        DndError: whatever a part raised; those that were done are yielded before.
    """
    told = progress or Progress("", 0, lambda _: None)
    if context.workers.handed_to is not None:
        yield from _HandingOut(context, job, told).each(parts)
        return
    for part in parts:
        began = time.monotonic()
        made = job(context, part, told)
        context.workers.account.add(THIS_PROCESS, "", time.monotonic() - began)
        yield part, made


@dataclass
class _Asked:
    """A part that is out.

    Attributes:
        part: the part.
        lost: how often it was lost.
        done_before: how many parts had come back when it was lost last.
    """

    part: Part
    lost: int = 0
    done_before: int = -1


@dataclass
class _HandingOut:
    """The parts of one job that are out."""

    context: StudyContext
    job: Job
    progress: Progress
    running: dict[Future[tuple[str, bytes]], _Asked] = field(default_factory=dict)
    again: deque[_Asked] = field(default_factory=deque)
    error: Exception | None = None

    def __post_init__(self) -> None:
        self._study = _told_study(self.context)

    def each(self, parts: Iterable[Part]) -> Iterator[tuple[Part, PartResult]]:
        """Every part with what became of it."""
        left = iter(parts)
        try:
            while True:
                self._fill(left)
                if not self.running:
                    break
                yield from self._come_back()
        finally:
            for future in self.running:
                future.cancel()
        if self.error is not None:
            raise self.error

    def _fill(self, left: Iterator[Part]) -> None:
        """Hand out as many parts as may be out, those that were lost first."""
        while self.error is None and len(self.running) < self.context.workers.at_once:
            if not self.again:
                fresh = next(left, None)
                if fresh is None:
                    return
                self.again.append(_Asked(fresh))
            self._submit(self.again.popleft())

    def _submit(self, asked: _Asked) -> None:
        try:
            executor = self.context.workers.executor()
            self.running[executor.submit(work_on, self._task(asked.part))] = asked
        except BrokenExecutor as error:  # it broke since the last part came back
            self.context.workers.renew()
            self._lost([asked], error)

    def _come_back(self) -> Iterator[tuple[Part, PartResult]]:
        """Wait for parts; yield those that are done, keep those that were lost for another try."""
        done, _ = wait(self.running, return_when=FIRST_COMPLETED)
        broken = [future for future in done if isinstance(_raised(future), BrokenExecutor)]
        if broken:  # all that is out is lost with it, but for what had come back already
            done, _ = wait(self.running)
            self.context.workers.renew()
        lost: list[_Asked] = []
        why: BaseException | None = None
        for future in done:
            asked, raised = self.running.pop(future), _raised(future)
            if raised is not None:
                lost.append(asked)
                why = raised
                continue
            answer = WorkerAnswer.of(*future.result())
            if (made := self._taken(answer)) is not None:
                self.progress.advance(len(asked.part.items))
                yield asked.part, made
        if why is not None:
            self._lost(lost, why)

    def _taken(self, answer: WorkerAnswer) -> PartResult | None:
        """What a worker made, recorded and counted; None where it told an error, which is kept."""
        context = self.context
        for line in answer.said:
            context.log(line)
        if answer.made is None:
            self.error = self.error or _error_of(answer)
            return None
        for rows in answer.rows:
            context.lineage.commit(rows)
        for what, count in answer.tally.items():
            context.count(what, count)
        context.workers.account.add(answer.worker, answer.device, answer.seconds)
        return answer.made

    def _lost(self, parts: list[_Asked], why: BaseException) -> None:
        """Have lost parts handed out again, unless that was tried too often in vain."""
        workers, name = self.context.workers, self.job.__name__.strip("_")
        done = workers.account.parts
        cause = f"{type(why).__name__}: {why}".splitlines()[0]
        for asked in parts:
            asked.lost += 1
            if asked.lost > MOST_LOST and asked.done_before == done:
                self.error = self.error or WorkerError(
                    f"a part of {name} ({len(asked.part.items):,} items, the first "
                    f"{asked.part.items[0][:60]!r}) was lost {asked.lost} times by "
                    f"{workers.handed_to!r}, while no other came back; the last time: {cause}. "
                    "Look at the workers' logs and at their memory (a smaller compute.batch takes "
                    "less), or leave out compute.workers. Run again; finished work is kept."
                )
            asked.done_before = done
        workers.account.lost += len(parts)
        self.again.extend(parts)
        if self.error is None:
            self.context.log(
                f"{len(parts):,} parts of {name} were lost by {workers.handed_to} ({cause}) and "
                "are handed out again"
            )

    def _task(self, part: Part) -> str:
        context, job = self.context, self.job
        paths, packs = whereabouts(context.pictures, part.pictures)
        return WorkerTask(
            f"{job.__module__}:{job.__name__}",
            version_of(job),
            self._study,
            str(context.study.folder),
            str(context.home),
            part,
            paths,
            packs,
        ).text()


def _told_study(context: StudyContext) -> dict[str, object]:
    """The study for workers: on the kind of device that the keys say, and handed on no further."""
    told: dict[str, object] = context.study.model_dump(mode="json")
    compute = context.study.compute.model_dump(mode="json")
    device = context.compute.fingerprint()["device"]
    return {**told, "compute": {**compute, "device": device, "workers": None}}


def _raised(future: Future[tuple[str, bytes]]) -> BaseException | None:
    """Why a future has no result, if it has none."""
    if future.cancelled():
        return WorkerError("cancelled")
    return future.exception()


def _error_of(answer: WorkerAnswer) -> Exception:
    """The error that a worker told, of the class that it had there."""
    if answer.problem is None:
        return WorkerError(f"a worker failed, which is a fault; please report it:\n{answer.fault}")
    name, words = answer.problem
    kind = getattr(errors, name, WorkerError)
    known = (
        isinstance(kind, type) and issubclass(kind, DndError) and kind is not errors.MissingError
    )
    return kind(words) if known else WorkerError(words)
