"""Where models run: device, precision, batches that shrink when memory runs out."""

from __future__ import annotations

import gc
import platform
import threading
from collections.abc import Callable, Hashable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from dagster import ConfigurableResource

from dnd_assets.errors import StudyError, nearest
from resources.progress import Progress

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
R = TypeVar("R")

GPU_POOL: Final = "gpu"
"""Dagster pool of the stages that run models; its limit keeps them from sharing one card."""

_DEVICES: Final = ("auto", "cpu", "cuda", "mps")
_DTYPES: Final = ("float32", "bfloat16", "float16")


class Compute(ConfigurableResource):  # type: ignore[type-arg]
    """The device and precision of a run.

    Attributes:
        device: `cpu`, `cuda`, `mps`, or `auto` for the best one that is there.
        dtype: precision of weights and activations: `float32`, `bfloat16` or `float16`.
    """

    device: str = "auto"
    dtype: str = "float32"

    def torch_device(self) -> torch.device:
        """The device that `device` stands for on this machine.

        Raises:
            StudyError: when the name is unknown or the machine has no such device.
        """
        import torch

        there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        present = [*(name for name, found in there.items() if found), "cpu"]
        if self.device == "auto":
            return torch.device(present[0])
        if self.device in present:
            return torch.device(self.device)
        what = "this machine has no" if self.device in _DEVICES else "there is no"
        close = ", ".join(nearest(self.device, ["auto", *present]))
        raise StudyError(
            f"{what} device {self.device!r}; usable here: {close}. Correct compute.device."
        )

    def torch_dtype(self) -> torch.dtype:
        """The precision as torch names it.

        Raises:
            StudyError: when the name is unknown.
        """
        import torch

        if self.dtype not in _DTYPES:
            close = ", ".join(nearest(self.dtype, _DTYPES))
            raise StudyError(
                f"no precision {self.dtype!r}; nearest: {close}. Correct compute.dtype."
            )
        found: torch.dtype = getattr(torch, self.dtype)
        return found

    def name(self) -> str:
        """The hardware for people, for example `cuda: NVIDIA A100` or `cpu (AMD EPYC)`."""
        kind = self.torch_device().type
        if kind == "cuda":
            import torch

            return f"cuda: {torch.cuda.get_device_name()}"
        return f"{kind} ({_processor()})"

    def fingerprint(self) -> dict[str, str]:
        """What may change the last bits of a result: kind of device and precision."""
        return {"device": self.torch_device().type, "dtype": self.dtype}

    def in_batches(
        self,
        items: Sequence[T],
        run: Callable[[Sequence[T]], Sequence[R]],
        batch_size: int,
        *,
        pad: bool = False,
        exact: bool = False,
        on_batch: Callable[[Sequence[T], Sequence[R]], None] | None = None,
        progress: Progress | None = None,
    ) -> list[R]:
        """Run a model over items in batches, in order.

        When a batch does not fit into memory, it and all later ones are halved.

        Args:
            items: what to run on.
            run: one result for each item of a batch.
            batch_size: items in a batch.
            pad: repeat the last item until the batch is full and drop the surplus results, so
                that every batch has one shape and no result depends on how many items there were.
            exact: on the CPU, where it is nearly as fast, run each item by itself, so that no bit
                of its result depends on the batch size.
            on_batch: called with the items and results of each finished batch, to keep them.
            progress: counts finished items.

        Raises:
            StudyError: when a single item does not fit into memory.
            ValueError: when `run` returns more or fewer results than items.
        """
        if batch_size < 1:
            raise ValueError(f"a batch holds one item at least, not {batch_size}")
        results: list[R] = []
        size = batch_size
        if exact and self.torch_device().type == "cpu":
            run, pad = _one_by_one(run), False
        while len(results) < len(items):
            batch = items[len(results) : len(results) + size]
            done = _attempt(run, _padded(batch, size) if pad else batch)
            if done is None:
                size = self._halved(min(size, len(batch)) if not pad else size)
                continue
            done = done[: len(batch)]
            results.extend(done)
            if on_batch is not None:
                on_batch(batch, done)
            if progress is not None:
                progress.advance(len(batch))
        return results

    def _halved(self, size: int) -> int:
        if size == 1:
            raise StudyError(
                f"a single item does not fit into the memory of {self.name()} at {self.dtype}. "
                "Free memory there, or set compute.device or compute.dtype to something smaller."
            )
        _free_memory()
        return size // 2


def in_order(
    items: Sequence[T],
    run: Callable[[Sequence[T]], Sequence[R]],
    batch_size: int,
    on_batch: Callable[[Sequence[T], Sequence[R]], None] | None = None,
    progress: Progress | None = None,
) -> list[R]:
    """`Compute.in_batches` for what runs no model: nothing is filled up, halved or done alone."""
    results: list[R] = []
    for start in range(0, len(items), batch_size):
        batch = items[start : start + batch_size]
        done = run(batch)
        results += done
        if on_batch is not None:
            on_batch(batch, done)
        if progress is not None:
            progress.advance(len(batch))
    return results


def _one_by_one(run: Callable[[Sequence[T]], Sequence[R]]) -> Callable[[Sequence[T]], Sequence[R]]:
    def each(batch: Sequence[T]) -> Sequence[R]:
        return [result for item in batch for result in run([item])]

    return each


def _attempt(run: Callable[[Sequence[T]], Sequence[R]], batch: Sequence[T]) -> Sequence[R] | None:
    """Results of a batch, or None when memory ran out; the failed tensors are let go by then."""
    try:
        results = run(batch)
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            return None
        raise
    if len(results) != len(batch):
        raise ValueError(f"a batch of {len(batch)} items gave {len(results)} results")
    return results


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch or Python says that memory ran out, on whatever device."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text
    )


def _padded(batch: Sequence[T], size: int) -> Sequence[T]:
    return [*batch, *[batch[-1]] * (size - len(batch))]


def _free_memory() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()


@cache
def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


_loaded: dict[Hashable, Any] = {}
_loading = threading.RLock()


def load_once(key: Hashable, load: Callable[[], T]) -> T:
    """What `load` returns, from memory when this process loaded `key` before.

    Dagster makes new resource objects for every run; the models behind them stay loaded.
    """
    with _loading:
        if key not in _loaded:
            _loaded[key] = load()
        found: T = _loaded[key]
        return found
