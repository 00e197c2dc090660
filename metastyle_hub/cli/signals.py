"""SIGTERM (docker stop, timeout, batch queues) and SIGHUP (a closed terminal) keep what Ctrl-C keeps."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

__all__ = ["Terminated", "exit_status", "interruptible"]

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


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
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        for other in replaced:
            signal.signal(other, signal.SIG_IGN)
        raise Terminated(number)

    replaced = {n: signal.getsignal(n) for n in _SIGNALS if signal.getsignal(n) == signal.SIG_DFL}
    for number in replaced:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in replaced.items():
            signal.signal(number, handler)
