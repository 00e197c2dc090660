"""A Hub that takes the connection and then says nothing: none of our requests waits for ever.

huggingface_hub gives time limits to downloads, but to hardly any other request, and tries some again for minutes.
We add a limit to every request of ours that has none, and an end to trying, by a hook of its HTTP client. The hook is
there while we ask and knows our requests by their context: those of others who share the client pass untouched.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd

__all__ = ["add_file", "time_limits"]

# seconds; a GET takes HF_HUB_DOWNLOAD_TIMEOUT, 10 by default
WORK_SECONDS = 60.0  # for all that makes work: a slow line has to carry the file, the Hub to write the commit
RETRY_SECONDS = 60.0  # after which a request is not tried again, where the client's own counting takes minutes


class _Limits:
    """The limits of one action, such as a push."""

    def __init__(self) -> None:
        self.first: dict[tuple[str, str], float] = {}  # when each request was first tried

    def apply(self, request: Any) -> None:
        from huggingface_hub import constants

        limits: dict[str, float | None] = request.extensions.setdefault("timeout", {})
        if request.method == "GET" and limits.get("read") is not None:
            return  # a download, which has its limit and goes on where it broke off
        now = time.monotonic()
        if now - self.first.setdefault((request.method, str(request.url)), now) > RETRY_SECONDS:
            raise TimeoutError(f"no answer to {request.method} within {RETRY_SECONDS:g} seconds")
        seconds = float(constants.HF_HUB_DOWNLOAD_TIMEOUT)
        if request.method != "GET":
            seconds = max(seconds, WORK_SECONDS)
        for kind in ("connect", "read", "write", "pool"):
            limits[kind] = seconds if limits.get(kind) is None else limits[kind]


_OURS: ContextVar[_Limits | None] = ContextVar("_OURS", default=None)
_LOCK = threading.Lock()


def _hook(request: Any) -> None:
    if (limits := _OURS.get()) is not None:
        limits.apply(request)


@contextlib.contextmanager
def time_limits() -> Iterator[None]:
    """Within, what huggingface_hub asks in this thread has an end, if only an `httpx2.TimeoutException`.

    >>> with time_limits():
    ...     api.create_branch("me/starry", branch="softer")
    """
    from huggingface_hub import get_session

    client, token = get_session(), _OURS.set(_Limits())
    _change_hooks(client, add=True)
    try:
        yield
    finally:
        _change_hooks(client, add=False)
        _OURS.reset(token)


def _change_hooks(client: Any, *, add: bool) -> None:
    # a new list each time: another thread may be walking through the old one
    with _LOCK:
        hooks = list(client.event_hooks["request"])
        if add:
            hooks.append(_hook)
        elif _hook in hooks:
            hooks.remove(_hook)
        client.event_hooks = {**client.event_hooks, "request": hooks}


def add_file(name: str, data: bytes) -> CommitOperationAdd:
    """The operation that puts a file into a commit, within `time_limits` also when other threads upload it.

    >>> api.create_commit("me/starry", [add_file("config.json", b"{}")], commit_message="Config")
    """
    from huggingface_hub import CommitOperationAdd

    limits = _OURS.get()

    class Limited(CommitOperationAdd):
        def as_file(self, with_tqdm: bool = False) -> Any:
            # huggingface_hub opens the file in the thread that sends it, and threads do not inherit our context
            _OURS.set(limits)
            return super().as_file(with_tqdm)

    return Limited(name, data)
