"""Ctrl-C, SIGTERM and a closed terminal stop a command within two seconds, whatever it is doing.

Python runs the handler of a signal between two of its own instructions, so a long call of torch or
of the database would delay it, and some libraries swallow the exception. So the signal is also
noticed by a thread, through the wakeup descriptor that Python's C handler writes to. First the
command is interrupted as usual and may end its work in order; when it has not ended `GRACE_S`
later, or when the signal comes twice, the thread ends the process. That is safe: every file is
written atomically and every commit is journaled, as a kill at any moment has to be survived anyway.

Only the standard library is imported here: it has to work before anything else is imported.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

STATUS: Final = 130
"""Exit status of a command that was stopped, by whichever signal."""
MESSAGE: Final = "stopped; finished work is kept"
GRACE_S: Final = 1.0
"""Seconds that a command has to end in order."""
_LAST_S: Final = 0.5
"""Seconds that whatever must be noted takes at most, before the process is ended."""
_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)

Action = Callable[[], object]


@dataclass
class _State:
    """What this process knows of being stopped.

    Attributes:
        requested: set when a signal has come.
        interrupted: whether the main thread has been interrupted; once is enough, and a second time
            would break off what ends it in order.
        printed: whether the message has been printed.
        print_lock: held while it is printed, so that no other thread ends the process meanwhile.
        working: whether there is anything to end in order: not while modules are imported.
        first: called at once when a signal has come, in another thread.
        last: called before the process is ended the hard way, in another thread.
        reader: where the wakeup descriptor's bytes arrive; None before `install`.
        writer: its other end, kept open.
    """

    requested: threading.Event = field(default_factory=threading.Event)
    interrupted: bool = False
    printed: bool = False
    print_lock: threading.Lock = field(default_factory=threading.Lock)
    working: bool = False
    first: list[Action] = field(default_factory=list)
    last: list[Action] = field(default_factory=list)
    reader: socket.socket | None = None
    writer: socket.socket | None = None


_state = _State()


def from_the_start() -> None:
    """As `install`, if this process was started as the command `dnd`: before slow imports."""
    as_command = Path(sys.argv[0]).stem in ("dnd", "dnd-script") if sys.argv else False
    as_module = sys.orig_argv[1:3] == ["-m", "dnd_assets.cli"]
    if as_command or as_module:
        install(working=False)


def install(*, working: bool = True) -> None:
    """Have SIGINT, SIGTERM and SIGHUP stop this process; a signal that is ignored stays ignored.

    Args:
        working: whether the main thread is to be interrupted in order; otherwise the process ends
            at once.
    """
    _state.working = working
    if threading.current_thread() is not threading.main_thread():
        return
    watch()
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def watch() -> None:
    """Have a thread notice the signals of this process, whoever handles them in the main thread."""
    if _state.reader is not None or threading.current_thread() is not threading.main_thread():
        return
    _state.reader, _state.writer = socket.socketpair()
    _state.writer.settimeout(0)
    signal.set_wakeup_fd(_state.writer.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(_state.reader,), name="stopping", daemon=True).start()


def requested() -> bool:
    """Whether this process has been asked to stop."""
    return _state.requested.is_set()


@contextmanager
def noting(first: Action, last: Action) -> Iterator[None]:
    """Within the block, what is to be noted when the process is stopped.

    Both are called in another thread, and for half a second at most.

    Args:
        first: called at once when a signal has come.
        last: called before the process is ended because it did not end by itself.
    """
    _state.first.append(first)
    _state.last.append(last)
    try:
        yield
    finally:
        _state.first.remove(first)
        _state.last.remove(last)


def finish() -> NoReturn:
    """End the process as one that was stopped: nothing is waited for, not even other threads."""
    _state.interrupted = True
    _print_message()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # a closed terminal
            stream.flush()
    os._exit(STATUS)


def was_stopped() -> bool:
    """As `requested`, for a main thread that was just interrupted: waits for the other thread.

    The signal may also come only now, while another error is on its way out.
    """
    try:
        return _state.reader is not None and _state.requested.wait(0.05)
    except KeyboardInterrupt:
        return True


def _interrupt(number: int, frame: FrameType | None) -> None:
    _state.requested.set()
    if _state.interrupted:
        return
    _state.interrupted = True
    if not _state.working:
        finish()
    raise KeyboardInterrupt


def _watch(reader: socket.socket) -> None:
    """Wait for a signal; see that the process ends."""
    numbers = {int(number) for number in _SIGNALS}
    while not numbers.intersection(reader.recv(64)):
        pass
    _state.requested.set()
    deadline = time.monotonic() + GRACE_S
    _briefly(_state.first)
    while (seconds_left := deadline - time.monotonic()) > 0:
        reader.settimeout(seconds_left)
        with contextlib.suppress(TimeoutError):
            if numbers.intersection(reader.recv(64)):
                break
    _briefly(_state.last)
    finish()


def _briefly(actions: list[Action]) -> None:
    """Call what is to be noted; give up on what takes longer than it may."""

    def call() -> None:
        for action in list(actions):
            with contextlib.suppress(Exception):  # the process ends, whatever happens here
                action()

    if actions:
        worker = threading.Thread(target=call, name="noting", daemon=True)
        worker.start()
        worker.join(_LAST_S)


def _print_message() -> None:
    """Print the message, once, without Python's buffers, which another thread may hold."""
    if not _state.print_lock.acquire(timeout=_LAST_S):  # a terminal that takes nothing
        return
    if not _state.printed:
        _state.printed = True
        with contextlib.suppress(OSError):  # a closed terminal
            os.write(2, f"{MESSAGE}\n".encode())
    _state.print_lock.release()
