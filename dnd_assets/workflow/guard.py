"""A process beside `dnd ui` that ends its servers when it ends, in whatever way.

The web server, the daemon, code servers and runs lie in one process group. The guard reads from a
pipe whose other end `dnd ui` alone holds: when that is closed, as it is when a process is killed,
the guard ends the group. Only the standard library is imported, so that the guard is small.

    python -m dnd_assets.workflow.guard GROUP < PIPE
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress


def end_group(group: int, number: int = signal.SIGKILL) -> None:
    """Send a signal to every process of a group that is still there."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def main() -> None:
    """Wait for the end of the pipe, and end the group."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    end_group(int(sys.argv[1]))


if __name__ == "__main__":
    main()
