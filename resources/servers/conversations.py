"""Many dialogues with a server at once.

A dialogue is a generator that yields requests and is sent the answers. One thread drives all the
dialogues, and it alone touches the ledger and the budget; other threads only wait for the server.
Every answer is stored before a dialogue sees it, and a request that is stored already is answered
from there, with no network and no key: a paid answer is never paid for twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Generic, Protocol, TypeVar, cast

from dnd_assets.lineage.fingerprint import Json
from resources.servers.budget import Spending
from resources.servers.calls import ANSWERED, CallLedger, StoredCall, not_made, request_hash
from resources.servers.messages import Body, JsonObject

T = TypeVar("T")

_GRACE_S = 3.0
_LASTING = frozenset({401, 403, 404})
"""HTTP statuses that every further call would meet too."""
_PATIENCE = 12
"""Failures of the server in a row after which it is not asked again."""


class Server(Protocol):
    """What `converse` needs of a server."""

    def open(self) -> None:
        """Get ready for calls; called from the driving thread before the first one."""
        ...

    def send(self, body: JsonObject) -> StoredCall:
        """Make one call; called from any thread."""
        ...


Dialogue = Generator[Body, StoredCall, T]
"""Yields requests, is sent the calls, and returns its result."""


def converse(
    dialogues: Sequence[Dialogue[T]],
    server: Server,
    ledger: CallLedger,
    budget: Spending,
    at_once: int,
) -> Generator[tuple[int, T], None, None]:
    """Hold dialogues with a server, a few at a time.

    Equal requests of different dialogues are one call. A call that does not fit the budget waits
    for those under way to be counted, and is refused (`over_budget`) when it still does not fit.
    After HTTP 401, 403 or 404, or twelve failures in a row, no further call is made. When the
    caller stops early, calls under way get three seconds to end, and are stored.

    Args:
        dialogues: the dialogues; each sees only its own answers, so none depends on the others.
        server: makes the calls, from up to `at_once` threads.
        ledger: keeps the calls; used from the calling thread alone.
        budget: counts what calls use; used from the calling thread alone.
        at_once: dialogues, and so calls, under way at a time.

    Yields:
        Position and result of each dialogue, as they end.
    """
    desk = _ConversationScheduler(dialogues, server, ledger, budget, at_once)
    try:
        yield from desk.results()
    finally:
        desk.leave()


@dataclass
class _ConversationScheduler(Generic[T]):
    """The state of `converse`."""

    dialogues: Sequence[Dialogue[T]]
    server: Server
    ledger: CallLedger
    budget: Spending
    at_once: int
    pool: ThreadPoolExecutor = field(init=False)
    ready: deque[tuple[int, StoredCall | None]] = field(default_factory=deque)
    postponed: list[tuple[int, dict[str, Json]]] = field(default_factory=list)
    flying: dict[Future[StoredCall], str] = field(default_factory=dict)
    listeners: dict[str, list[int]] = field(default_factory=dict)
    failures: int = 0
    given_up: str = ""

    def __post_init__(self) -> None:
        self.pool = ThreadPoolExecutor(self.at_once, thread_name_prefix="llm")

    def results(self) -> Iterator[tuple[int, T]]:
        unopened = deque(range(len(self.dialogues)))
        open_dialogues = 0
        while unopened or open_dialogues:
            while unopened and open_dialogues < self.at_once:
                self.ready.append((unopened.popleft(), None))
                open_dialogues += 1
            for result in self._advance():
                open_dialogues -= 1
                yield result
            if self.flying:
                self._collect()

    def leave(self) -> None:
        """Store what still comes in within a moment, and end the threads."""
        if self.flying:
            finished, _ = wait(self.flying, timeout=_GRACE_S)
            for future in finished:
                if future.exception() is None:
                    with suppress(Exception):  # something failed already, which is what is told
                        self.ledger.put(self._priced(future.result()))
        self.pool.shutdown(wait=False, cancel_futures=True)

    def _advance(self) -> Iterator[tuple[int, T]]:
        """Carry every dialogue that has its answer on to its next request."""
        while self.ready:
            index, call = self.ready.popleft()
            try:
                # The first step of a generator takes None.
                request = self.dialogues[index].send(cast("StoredCall", call))
            except StopIteration as end:
                yield index, end.value
            else:
                self._place(index, request)

    def _place(self, index: int, body: Body) -> None:
        name = request_hash(body)
        if name in self.listeners:
            self.listeners[name].append(index)
            return
        stored = self.ledger.get(name)
        if stored is not None and stored.status in ANSWERED:
            self.ready.append((index, stored))
        elif self.given_up:
            self.ready.append((index, not_made(body, "service_error", self.given_up)))
        elif self.budget.fits(body):
            self._submit(index, name, body)
        elif self.flying:
            self.postponed.append((index, body))
        else:
            self.ready.append((index, not_made(body, "over_budget", self.budget.refusal(body))))

    def _submit(self, index: int, name: str, body: Body) -> None:
        self.server.open()
        self.budget.reserve(body)
        self.flying[self.pool.submit(self.server.send, body)] = name
        self.listeners[name] = [index]

    def _collect(self) -> None:
        """Wait for an answer, store it, and hand it to those who asked."""
        finished, _ = wait(self.flying, return_when=FIRST_COMPLETED)
        for future in finished:
            call = self._priced(future.result())
            self.ledger.put(call)
            self.budget.settle(call.body, call)
            self._judge(call)
            for index in self.listeners.pop(self.flying.pop(future)):
                self.ready.append((index, call))
        postponed, self.postponed = self.postponed, []
        for index, body in postponed:
            self._place(index, body)

    def _judge(self, call: StoredCall) -> None:
        """Give up on a server that cannot be expected to answer."""
        self.failures = self.failures + 1 if call.status == "service_error" else 0
        if self.failures >= _PATIENCE:
            self.given_up = f"given up after {self.failures} failures in a row; last: {call.error}"
        elif call.status == "service_error" and _is_lasting(call.response):
            self.given_up = call.error

    def _priced(self, call: StoredCall) -> StoredCall:
        return replace(call, cost=self.budget.cost(call))


def _is_lasting(response: JsonObject) -> bool:
    """Whether every further call would fail in the same way."""
    return response.get("http_status") in _LASTING or bool(response.get("lasting"))
