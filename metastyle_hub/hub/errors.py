"""The Hub's client, and every failure of it as one sentence: what was wrong with which repo, and the remedy."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metastyle_hub.errors import HubError, MetaStyleError, capitalized, first_line
from metastyle_hub.version import __version__

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = ["REPO_ID", "hub_client", "hub_errors"]

REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_XET = re.compile(r"xet-(read|write)-token|xethub|hf[_-]xet")  # in addresses and messages of the Hub's Xet storage
_LOG_IN = "log in with `hf auth login` or set HF_TOKEN"
_STATUS = {
    400: "The Hub refused {action}{said}; correct it and try again.",
    401: "The Hub does not accept your token for {action}{said}; " + _LOG_IN + ".",
    403: "Your token may not do this: {action}{said}; get one with the right to do it at {hub}/settings/tokens.",
    404: "{hub} knows no such address for {action}{said}; check {repo} and HF_ENDPOINT.",
    409: "{repo} was changed by someone else during {action}{said}; try again.",
    412: "{repo} was changed by someone else during {action}{said}; try again.",
    429: "The Hub asks for a pause after too many requests{said}; try again in {pause}.",
}


def hub_client(token: str | bool | None) -> HfApi:
    """Return the Hub's client, which respects HF_ENDPOINT and HF_TOKEN.

    >>> hub_client(None).whoami()["name"]
    """
    # imported late, so that importing metastyle_hub stays quick and touches no network
    from huggingface_hub import HfApi

    return HfApi(token=token, library_name="metastyle_hub", library_version=__version__)


@contextlib.contextmanager
def hub_errors(action: str, repo: str, revision: str | None = None) -> Iterator[None]:
    """Translate what huggingface_hub raises within the block into a `HubError` of one sentence.

    Time-outs are those of huggingface_hub: HF_HUB_DOWNLOAD_TIMEOUT and HF_HUB_ETAG_TIMEOUT, 10 s each.

    Args:
        action: as a noun, such as "loading me/starry".
        repo: the repo in question.
        revision: what was asked for.

    Raises:
        HubError: for any failure of the Hub, the network or the cache.

    >>> with hub_errors("loading me/starry", "me/starry"):
    ...     hub_client(None).hf_hub_download("me/starry", "config.json")
    """
    from huggingface_hub import errors

    # the transport was httpx and is httpx2; the parent of the Hub's own error is right in both
    transport: type[Exception] = errors.HfHubHTTPError.__mro__[1]  # type: ignore[assignment]
    try:
        yield
    except MetaStyleError:
        raise
    except (
        transport,
        errors.EntryNotFoundError,
        errors.RevisionResolutionError,
        OSError,
        ValueError,
        RuntimeError,
    ) as error:
        # a failed upload comes wrapped, and so does whatever goes wrong in Xet
        cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ is not None else error
        raise HubError(_sentence(cause, action, repo, revision)) from cause


def _sentence(error: BaseException, action: str, repo: str, revision: str | None) -> str:
    from huggingface_hub import constants, errors

    hub, reason, doing = constants.ENDPOINT, first_line(error), capitalized(action)
    not_cached = isinstance(error, errors.RevisionResolutionError | errors.LocalEntryNotFoundError)
    if not_cached and error.__cause__ and not isinstance(error.__cause__, errors.OfflineModeIsEnabled):
        return _sentence(error.__cause__, action, repo, revision)
    kinds: list[tuple[Any, str]] = [
        (errors.GatedRepoError, f"{repo} is gated: request access at {hub}/{repo}, then {_LOG_IN}."),
        (errors.DisabledRepoError, f"{repo} was disabled on the Hub; use another one."),
        (
            errors.RepositoryNotFoundError,
            f"There is no repo {repo} on {hub}, or it is private; check it, or {_LOG_IN}.",
        ),
        (errors.RevisionNotFoundError, f"{repo} has no revision {revision or 'main'!r}; see {hub}/{repo}/tree/main."),
        (errors.RemoteEntryNotFoundError, f"{repo} lacks a file for {action}; see {hub}/{repo}/tree/main."),
        (errors.OfflineModeIsEnabled, f"HF_HUB_OFFLINE is set, which rules out {action}; unset it to go online."),
        (errors.FileMetadataError, f"{hub} does not answer as a Hub does; check HF_ENDPOINT, proxy and firewall."),
        (errors.LocalTokenNotFoundError, f"{doing} needs a token; {_LOG_IN}."),
        (errors.HFValidationError, f"{repo!r} is neither a folder nor a Hub repo user/name; check the spelling."),
    ]
    for kind, sentence in kinds:
        if isinstance(error, kind):
            return sentence
    if not_cached:
        setting = (
            "HF_HUB_OFFLINE is set; unset it" if constants.HF_HUB_OFFLINE else "local_files_only is set; leave it out"
        )
        return f"{repo} is not in the cache and {setting} once to download it."
    response = getattr(error, "response", None) if isinstance(error, errors.HfHubHTTPError) else None
    address = str(response.url) if response is not None and response.status_code not in (401, 403, 429) else ""
    if _XET.search(address) or (response is None and _XET.search(str(error))):
        return f"{doing} by Xet failed ({reason}); try again, or set HF_HUB_DISABLE_XET=1 to do without Xet."
    if response is not None:
        return _http(error, action, repo, hub)
    names = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, TimeoutError) or "TimeoutException" in names:
        return f"{hub} did not answer in time during {action}; check the connection and try again."
    if "ConnectError" in names:
        return f"{hub} is unreachable for {action} ({reason}); check the connection and HF_ENDPOINT."
    if isinstance(error, errors.HfHubHTTPError.__mro__[1]) or "onsistency check failed" in str(error):
        return f"The connection to {hub} broke off during {action} ({reason}); try again."
    if isinstance(error, OSError) and error.errno is not None:
        place = Path(str(error.filename or constants.HF_HUB_CACHE))
        place = place.parent if place.suffix in (".incomplete", ".lock") else place
        remedy = "free some space, or name another folder with HF_HUB_CACHE or cache_dir"
        return f"{doing} could not write to {place}: {error.strerror}; {remedy}."
    return f"{doing} failed: {reason}."


def _http(error: Any, action: str, repo: str, hub: str) -> str:
    status, headers = error.response.status_code, error.response.headers
    said = first_line(error.server_message or headers.get("X-Error-Message") or "")
    if status == 400 and not said:
        said = first_line(error)
    said, after = f" ({said})" if said else "", headers.get("Retry-After")
    if status in _STATUS:
        pause = f"{after} seconds" if after else "a few minutes"
        return _STATUS[status].format(action=action, said=said, repo=repo, hub=hub, pause=pause)
    number = f", request {error.request_id}" if error.request_id else ""
    if status >= 500:
        return f"The Hub failed at {action} (HTTP {status}{number}){said}; try again later."
    return f"The Hub answered {action} with HTTP {status}{number}{said}; see {hub}/{repo}."
