"""Hold back Ctrl-C and other signals while a file is in a state in which it cannot be left."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

__all__ = ["interrupts_held"]

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextlib.contextmanager
def interrupts_held() -> Iterator[None]:
    """Handle signals at the end of the block instead of within it; a second one at once.

    Only signals with a handler in Python, as that of Ctrl-C, and only in the main thread, where they are handled.

    Example::

        with interrupts_held():
            container.mux(stream.encode(frame))
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers: dict[int, Any] = {}
    held: list[tuple[int, FrameType | None]] = []

    def hold(number: int, frame: FrameType | None) -> None:
        held.append((number, frame))
        if len(held) > 1:
            handlers[number](number, frame)

    for number in _SIGNALS:
        if callable(handler := signal.getsignal(number)):
            handlers[number] = handler
            signal.signal(number, hold)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if held:
        handlers[held[0][0]](*held[0])
