"""Memory of the device: whether it ran out, how to give it back, and the most that was in use."""

from __future__ import annotations

import gc
import resource
import sys
from contextlib import suppress
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
"""What the Linux kernel takes to let a process's peak start anew (proc_pid_clear_refs(5))."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch or Python says that memory ran out, on whatever device."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text
    )


def free_memory() -> None:
    """Give back what nobody refers to any more."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is None:
        return
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()


class PeakMemory:
    """The most memory in use since it was made.

    On CUDA what torch had allocated on the card, otherwise what the process held in main memory:
    on Linux since the object was made where the kernel allows that, elsewhere since the process
    began.

    Args:
        cuda: whether the work runs on CUDA.
    """

    def __init__(self, *, cuda: bool = False) -> None:
        self.cuda = cuda
        if cuda:
            import torch

            torch.cuda.reset_peak_memory_stats()
            return
        with suppress(OSError):
            _CLEAR.write_text(_RESET_PEAK)

    @property
    def bytes(self) -> int:
        """The peak so far."""
        if self.cuda:
            import torch

            return int(torch.cuda.max_memory_allocated())
        return _resident_peak()


def _resident_peak() -> int:
    """`getrusage` would count a parent's peak too, so Linux is asked in its own way."""
    with suppress(OSError, IndexError, ValueError):
        return int(_STATUS.read_text().partition("VmHWM:")[2].split()[0]) * 1024
    kilobytes = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilobytes


def in_words(size: int) -> str:
    """Bytes as a person says them.

    >>> in_words(1_500_000_000), in_words(12_345_678)
    ('1.5 GB', '12 MB')
    """
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
