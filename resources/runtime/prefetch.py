"""Pictures are decoded and transformed by threads while the model works on earlier ones.

Results and their order are those of the plain loop. At most `depth` items are held ready beyond
those that are asked for, and what fails to be prepared raises its error when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, overload

T = TypeVar("T")
P = TypeVar("P")


class Ahead(Generic[T, P]):
    """Items prepared ahead of their use, for one reader that goes through them once, in order.

    Args:
        items: what to prepare; a sequence that makes its items when asked does so in the threads.
        prepare: makes ready one item; runs in several threads at once if there are several.
        workers: threads; with none, items are prepared when they are asked for.
        depth: items prepared beyond those asked for.
    """

    def __init__(
        self, items: Sequence[T], prepare: Callable[[T], P], workers: int, depth: int
    ) -> None:
        self._items, self._prepare, self._depth = items, prepare, max(depth, 0)
        self._ready: dict[int, Future[P]] = {}
        self._next = 0
        self._pool = ThreadPoolExecutor(workers, "prefetch") if workers and len(items) > 1 else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ready.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def take(self, start: int, stop: int) -> list[P]:
        """Prepared items `start` to `stop`, which stay ready until `start` grows.

        Raises:
            Exception: whatever `prepare` raised for the first of them that failed.
        """
        stop = min(stop, len(self._items))
        for index in [key for key in self._ready if key < start]:
            del self._ready[index]
        self._next = max(self._next, start)
        if self._pool is None:
            return [self._make(index) for index in range(start, stop)]
        for index in range(self._next, min(stop + self._depth, len(self._items))):
            self._ready[index] = self._pool.submit(self._make, index)
            self._next = index + 1
        return [self._ready[index].result() for index in range(start, stop)]

    def _make(self, index: int) -> P:
        return self._prepare(self._items[index])


class Behind(Generic[T, P]):
    """Finishes what it is given by a thread while the next item is being made.

    Args:
        finish: runs in one thread, on one item at a time.
        then: told what `finish` made, in order and in the caller's thread.
        threaded: whether to; otherwise each item is finished at once.
    """

    def __init__(
        self, finish: Callable[[T], P], then: Callable[[P], None], *, threaded: bool
    ) -> None:
        self._finish, self._then = finish, then
        self._pool = ThreadPoolExecutor(1, "finishing") if threaded else None
        self._waiting: Future[P] | None = None

    def __call__(self, item: T) -> None:
        """Take an item; what came before it is handed on first."""
        if self._pool is None:
            self._then(self._finish(item))
            return
        future = self._pool.submit(self._finish, item)
        self._hand_on()
        self._waiting = future

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Hand on what is being finished, also when the making of the next item has failed."""
        try:
            self._hand_on()
        finally:
            if self._pool is not None:
                self._pool.shutdown()

    def _hand_on(self) -> None:
        future, self._waiting = self._waiting, None
        if future is not None:
            self._then(future.result())


class Lazy(Sequence[T]):
    """A sequence whose items are made each time they are asked for.

    Args:
        names: what each item is made of.
        make: makes an item.
    """

    def __init__(self, names: Sequence[str], make: Callable[[str], T]) -> None:
        self._names, self._make = names, make

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: Any) -> Any:
        """An item, or the sequence of some."""
        if isinstance(index, slice):
            return Lazy(self._names[index], self._make)
        return self._make(self._names[index])
