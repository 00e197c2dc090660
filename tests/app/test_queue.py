"""The queue of long actions: one at a time, in order, with positions and times."""

from __future__ import annotations

import threading

import pytest
from torch import nn

pytest.importorskip("gradio", reason="gradio is not installed: pip install '.[app]'")

from metastyle_hub.app.queue import WorkQueue
from metastyle_hub.errors import SessionError


def test_actions_wait_in_their_order_and_know_how_long():
    queue = WorkQueue()
    with queue.ticket(30) as first, queue.ticket(20) as second, queue.ticket() as third, queue.ticket() as fourth:
        assert list(first.wait()) == []
        place = next(second.wait())
        assert place.position == 1 and 25 < place.seconds <= 30
        first.update(12)
        place = next(third.wait())
        assert place.position == 2 and 27 < place.seconds <= 32
        place = next(fourth.wait())
        assert place.position == 3 and place.seconds is None  # nobody knows how long the third takes
    with queue.ticket() as next_one:
        assert list(next_one.wait()) == []


def test_only_so_many_may_wait():
    queue = WorkQueue()
    with queue.ticket(), queue.ticket():
        with pytest.raises(SessionError) as error:
            queue.ticket(most=1)
        assert "2 adaptations" in str(error.value)
        with queue.ticket(most=2) as third:
            assert next(third.wait()).position == 2


def test_a_ticket_that_is_given_back_frees_the_next():
    queue, turn = WorkQueue(), threading.Event()
    with queue.ticket() as second_to_none:
        waiting = queue.ticket()
        thread = threading.Thread(target=lambda: (list(waiting.wait()), turn.set()))
        thread.start()
        assert list(second_to_none.wait()) == [] and not turn.is_set()
    assert turn.wait(60)
    thread.join()


def test_a_function_runs_in_its_turn_and_a_closed_one_holds_the_queue_until_it_ends():
    queue, end = WorkQueue(), threading.Event()
    abandoned = queue.run(lambda: end.wait(60), seconds=10)
    place = next(abandoned)
    assert place.position == 0 and 0 < place.share <= 0.95 and place.seconds <= 10
    abandoned.close()
    other = queue.run(lambda: "done")
    assert next(other).position == 1
    end.set()
    with pytest.raises(StopIteration) as result:
        while True:
            next(other)
    assert result.value.value == "done"
    failing = queue.run(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(failing)
    assert list(queue.run(lambda: None)) == []


def test_a_closed_function_ends_at_the_next_layer():
    queue, ended, layer = WorkQueue(), threading.Event(), nn.Identity()

    def endless():
        try:
            while True:
                layer(1)
        finally:
            ended.set()

    closed = queue.run(endless)
    next(closed)
    assert not ended.is_set()
    closed.close()
    assert ended.wait(60)
    assert list(queue.ticket().wait()) == [] and layer(1) == 1
