"""SIGTERM and SIGHUP end a block as Ctrl-C does, once, or are held; what was set before comes back."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from metastyle_hub.signals import Terminated, exit_status, interruptible, interrupts_held

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
SIGNALS = [signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)]


@pytest.fixture(autouse=True)
def default_handlers() -> Iterator[None]:
    before = {number: signal.signal(number, signal.SIG_DFL) for number in SIGNALS}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_interrupts_like_ctrl_c_and_a_second_one_leaves_the_clean_up_alone(number):
    cleaned = False
    with pytest.raises(KeyboardInterrupt) as caught, interruptible():
        try:
            os.kill(os.getpid(), number)
            signal.pause()
        finally:
            for again in SIGNALS:
                os.kill(os.getpid(), again)
            cleaned = True
    assert cleaned and isinstance(caught.value, Terminated)
    assert exit_status(caught.value) == 128 + number
    assert all(signal.getsignal(n) == signal.SIG_DFL for n in SIGNALS)


def test_ctrl_c_keeps_its_exit_status():
    assert exit_status(KeyboardInterrupt()) == 130


def test_an_ignored_signal_stays_ignored():
    signal.signal(SIGNALS[1], signal.SIG_IGN)  # as under nohup
    with interruptible():
        os.kill(os.getpid(), SIGNALS[1])
    assert signal.getsignal(SIGNALS[1]) == signal.SIG_IGN


def test_another_thread_cannot_set_handlers_and_need_not():
    seen: list[object] = []

    def work() -> None:
        with interruptible():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL]


def test_a_signal_is_held_until_the_file_is_whole():
    done = []
    with pytest.raises(KeyboardInterrupt), interrupts_held():
        os.kill(os.getpid(), signal.SIGINT)
        done.append("whole")
    assert done == ["whole"]
    with pytest.raises(KeyboardInterrupt), interrupts_held():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        done.append("late")  # the second one is not held
    assert done == ["whole"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler
