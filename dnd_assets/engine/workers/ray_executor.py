"""Ray as an executor: parts go to the cluster that `RAY_ADDRESS` names, or to this machine.

A study on `cuda` asks for one card for each part, so that Ray runs as many as there are cards.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from types import ModuleType
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class RayExecutor(Executor):
    """Ray's tasks as `concurrent.futures` knows them.

    Args:
        ray: the module, which is imported only where it is asked for.
        cards: CUDA cards that a part takes.
    """

    def __init__(self, ray: ModuleType, cards: int = 0) -> None:
        self._ray, self._options = ray, {"num_gpus": cards} if cards else {"num_cpus": 1}
        self._running: dict[int, object] = {}
        if not ray.is_initialized():
            ray.init(log_to_driver=False, include_dashboard=False)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Hand out a call; Ray's own retries are off, as who hands out retries and says so."""
        task = self._ray.remote(max_retries=0, **self._options)(fn)
        reference = task.remote(*args, **kwargs)
        future: Future[T] = reference.future()
        self._running[id(future)] = reference
        future.add_done_callback(lambda finished: self._running.pop(id(finished), None))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the cluster, or end the one that was started here."""
        if cancel_futures:
            for reference in list(self._running.values()):
                self._ray.cancel(reference, force=True)
        self._ray.shutdown()
