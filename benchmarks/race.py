"""Ours beside the references' algorithms and bare forward passes, in one run (`make race`).

Each line is a ratio of processor times, taken in turn in this process or in processes of its own,
so that a busy machine makes it noisy and not wrong. What ours is measured beside is written anew
from the papers (`race_reference`); the authors' programs are not run.
"""

from pathlib import Path

from benchmarks.race_end_to_end import MORE_IMAGES, end_to_end
from benchmarks.race_exact import exactness
from benchmarks.race_kernels import kernels
from benchmarks.race_own_time import first_events, own_time
from benchmarks.setting import Figure, Table


def race(table: Table, folder: Path, share: float = 1.0) -> list[Figure]:
    """All of it, kernels first."""
    return [
        *kernels(max(3, round(7 * share))),
        *clip_dissect(folder, share),
        *exactness(share),
        *own_time(table, folder / "own"),
        *first_events(folder / "events"),
    ]


def clip_dissect(folder: Path, share: float = 1.0) -> list[Figure]:
    """CLIP-Dissect from pictures to labels, on few pictures and on more."""
    return [
        *end_to_end(folder / "clip_dissect", trials=max(1, round(3 * share))),
        *end_to_end(folder / "more_images", images=MORE_IMAGES),
    ]
