"""How a worker process of this machine begins; imports nothing heavy, as it says how others load.

A worker computes on one card or on its share of the cores, leaves Ctrl-C to the coordinator, and
ends when the coordinator does, however that ends.
"""

from __future__ import annotations

import os
import signal
import threading
from multiprocessing import connection, parent_process
from multiprocessing.queues import SimpleQueue

from resources.runtime.gpu_cards import VISIBLE

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def begin(places: SimpleQueue[str], threads: int) -> None:
    """Prepare a worker process, before anything is imported that reads the environment.

    Args:
        places: cards that are free, one for each worker; an empty text where it needs none.
        threads: that it may compute with.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_coordinator, daemon=True).start()
    for name in _THREADS:
        os.environ[name] = str(min(threads, int(os.environ.get(name) or threads)))
    card = places.get()
    if card:
        os.environ[VISIBLE] = card


def _end_with_the_coordinator() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
