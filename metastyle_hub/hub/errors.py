"""Every failure of the Hub as one sentence: what was wrong with which repo, and the way out."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from metastyle_hub.errors import HubError, MetaStyleError, capitalized, first_line

__all__ = ["translate_hub_errors"]

# what the addresses and messages of Xet, the Hub's own way for large files, have in common
_XET = re.compile(r"xet-(read|write)-token|xethub|hf[_-]xet")
_LOGIN = "log in with `hf auth login` or set HF_TOKEN"


@contextlib.contextmanager
def translate_hub_errors(doing: str, repo: str, *, revision: str | None = None) -> Iterator[None]:
    """Turn whatever huggingface_hub raises within into a `HubError` of one sentence.

    Args:
        doing: the action as a noun phrase for messages, such as "loading me/starry".
        repo: the repo in question.
        revision: what was asked for.

    >>> with translate_hub_errors("loading me/starry", "me/starry"):
    ...     api.hf_hub_download("me/starry", "config.json")
    """
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HfHubHTTPError,
        LocalTokenNotFoundError,
        OfflineModeIsEnabled,
        RevisionResolutionError,
    )

    # the transport was httpx and is httpx2; the parent of the Hub's own error is right in both
    transport: type[Exception] = HfHubHTTPError.__mro__[1]  # type: ignore[assignment]
    try:
        yield
    except (
        transport,
        EntryNotFoundError,
        LocalTokenNotFoundError,
        OfflineModeIsEnabled,
        RevisionResolutionError,
        OSError,
        ValueError,
        RuntimeError,
    ) as error:
        if isinstance(error, MetaStyleError):
            raise
        # a failed upload of a file comes wrapped, and so does whatever goes wrong in the xet transport
        cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ is not None else error
        raise HubError(_sentence(cause, doing, repo, revision)) from cause


def _sentence(error: BaseException, doing: str, repo: str, revision: str | None) -> str:
    from huggingface_hub import constants, errors

    where = constants.ENDPOINT
    if isinstance(error, errors.GatedRepoError):
        return f"{repo} is gated: ask for access at {where}/{repo}, then {_LOGIN}."
    if isinstance(error, errors.DisabledRepoError):
        return f"{repo} was disabled on the Hub; use another one."
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"There is no repo {repo} on {where} (nor a folder {repo} here), or it is private; check the "
            f"spelling, or {_LOGIN}."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{repo} has no branch, tag or commit {revision or 'main'!r}; look at {where}/{repo}/tree/main."
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return f"{repo} lacks a file that {doing} needs; look at {where}/{repo}/tree/main."
    if isinstance(error, errors.HfHubHTTPError):
        by_xet = error.response.status_code not in (401, 403, 429) and _XET.search(str(error.response.url))
        return _xet(error, doing) if by_xet else _http(error, doing, repo, where)
    if isinstance(error, errors.RevisionResolutionError | errors.LocalEntryNotFoundError):
        return _unreachable(error.__cause__, repo, where)
    if isinstance(error, errors.OfflineModeIsEnabled):
        return f"HF_HUB_OFFLINE is set, which rules out {doing}; unset it to go online."
    if isinstance(error, errors.LocalTokenNotFoundError):
        return f"{capitalized(doing)} needs a token; {_LOGIN}."
    if isinstance(error, errors.HFValidationError):
        return f"{repo!r} is neither a folder here nor a Hub repo of the form user/name; check the spelling."
    if isinstance(error, errors.HfHubHTTPError.__mro__[1]):
        return _transport(error, doing, where)
    if isinstance(error, TimeoutError):
        return _late(doing, where)
    if isinstance(error, OSError) and error.errno is not None:
        place = error.filename or constants.HF_HUB_CACHE
        return (
            f"{capitalized(doing)} could not write to {_folder(place)}: {error.strerror}; make room there, or name "
            "another place with HF_HUB_CACHE or cache_dir."
        )
    if _XET.search(str(error)):
        return _xet(error, doing)
    if "onsistency check failed" in str(error):
        return f"The connection broke off during {doing}; try again."
    return f"{capitalized(doing)} failed: {first_line(error)}."


def _http(error: Any, doing: str, repo: str, where: str) -> str:
    status = error.response.status_code
    said = first_line(error.server_message or error.response.headers.get("X-Error-Message") or "")
    said = f" ({said})" if said else ""
    if status == 400:
        return f"The Hub refused {doing}{said or f' ({first_line(error)})'}."
    if status == 401:
        return f"The Hub does not accept your token for {doing}{said}; {_LOGIN}."
    if status == 403:
        right = f"write to {repo.partition('/')[0]}" if doing.startswith("pushing") else "read this"
        return (
            f"Your token may not do this: {doing}{said}; get one with the right to {right} at {where}/settings/tokens."
        )
    if status == 404:
        return f"{where} knows no such address for {doing}{said}; check {repo} and HF_ENDPOINT."
    if status in (409, 412):
        return f"{repo} was changed by someone else during {doing}{said}; try again."
    if status == 429:
        after = error.response.headers.get("Retry-After")
        return f"The Hub asks for a pause after too many requests{said}; try again in {after or 'a few'} " + (
            "seconds." if after else "minutes."
        )
    number = f", request {error.request_id}" if error.request_id else ""
    if status >= 500:
        return f"The Hub failed at {doing} (HTTP {status}{number}){said}; try again later."
    return f"The Hub answered {doing} with HTTP {status}{number}{said}; look at {where}/{repo}."


def _unreachable(cause: BaseException | None, repo: str, where: str) -> str:
    """Why something could not be fetched that is not in the cache either."""
    from huggingface_hub import constants, errors

    if constants.HF_HUB_OFFLINE:
        return f"{repo} is not in the cache and HF_HUB_OFFLINE is set; unset it once to download."
    if cause is None or isinstance(cause, errors.OfflineModeIsEnabled):
        return f"{repo} is not in the cache; leave out local_files_only once to download it."
    if isinstance(cause, errors.HfHubHTTPError):
        return _http(cause, f"loading {repo}", repo, where)
    if isinstance(cause, errors.FileMetadataError):
        return f"{where} does not answer as a Hub does; check HF_ENDPOINT, the proxy and the firewall."
    return _transport(cause, f"loading {repo}", where)


def _transport(error: BaseException, doing: str, where: str) -> str:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "TimeoutException" in kinds:
        return _late(doing, where)
    if "ConnectError" in kinds:
        return f"{where} cannot be reached for {doing} ({first_line(error)}); check the connection and HF_ENDPOINT."
    if "ProxyError" in kinds:
        return f"The proxy refused {doing} ({first_line(error)}); check HTTPS_PROXY."
    return f"The connection to {where} broke off during {doing} ({first_line(error)}); try again."


def _xet(error: BaseException, doing: str) -> str:
    said = first_line(error)
    return f"{capitalized(doing)} by Xet failed ({said}); try again, or set HF_HUB_DISABLE_XET=1 to go without Xet."


def _late(doing: str, where: str) -> str:
    return f"{where} did not answer in time during {doing}; check the connection and try again."


def _folder(path: Any) -> str:
    """The folder that somebody knows, not the file that the client makes there for a while."""
    return str(Path(str(path)).parent) if Path(str(path)).suffix in (".incomplete", ".lock") else str(path)
