"""Where models run: device, precision, batches that shrink when memory runs out."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from dnd_assets.errors import StudyError, nearest
from resources.runtime.exact_passes import Exact, exactly, threads_at_once
from resources.runtime.memory import free_memory, is_out_of_memory
from resources.runtime.model_cache import _loaded, load_once, unload_others
from resources.runtime.prefetch import Ahead
from resources.runtime.progress import Progress
from resources.runtime.resource import Resource
from resources.runtime.threads import available_cores, fastest_threads

if TYPE_CHECKING:
    import torch

__all__ = ["Compute", "_loaded", "in_order", "load_once", "whole_batches"]

T = TypeVar("T")
R = TypeVar("R")

_DEVICES: Final = ("auto", "cpu", "cuda", "mps")
_DTYPES: Final = ("float32", "bfloat16", "float16")
_MOST_WORKERS: Final = 8


class Compute(Resource):
    """The device and precision of a model.

    A lower precision is had in one of two ways; each model takes the better one for it:

    - Weights are cast. Right where reading weights is most of the work, as in generating word by
      word (captioner), and where half the memory is the point (text-to-image, whose checkpoints
      are published to be run so).
    - Autocast: weights stay float32, and torch runs convolutions and matrix products in the lower
      precision, but normalisation, softmax and the like in float32. Right for one large pass of
      any network: networks to be described bring their own code, which may not bear cast weights,
      and an encoder's small differences of cosine are kept. See `autocast`.

    Attributes:
        device: `cpu`, `cuda`, `mps`, or `auto` for the best one that is there.
        dtype: precision of the model: `float32`, `bfloat16` or `float16`.
        compile: let torch compile the parts of text-to-image that take the time, and cuDNN choose
            algorithms by trial: faster on CUDA, but the last bits of pictures change.
        workers: threads that decode and transform pictures ahead; None for up to eight beside an
            accelerator, and one on a CPU with a core to spare.
    """

    device: str = "auto"
    dtype: str = "float32"
    compile: bool = False
    workers: int | None = None

    def torch_device(self) -> torch.device:
        """The device that `device` stands for on this machine.

        Raises:
            StudyError: when the name is unknown or the machine has no such device.
        """
        import torch

        available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        present = [*(name for name, is_there in available.items() if is_there), "cpu"]
        if self.device == "auto":
            return torch.device(present[0])
        if self.device in present:
            return torch.device(self.device)
        problem = "this machine has no" if self.device in _DEVICES else "there is no"
        close = ", ".join(nearest(self.device, ["auto", *present]))
        raise StudyError(
            f"{problem} device {self.device!r}; usable here: {close}. Correct compute.device."
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
        dtype: torch.dtype = getattr(torch, self.dtype)
        return dtype

    def autocast(self) -> AbstractContextManager[Any]:
        """Within the block torch runs in `dtype` what bears it; nothing changes at float32."""
        import torch

        if self.dtype == "float32":
            return nullcontext()
        return torch.autocast(self.torch_device().type, dtype=self.torch_dtype())

    @property
    def mixed(self) -> str:
        """What fingerprints say of the precision of a model that runs under `autocast`."""
        return self.dtype if self.dtype == "float32" else f"{self.dtype} autocast"

    @property
    def accelerated(self) -> bool:
        """Whether models run beside the processor, which is free for other work meanwhile."""
        return self.torch_device().type != "cpu"

    @property
    def channels_last(self) -> bool:
        """Whether convolutions run faster on channels-last memory: in 16 bits on CUDA, or the CPU.

        On the CPU a picture of ResNet-18 takes 0.8 of the time so, of GoogLeNet half, and no
        network of torchvision that was tried longer.
        """
        kind = self.torch_device().type
        return kind == "cpu" or (kind == "cuda" and self.dtype != "float32")

    def place(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels on the device, by way of pinned memory on CUDA, where nothing waits for them."""
        device = self.torch_device()
        if device.type != "cuda":
            return pixels.to(device)
        return pixels.pin_memory().to(device, non_blocking=True)

    def threads_ahead(self) -> int:
        """How many threads prepare pictures: `workers`, or as many as do not slow the model."""
        if self.workers is not None:
            return self.workers
        import torch

        cores = available_cores()
        if self.accelerated:
            return max(1, min(_MOST_WORKERS, cores - 1))
        return int(torch.get_num_threads() < cores)

    def name(self) -> str:
        """The hardware for people, for example `cuda: NVIDIA A100` or `cpu (AMD EPYC)`."""
        kind = self.torch_device().type
        if kind == "cuda":
            import torch

            return f"cuda: {torch.cuda.get_device_name()}"
        return f"{kind} ({_processor()})"

    def fingerprint(self) -> dict[str, str]:
        """What may change the last bits of a result: kind of device and precision.

        A device that is named counts whether this machine has it or not, so that what was made on
        an accelerator can be planned and read elsewhere.
        """
        is_named = self.device in _DEVICES and self.device != "auto"
        return {
            "device": self.device if is_named else self.torch_device().type,
            "dtype": self.dtype,
        }

    def in_batches(
        self,
        items: Sequence[T],
        run: Callable[[Sequence[Any]], Sequence[R]],
        batch_size: int,
        *,
        prepare: Callable[[T], Any] | None = None,
        pad: bool = False,
        exact: Exact | None = None,
        on_batch: Callable[[Sequence[T], Sequence[R]], None] | None = None,
        progress: Progress | None = None,
    ) -> list[R]:
        """Run a model over items in batches, in order.

        When a batch does not fit into memory, the other models leave it; when that does not help,
        this batch and all later ones are halved.

        Args:
            items: what to run on.
            run: one result for each item of a batch, or for what `prepare` made of it.
            batch_size: items in a batch.
            prepare: makes an item ready for the model, in threads that work a batch ahead.
            pad: repeat the last item until the batch is full and drop the surplus results, so
                that every batch has one shape and no result depends on how many items there were.
            exact: on the CPU run in calls of one shape, so that no bit of a result depends on the
                batch size; None does not promise it.
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
        at_once = exact is not None and exact.at_once
        # Threads first: how many prepare pictures depends on how many compute.
        with (
            self._threads(run, progress, at_once=at_once) as call,
            self._ahead(items, prepare, size, at_once=at_once) as ready,
        ):
            together = 1
            if exact is not None and not self.accelerated:
                call, pad, together = exactly(call, exact), False, exact.together
            while len(results) < len(items):
                batch = items[len(results) : len(results) + size]
                prepared = ready.take(len(results), len(results) + size)
                outputs = _attempt(call, _padded(prepared, size) if pad else prepared)
                if outputs is None:
                    size = self._smaller(min(size, len(batch)) if not pad else size, together)
                    continue
                outputs = outputs[: len(batch)]
                results.extend(outputs)
                if on_batch is not None:
                    on_batch(batch, outputs)
                if progress is not None:
                    progress.advance(len(batch))
        return results

    def _threads(
        self,
        run: Callable[[Sequence[T]], Sequence[R]],
        progress: Progress | None,
        *,
        at_once: bool,
    ) -> AbstractContextManager[Callable[[Sequence[T]], Sequence[R]]]:
        """The function with as many threads as are fastest, on the processor.

        Calls that run at once have one each, whatever is fastest.
        """
        if self.accelerated or at_once:
            return nullcontext(run)
        return fastest_threads(run) if progress is None else fastest_threads(run, progress.tell)

    def _ahead(
        self,
        items: Sequence[T],
        prepare: Callable[[T], Any] | None,
        size: int,
        *,
        at_once: bool,
    ) -> Ahead[T, Any]:
        if prepare is None:
            return Ahead(items, lambda item: item, 0, 0)
        threads = self.threads_ahead()
        if at_once and self.workers is None:
            threads = max(threads, threads_at_once())
        return Ahead(items, prepare, threads, size)

    def _smaller(self, size: int, together: int = 1) -> int:
        """The size of batch to try after one of `size` did not fit into memory.

        Args:
            size: items in the batch.
            together: items in each call, which is filled up to them.
        """
        if not _shrinking.get():
            raise MemoryError(f"a batch of {size} does not fit into the memory of {self.name()}")
        if unload_others():
            return size
        if size == 1:
            items = "a single item does" if together == 1 else f"a call of {together} items does"
            raise StudyError(
                f"{items} not fit into the memory of {self.name()} at {self.dtype}. "
                "Free memory there, or set compute.device or compute.dtype to something smaller."
            )
        free_memory()
        return size // 2


_shrinking: ContextVar[bool] = ContextVar("shrinking", default=True)


@contextmanager
def whole_batches() -> Iterator[None]:
    """Within the block a batch that does not fit into memory raises MemoryError."""
    token = _shrinking.set(False)
    try:
        yield
    finally:
        _shrinking.reset(token)


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
        outputs = run(batch)
        results += outputs
        if on_batch is not None:
            on_batch(batch, outputs)
        if progress is not None:
            progress.advance(len(batch))
    return results


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


def _padded(batch: Sequence[T], size: int) -> Sequence[T]:
    return [*batch, *[batch[-1]] * (size - len(batch))]


@cache
def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
