"""The queue of long actions: one runs at a time, and those that wait know their position and how long it will take.

Gradio's own queue shows no time that is worth showing, and an action that waits in it cannot tell the page anything.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TypeVar

from torch.nn.modules.module import register_module_forward_pre_hook

from metastyle_hub.app import texts
from metastyle_hub.errors import SessionError

__all__ = ["Progress", "Ticket", "WorkQueue"]

_POLL_SECONDS = 0.5  # between two looks at the queue

T = TypeVar("T")


@dataclass(frozen=True)
class Progress:
    """Where an action is, in the queue or at work."""

    position: int  # actions before this one; 0 once it runs
    seconds: float | None  # until its turn, then until its end; None if unknown
    share: float | None = None  # that is done


@dataclass(eq=False)
class Ticket:
    """A place in the queue. Leave the block to give it back, however the action ended."""

    queue: WorkQueue
    seconds: float | None  # that the action still needs, updated while it runs; None if unknown
    updated: float = field(default_factory=time.monotonic)

    def update(self, seconds: float | None) -> None:
        """Set the seconds that the action still needs."""
        self.seconds, self.updated = seconds, time.monotonic()

    def wait(self) -> Iterator[Progress]:
        """Wait for the turn; yields twice a second."""
        return self.queue._wait(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.queue._leave(self)


class _Ended(Exception):
    """Nobody waits for a result any more."""


@contextlib.contextmanager
def _ended_by(event: threading.Event) -> Iterator[None]:
    """Let an event end the networks that run in this thread within the block, which take a minute for a large photo."""
    thread = threading.get_ident()

    def check(*_: object) -> None:
        if event.is_set() and threading.get_ident() == thread:
            raise _Ended

    handle = register_module_forward_pre_hook(check)
    try:
        yield
    finally:
        handle.remove()


class WorkQueue:
    """The actions that run or wait, in their order.

    >>> queue = WorkQueue()
    >>> with queue.ticket(10) as first, queue.ticket(5) as second:
    ...     list(first.wait()), next(second.wait())
    ([], Progress(position=1, seconds=10.0, share=None))
    """

    def __init__(self) -> None:
        self._tickets: list[Ticket] = []
        self._changed = threading.Condition()

    def ticket(self, seconds: float | None = None, most: int | None = None) -> Ticket:
        """Return the last place.

        Args:
            seconds: that the action needs once it runs; None if unknown.
            most: actions that may be before this one.

        Raises:
            SessionError: if there are more.
        """
        ticket = Ticket(self, seconds)
        with self._changed:
            if most is not None and len(self._tickets) > most:
                raise SessionError(texts.QUEUE_FULL.format(count=len(self._tickets)))
            self._tickets.append(ticket)
        return ticket

    def run(self, function: Callable[[], T], seconds: float | None = None) -> Generator[Progress, None, T]:
        """Run a function in its turn, in a thread; yields twice a second and returns the result.

        A caller that closes the generator ends the function at the next layer of a network that it runs. Others wait
        until it has ended.

        Args:
            function: runs as one piece.
            seconds: that it needs; None if unknown.
        """
        ticket, future, closed = self.ticket(seconds), None, threading.Event()

        def run() -> T:
            with _ended_by(closed):
                return function()

        try:
            yield from ticket.wait()
            pool = ThreadPoolExecutor(1)
            future = pool.submit(run)
            future.add_done_callback(lambda _: self._leave(ticket))
            pool.shutdown(wait=False)
            started = time.monotonic()
            while not wait([future], _POLL_SECONDS).done:
                passed = time.monotonic() - started
                left = None if seconds is None else max(1.0, seconds - passed)
                yield Progress(0, left, None if seconds is None else min(0.95, passed / seconds))
            return future.result()
        finally:
            closed.set()
            if future is None:
                self._leave(ticket)

    def _wait(self, ticket: Ticket) -> Iterator[Progress]:
        while True:
            with self._changed:
                before = self._tickets[: self._tickets.index(ticket)]
                if not before:
                    ticket.updated = time.monotonic()
                    return
                seconds = [each.seconds for each in before]
                running = time.monotonic() - before[0].updated  # since its estimate
            left = None if None in seconds else max(1.0, sum(s or 0.0 for s in seconds) - running)
            yield Progress(len(before), left if left is None else float(round(left)))
            with self._changed:
                if self._tickets[0] is not ticket:
                    self._changed.wait(_POLL_SECONDS)

    def _leave(self, ticket: Ticket) -> None:
        with self._changed:
            if ticket in self._tickets:
                self._tickets.remove(ticket)
            self._changed.notify_all()
