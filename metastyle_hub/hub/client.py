"""How we ask the Hub: under our own name, in bounded time, and with every failure as one sentence."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from metastyle_hub.hub.errors import translate_hub_errors
from metastyle_hub.hub.limits import time_limits
from metastyle_hub.version import __version__

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = ["REPO_ID", "asking", "client"]

REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)


def client(token: str | bool | None) -> HfApi:
    """The Hub's client, which heeds HF_ENDPOINT and HF_TOKEN.

    >>> client(None).whoami()["name"]
    """
    # imported late: `import metastyle_hub` touches no network, and whoever stays offline never pays for it
    from huggingface_hub import HfApi

    return HfApi(token=token, library_name="metastyle_hub", library_version=__version__)


@contextlib.contextmanager
def asking(doing: str, repo: str, revision: str | None = None) -> Iterator[None]:
    """For the time of a conversation with the Hub; see `translate_hub_errors` and `time_limits`.

    >>> with asking("loading me/starry", "me/starry"):
    ...     client(None).repo_info("me/starry")
    """
    with translate_hub_errors(doing, repo, revision=revision), time_limits():
        yield
