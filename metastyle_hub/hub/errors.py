"""The Hub's client, and every failure of it as one sentence: what was wrong with which repo, and the remedy."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from metastyle_hub.errors import HubError, MetaStyleError, capitalized, first_line
from metastyle_hub.version import __version__

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = ["REPO_ID", "hub_client", "hub_errors"]

REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_XET = re.compile(r"xet-(read|write)-token|xethub|hf[_-]xet")  # in addresses and messages of the Hub's Xet storage
_LOG_IN = "log in with `hf auth login` or set HF_TOKEN"
_NOT_CACHED = "{repo} is not in the cache and {setting} is set; unset it once to download it."
_NO_ANSWER = "{hub} did not answer in time during {action}; check the connection and try again."
_BROKEN_OFF = "The connection to {hub} broke off during {action} ({reason}); try again."
_CHANGED = "{repo} was changed by someone else during {action}{said}; try again."
# by class, the most specific first, by HTTP status, or by what is found out about the error
_SENTENCES = {
    "GatedRepoError": "{repo} is gated: request access at {hub}/{repo}, then " + _LOG_IN + ".",
    "DisabledRepoError": "{repo} was disabled on the Hub; use another one.",
    "RepositoryNotFoundError": "There is no repo {repo} on {hub}, or it is private; check it, or " + _LOG_IN + ".",
    "RevisionNotFoundError": "{repo} has no revision {revision!r}; see {hub}/{repo}/tree/main.",
    "RemoteEntryNotFoundError": "{repo} lacks a file for {action}; see {hub}/{repo}/tree/main.",
    "OfflineModeIsEnabled": "HF_HUB_OFFLINE is set, which rules out {action}; unset it to go online.",
    "FileMetadataError": "{hub} does not answer as a Hub does; check HF_ENDPOINT, proxy and firewall.",
    "LocalTokenNotFoundError": "{doing} needs a token; " + _LOG_IN + ".",
    "HFValidationError": "{repo!r} is neither a folder nor a Hub repo user/name; check the spelling.",
    "LocalEntryNotFoundError": _NOT_CACHED,
    "RevisionResolutionError": _NOT_CACHED,
    "TimeoutException": _NO_ANSWER,
    "TimeoutError": _NO_ANSWER,
    "ConnectError": "{hub} is unreachable for {action} ({reason}); check the connection and HF_ENDPOINT.",
    "RequestError": _BROKEN_OFF,
    "400": "The Hub refused {action}{said}; correct it and try again.",
    "401": "The Hub does not accept your token for {action}{said}; " + _LOG_IN + ".",
    "403": "Your token may not do this: {action}{said}; get one with the right to do it at {hub}/settings/tokens.",
    "404": "{hub} knows no such address for {action}{said}; check {repo} and HF_ENDPOINT.",
    "409": _CHANGED,
    "412": _CHANGED,
    "429": "The Hub asks for a pause after too many requests{said}; try again in {pause}.",
    "5xx": "The Hub failed at {action} ({status}){said}; try again later.",
    "status": "The Hub answered {action} with {status}{said}; see {hub}/{repo}.",
    "xet": "{doing} by Xet failed ({reason}); try again, or set HF_HUB_DISABLE_XET=1 to do without Xet.",
    "file": "{doing} could not write to {place}: {reason}; free some space, or set HF_HUB_CACHE to another folder.",
    "other": "{doing} failed: {reason}.",
}


def hub_client(token: str | bool | None) -> HfApi:
    """Return the Hub's client, which respects HF_ENDPOINT and HF_TOKEN.

    Time-outs are those of huggingface_hub, 10 s by default: HF_HUB_ETAG_TIMEOUT for answers about a repo or file,
    HF_HUB_DOWNLOAD_TIMEOUT for each piece of a download. It has none for lists, uploads and commits.
    """
    # imported late, so that importing metastyle_hub stays quick and touches no network
    from huggingface_hub import HfApi, constants

    class Client(HfApi):
        def repo_info(self, *args: Any, **keywords: Any) -> Any:
            return super().repo_info(*args, **({"timeout": constants.HF_HUB_ETAG_TIMEOUT} | keywords))

    return Client(token=token, library_name="metastyle_hub", library_version=__version__)


@contextlib.contextmanager
def hub_errors(action: str, repo: str, revision: str | None = None) -> Iterator[None]:
    """Raise a `HubError` of one sentence for any failure of the Hub, the network or the cache within the block.

    Example::

        with hub_errors("loading me/starry", "me/starry"):
            hub_client(None).hf_hub_download("me/starry", "config.json")
    """
    from huggingface_hub import errors

    transport: Any = errors.HfHubHTTPError.__mro__[1]  # httpx.HTTPError or httpx2.HTTPError, by version
    wrappers = errors.LocalEntryNotFoundError, errors.RevisionResolutionError, RuntimeError  # their cause tells more
    try:
        yield
    except MetaStyleError:
        raise
    except (transport, errors.EntryNotFoundError, OSError, ValueError, *wrappers) as error:
        cause = error.__cause__ if isinstance(error, wrappers) else None
        if cause is None or isinstance(cause, errors.OfflineModeIsEnabled):
            cause = error
        raise HubError(_sentence(cause, action, repo, revision)) from cause


def _sentence(error: BaseException, action: str, repo: str, revision: str | None) -> str:
    from huggingface_hub import constants

    values = {"action": action, "doing": capitalized(action), "repo": repo, "revision": revision or "main"}
    values |= {"hub": constants.ENDPOINT, "reason": first_line(error)}
    values["setting"] = "HF_HUB_OFFLINE" if constants.HF_HUB_OFFLINE else "local_files_only"
    names, response = [kind.__name__ for kind in type(error).__mro__], getattr(error, "response", None)
    status = response.status_code if response is not None else 0
    if response is not None:
        said = getattr(error, "server_message", None) or response.headers.get("X-Error-Message") or ""
        said = first_line(said or (error if status == 400 else ""))
        pause, number = response.headers.get("Retry-After"), getattr(error, "request_id", None)
        values |= {"said": f" ({said})" if said else "", "pause": f"{pause} seconds" if pause else "a few minutes"}
        values["status"] = f"HTTP {status}, request {number}" if number else f"HTTP {status}"
        names += [str(status), "5xx" if status >= 500 else "status"]
    if status not in (401, 403, 429) and _XET.search(str(response.url) if response is not None else str(error)):
        names = ["xet"]
    if isinstance(error, OSError) and error.errno is not None:
        values |= {"place": str(error.filename or constants.HF_HUB_CACHE), "reason": error.strerror or values["reason"]}
        names.append("file")
    if "onsistency check failed" in str(error):  # fewer bytes than announced
        names.insert(0, "RequestError")
    return next(_SENTENCES[name] for name in [*names, "other"] if name in _SENTENCES).format(**values)
