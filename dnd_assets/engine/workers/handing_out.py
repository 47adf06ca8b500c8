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
    reporter = progress or Progress("", 0, lambda _: None)
    if context.workers.handed_to is not None:
        yield from _HandingOut(context, job, reporter).each(parts)
        return
    for part in parts:
        began = time.monotonic()
        result = job(context, part, reporter)
        context.workers.account.add(THIS_PROCESS, "", time.monotonic() - began)
        yield part, result


@dataclass
class _PendingPart:
    """A part that was handed out and has not come back.

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
    """The parts of one job that were handed out and have not come back."""

    context: StudyContext
    job: Job
    progress: Progress
    running: dict[Future[tuple[str, bytes]], _PendingPart] = field(default_factory=dict)
    queue: deque[_PendingPart] = field(default_factory=deque)
    error: Exception | None = None

    def __post_init__(self) -> None:
        self._study = _study_for_workers(self.context)

    def each(self, parts: Iterable[Part]) -> Iterator[tuple[Part, PartResult]]:
        """Every part with what became of it."""
        remaining = iter(parts)
        try:
            while True:
                self._fill(remaining)
                if not self.running:
                    break
                yield from self._finished_parts()
        finally:
            for future in self.running:
                future.cancel()
        if self.error is not None:
            raise self.error

    def _fill(self, remaining: Iterator[Part]) -> None:
        """Hand out as many parts as may be out, those that were lost first."""
        while self.error is None and len(self.running) < self.context.workers.at_once:
            if not self.queue:
                part = next(remaining, None)
                if part is None:
                    return
                self.queue.append(_PendingPart(part))
            self._submit(self.queue.popleft())

    def _submit(self, pending: _PendingPart) -> None:
        try:
            executor = self.context.workers.executor()
            self.running[executor.submit(work_on, self._task(pending.part))] = pending
        except BrokenExecutor as error:  # it broke since the last part came back
            self.context.workers.renew()
            self._retry([pending], error)

    def _finished_parts(self) -> Iterator[tuple[Part, PartResult]]:
        """Wait for parts; yield those that are done, keep those that were lost for another try."""
        finished, _ = wait(self.running, return_when=FIRST_COMPLETED)
        broken = [
            future for future in finished if isinstance(_exception_of(future), BrokenExecutor)
        ]
        if broken:  # all that is out is lost with it, but for what had come back already
            finished, _ = wait(self.running)
            self.context.workers.renew()
        lost_parts: list[_PendingPart] = []
        error: BaseException | None = None
        for future in finished:
            pending, exception = self.running.pop(future), _exception_of(future)
            if exception is not None:
                lost_parts.append(pending)
                error = exception
                continue
            answer = WorkerAnswer.of(*future.result())
            if (result := self._record_answer(answer)) is not None:
                self.progress.advance(len(pending.part.items))
                yield pending.part, result
        if error is not None:
            self._retry(lost_parts, error)

    def _record_answer(self, answer: WorkerAnswer) -> PartResult | None:
        """What a worker made, recorded and counted; None where it told an error, which is kept."""
        context = self.context
        for line in answer.said:
            context.log(line)
        if answer.made is None:
            self.error = self.error or _error_of(answer)
            return None
        for rows in answer.rows:
            context.lineage.commit(rows)
        for kind, count in answer.tally.items():
            context.count(kind, count)
        context.workers.account.add(answer.worker, answer.device, answer.seconds)
        return answer.made

    def _retry(self, parts: list[_PendingPart], error: BaseException) -> None:
        """Have lost parts handed out again, unless that was tried too often in vain."""
        workers, name = self.context.workers, self.job.__name__.strip("_")
        finished_count = workers.account.parts
        cause = f"{type(error).__name__}: {error}".splitlines()[0]
        for pending in parts:
            pending.lost += 1
            if pending.lost > MOST_LOST and pending.done_before == finished_count:
                self.error = self.error or WorkerError(
                    f"a part of {name} ({len(pending.part.items):,} items, the first "
                    f"{pending.part.items[0][:60]!r}) was lost {pending.lost} times by "
                    f"{workers.handed_to!r}, while no other came back; the last time: {cause}. "
                    "Look at the workers' logs and at their memory (a smaller compute.batch takes "
                    "less), or leave out compute.workers. Run again; finished work is kept."
                )
            pending.done_before = finished_count
        workers.account.lost += len(parts)
        self.queue.extend(parts)
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


def _study_for_workers(context: StudyContext) -> dict[str, object]:
    """The study for workers: on the kind of device that the keys say, and handed on no further."""
    settings: dict[str, object] = context.study.model_dump(mode="json")
    compute = context.study.compute.model_dump(mode="json")
    device = context.compute.fingerprint()["device"]
    return {**settings, "compute": {**compute, "device": device, "workers": None}}


def _exception_of(future: Future[tuple[str, bytes]]) -> BaseException | None:
    """Why a future has no result, if it has none."""
    if future.cancelled():
        return WorkerError("cancelled")
    return future.exception()


def _error_of(answer: WorkerAnswer) -> Exception:
    """The error that a worker told, of the class that it had there."""
    if answer.problem is None:
        return WorkerError(f"a worker failed, which is a fault; please report it:\n{answer.fault}")
    name, message = answer.problem
    kind = getattr(errors, name, WorkerError)
    is_own = (
        isinstance(kind, type) and issubclass(kind, DndError) and kind is not errors.MissingError
    )
    return kind(message) if is_own else WorkerError(message)
