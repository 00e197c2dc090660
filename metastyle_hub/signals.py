"""SIGTERM (docker stop, timeout, batch queues) and SIGHUP (a closed terminal) keep what Ctrl-C keeps."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

__all__ = ["Terminated", "exit_status", "interruptible", "interrupts_held"]


class Terminated(KeyboardInterrupt):
    """A signal asked the process to end; what handles Ctrl-C handles this too."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def exit_status(interrupt: KeyboardInterrupt) -> int:
    """Return the exit status that shells give a process ended by this signal: 130 for Ctrl-C, 143 for SIGTERM."""
    return 128 + (interrupt.number if isinstance(interrupt, Terminated) else int(signal.SIGINT))


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Raise `Terminated` at the first SIGTERM or SIGHUP within the block; further ones do not disturb the clean-up.

    Signals that are ignored, as under nohup, stay so. Outside the main thread the block has no effect.

    Example::

        with interruptible():
            style.save_pretrained("starry")
    """
    replaced: dict[int, Any] = {}

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        for other in replaced:
            signal.signal(other, signal.SIG_IGN)
        raise Terminated(number)

    with _handlers(("SIGTERM", "SIGHUP"), stop, lambda handler: handler == signal.SIG_DFL, replaced):
        yield


@contextlib.contextmanager
def interrupts_held() -> Iterator[None]:
    """Handle signals at the end of the block instead of within it; a second one at once.

    Only signals with a handler in Python, as that of Ctrl-C. Outside the main thread the block has no effect.

    Example::

        with interrupts_held():
            container.mux(stream.encode(frame))
    """
    replaced: dict[int, Any] = {}
    held: list[tuple[int, FrameType | None]] = []

    def hold(number: int, frame: FrameType | None) -> None:
        held.append((number, frame))
        if len(held) > 1:
            replaced[number](number, frame)

    with _handlers(("SIGINT", "SIGTERM", "SIGHUP"), hold, callable, replaced):
        yield
    if held:
        replaced[held[0][0]](*held[0])


@contextlib.contextmanager
def _handlers(
    names: tuple[str, ...], handler: Any, replaces: Callable[[object], bool], replaced: dict[int, Any]
) -> Iterator[None]:
    """Set a handler of signals within the block, in place of those that `replaces` accepts; `replaced` takes them.

    Only in the main thread, where Python handles signals.
    """
    try:
        if threading.current_thread() is threading.main_thread():
            for number in (getattr(signal, name) for name in names if hasattr(signal, name)):
                if replaces(earlier := signal.getsignal(number)):
                    replaced[number] = earlier
                    signal.signal(number, handler)
        yield
    finally:
        for number, earlier in replaced.items():
            signal.signal(number, earlier)
