"""Reading from the Hugging Face Hub: the files of one commit, and the list of styles.

Everything goes through `huggingface_hub` and so heeds HF_ENDPOINT, HF_HUB_OFFLINE, HF_TOKEN and the shared cache.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metastyle_hub.artifacts.config import CONFIG_FILE, WEIGHTS_FILE, ArtifactConfig
from metastyle_hub.artifacts.serialization import (
    Artifact,
    expected_parameters,
    expected_predictor,
    read_artifact,
    stored_tensors,
)
from metastyle_hub.errors import ArtifactError, HubError, MetaStyleError
from metastyle_hub.hub.client import REPO_ID, asking, client

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = [
    "EMBEDDED",
    "DownloadOptions",
    "Snapshot",
    "fetch",
    "fetch_extra",
    "load_artifact",
]

_MOST_CONFIG = 1_000_000  # bytes; ours have a few thousand

EMBEDDED = Path(__file__).parents[1] / "pretrained" / "base"


@dataclass(frozen=True)
class DownloadOptions:
    """How to read from the Hub; names and meaning are huggingface_hub's."""

    token: str | bool | None = field(default=None, repr=False)
    cache_dir: str | Path | None = None
    local_files_only: bool = False
    force_download: bool = False
    subfolder: str | None = None


@dataclass(frozen=True)
class Snapshot:
    """The files of one artefact: a folder, or one commit of a repo as it lies in the cache."""

    folder: Path
    repo_id: str | None = None
    commit: str | None = None

    @property
    def in_package(self) -> bool:
        """Whether this is the base that ships with the package."""
        return self.folder == EMBEDDED

    def __str__(self) -> str:
        return f"{self.repo_id}@{self.commit[:12]}" if self.repo_id and self.commit else str(self.folder)


def locate(source: str | os.PathLike[str], revision: str | None = None) -> Path | tuple[str, str | None]:
    """A folder, or the repo and revision that a string names. What exists as a folder is one.

    Raises:
        ArtifactError: neither a folder nor a repo id, or two revisions.

    >>> locate("me/starry@v1")
    ('me/starry', 'v1')
    """
    text = os.fspath(source)
    if not isinstance(source, str) or (text and _is_folder(text)):
        if revision is not None:
            raise ArtifactError(f"{text} is a folder, and folders have no revision {revision!r}; leave it out.")
        return Path(text)
    repo, at, tail = text.partition("@")
    if not REPO_ID.fullmatch(repo) or (at and not tail):
        raise ArtifactError(f"There is no folder {text}; check the path, or name a Hub repo as user/name.")
    if tail and revision is not None and revision != tail:
        raise ArtifactError(f"{text} and revision={revision!r} name two revisions; give one.")
    return repo, tail or revision


def _is_folder(text: str) -> bool:
    try:
        return Path(text).is_dir()
    except OSError:  # longer than a path may be
        return False


def fetch(source: str | os.PathLike[str], revision: str | None = None, options: DownloadOptions | None = None) -> Snapshot:
    """Where the files of an artefact are, after downloading what is missing. A revision is resolved once.

    The configuration comes first, and the weights only if they are of the size that it calls for: another library's
    repo of many gigabytes is refused after a kilobyte.

    Raises:
        ArtifactError: not a folder, not a repo id, or not a base or style of ours.
        HubError: the Hub or the way there failed.

    >>> fetch("me/starry@v1").commit
    '5f3c...'
    """
    place, options = locate(source, revision), options or DownloadOptions()
    if isinstance(place, Path):
        return Snapshot(place)
    repo, wanted = place
    if options.force_download and options.local_files_only:
        raise HubError(f"force_download and local_files_only contradict each other for {repo}; leave out one.")
    api = client(options.token)
    where: dict[str, Any] = {"cache_dir": options.cache_dir, "local_files_only": options.local_files_only}
    doing = f"loading {repo}"
    with asking(doing, repo, wanted):
        # one question for the commit: a branch that moves between two files cannot mix versions
        commit: str = api.resolve_revision(repo, revision=wanted, **where).resolved
    where |= {"revision": commit, "force_download": options.force_download}
    try:
        with asking(doing, repo, wanted):
            if not options.local_files_only:
                told = api.hf_hub_download(repo, CONFIG_FILE, **where, dry_run=True).file_size or 0
                if told > _MOST_CONFIG:
                    raise ArtifactError(f"{CONFIG_FILE} of {repo} has {told / 1e6:,.1f} MB, so it is none of ours.")
            config_file = Path(api.hf_hub_download(repo, CONFIG_FILE, **where))
            config = ArtifactConfig.from_json(config_file.read_text(encoding="utf-8", errors="replace"), repo)
            if not options.local_files_only:
                # what was downloaded is checked again by read_artifact; this is about not downloading it at all
                size = api.hf_hub_download(repo, WEIGHTS_FILE, **where, dry_run=True).file_size
                _check_size(size, config, repo)
            weights = Path(api.hf_hub_download(repo, WEIGHTS_FILE, **where))
    except HubError as error:
        raise _not_ours(error, api, repo, commit) from error.__cause__
    return Snapshot(weights.parent, repo, commit)


