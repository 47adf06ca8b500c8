"""Speed-up by workers: measured for a few, reckoned for many.

Two kinds of work are measured. Painting by a tiny diffusion pipeline uses the processor, so that
the machine's cores bound it. Captions of a stand-in for a card, which only sleeps, leave the
processor free as a card does, so that what is measured is the coordinator: cutting parts, handing
them out, taking them in, recording them. Workers have begun and loaded their models before the
clock starts, and compute with one thread each, as the one process does.

Beyond that a model is reckoned, T(n) = max(W / n, P c) + c, with W seconds of workers' work in all,
P parts, and c seconds of the coordinator for each part, spent while workers are busy with others.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.setting import Figure, Table
from dnd_assets.assets import probing_set
from dnd_assets.engine.cache.shared_results import captions, paintings
from dnd_assets.engine.context import StudyContext
from dnd_assets.engine.context_builder import build_context
from dnd_assets.engine.workers.pools import Workers
from dnd_assets.study.study import parse_study
from resources.text_to_image.base import PaintRequest
from tests import light, studies

_SECONDS = 0.25
"""That the stand-in for a card takes for a picture."""
_BEGIN = 200
"""Items for each worker that are there for it to begin with."""
_PART_S, _PAPER_HOURS = 10.0, 40.0
"""Of a part on a card, and of the paper's study on one card."""
Work = Callable[[StudyContext, int, int], object]
"""Does items from one number up to another."""


@dataclass(frozen=True)
class Timed:
    """A stage's time.

    Attributes:
        seconds: from the first part to the last.
        own: of the processor, by the coordinator, for each part.
    """

    seconds: float
    own: float


def speed_up(table: Table, folder: Path, share: float = 1.0) -> list[Figure]:
    """Against one process, with 1 and 2 workers, and up to 8 where the processor is left free."""
    os.environ["OMP_NUM_THREADS"] = "1"
    count = max(16, round(64 * share))
    figures = _figures("tiny diffusion, two cores", table, folder / "own", _paint, (1, 2), count)[0]
    sleeping = light.table(Path(table["clip"]["model"]))
    sleeping = studies.changed(sleeping, compute__batch__captioner=1)
    what = f"stand-in for a card that sleeps {_SECONDS} s a part"
    more, own = _figures(what, sleeping, folder / "free", _caption, (1, 2, 4, 8), count)
    return [*figures, *more, *_reckoned(own)]


def _figures(
    what: str, table: Table, folder: Path, work: Work, numbers: Sequence[int], count: int
) -> tuple[list[Figure], float]:
    alone = _timed(table, folder / "alone", work, None, count)
    figures, own = [], 0.0
    for number in numbers:
        found = _timed(table, folder / str(number), work, number, count)
        ratio = alone.seconds / found.seconds
        least = 0.8 * number if what.startswith("stand-in") else 0.0
        figures.append(
            Figure(
                f"{what}: {number} workers ({found.seconds:.1f} s) against one process "
                f"({alone.seconds:.1f} s)",
                f"{ratio:.2f}",
                f">= {least:.1f}" if least else "told",
                ratio >= least,
            )
        )
        own = found.own
    return figures, own


def _reckoned(own: float) -> list[Figure]:
    """The paper's study with parts of ten seconds, by the model."""
    work = _PAPER_HOURS * 3600
    parts = work / _PART_S
    told = [Figure("the coordinator's time for a part", f"{own * 1000:.1f} ms", "told", good=True)]
    for number in (8, 16, 64, 256):
        seconds = max(work / number, parts * own) + own
        name = f"reckoned: 40 hours of one card in parts of 10 s, {number} workers"
        told.append(Figure(name, f"{work / seconds:.1f}", "told", good=True))
    return told


def _timed(table: Table, folder: Path, work: Work, workers: int | None, count: int) -> Timed:
    """The time of so many items, after some others by which workers have begun."""
    folder.mkdir(parents=True)
    light.project(folder, Path(table["clip"]["model"]), _SECONDS)
    studies.write_images(folder / "images", count + _BEGIN * (workers or 1))
    study = parse_study(studies.changed(table, probing_set__folders=["images"]), folder)
    own = build_context(study, folder / "state")
    if workers is not None:
        own = replace(own, workers=Workers(f"local:{workers}", folder))
    probing_set.materialize(own, "run")
    if workers is None:
        work(own, count, count + 4)  # the model is loaded
    else:
        _begin(own, work, count, workers)
    started, busy = time.perf_counter(), time.process_time()
    own.workers.begin()
    with own.lineage.grouped():  # as in a stage
        work(own, 0, count)
    seconds, used = time.perf_counter() - started, time.process_time() - busy
    parts = max(own.workers.account.parts, 1)
    own.workers.close()
    return Timed(seconds, used / parts)


def _begin(context: StudyContext, work: Work, start: int, workers: int) -> None:
    """Hand out other work until every worker has done some, so that all have begun."""
    for begun in range(start, start + _BEGIN * workers, 4 * workers):
        work(context, begun, begun + 4 * workers)
        if len(context.workers.account.by_worker) >= workers:
            return
    raise RuntimeError(f"{workers} workers do not begin; give them time on this machine")


def _paint(context: StudyContext, start: int, stop: int) -> object:
    return paintings(context, [PaintRequest(f"concept {n}", n) for n in range(start, stop)])


def _caption(context: StudyContext, start: int, stop: int) -> object:
    rows = context.lineage.query("SELECT DISTINCT hash FROM images ORDER BY hash")
    return captions(context, [row["hash"] for row in rows[start:stop]])