def fetch_extra(snapshot: Snapshot, name: str, options: DownloadOptions | None = None) -> bytes | None:
    """A further file of an artefact, such as its card; None when it has none."""
    if snapshot.repo_id is None:
        file = snapshot.folder / name
        try:
            return file.read_bytes() if file.is_file() else None
        except OSError as error:
            raise ArtifactError(f"{file} cannot be read: {error.strerror}.") from error
    from huggingface_hub import constants
    from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError

    options = options or DownloadOptions()
    api, repo = client(options.token), snapshot.repo_id
    with asking(f"loading {name} of {repo}", repo):
        try:
            return Path(
                api.hf_hub_download(
                    repo,
                    name,
                    revision=snapshot.commit,
                    cache_dir=options.cache_dir,
                    local_files_only=options.local_files_only,
                )
            ).read_bytes()
        except RemoteEntryNotFoundError:
            return None
        except LocalEntryNotFoundError:
            # without the network nobody can say whether there is one
            if options.local_files_only or constants.HF_HUB_OFFLINE:
                return None
            raise


def _check_size(size: int | None, config: ArtifactConfig, repo: str) -> None:
    tensors = stored_tensors(expected_parameters(config.architecture), expected_predictor(config))
    values = sum(p.numel() for p in tensors.values())
    # float64 at most, and a header of names
    most = 8 * values + 100_000
    if size is not None and size > most:
        raise ArtifactError(
            f"{WEIGHTS_FILE} of {repo} has {size / 1e6:,.1f} MB where its {CONFIG_FILE} calls for "
            f"{4 * values / 1e6:,.1f} MB; it was not downloaded."
        )


def _not_ours(error: HubError, api: HfApi, repo: str, commit: str) -> MetaStyleError:
    """The same error, or a better one when the repo lacks the files that make it ours."""
    from huggingface_hub.errors import RemoteEntryNotFoundError

    if not isinstance(error.__cause__, RemoteEntryNotFoundError):
        return error
    names: list[str] = []
    with contextlib.suppress(Exception), asking(f"loading {repo}", repo):  # a hint only; the refusal stands without it
        names = api.list_repo_files(repo, revision=commit)
    lacking = [name for name in (CONFIG_FILE, WEIGHTS_FILE) if name not in names]
    pickles = [name for name in names if Path(name).suffix in (".bin", ".pth", ".pt", ".ckpt", ".pkl")]
    hint = f"; {pickles[0]} is not read, since pickled files can run code" if pickles else ""
    return ArtifactError(f"{repo} is no metastyle_hub base or style: it lacks {' and '.join(lacking)}{hint}.")


def load_artifact(
    source: str | os.PathLike[str], revision: str | None = None, options: DownloadOptions | None = None
) -> Artifact:
    """Load and check what is in a folder or repo."""
    origin = fetch(source, revision, options)
    return replace(read_artifact(origin.folder, str(origin)), origin=origin)
