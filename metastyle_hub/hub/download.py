"""Load artifacts from folders and from the Hugging Face Hub, always from one commit.

All requests go through `huggingface_hub` and so respect HF_ENDPOINT, HF_HUB_OFFLINE, HF_TOKEN and the shared cache.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metastyle_hub.artifacts.config import CONFIG_FILE, WEIGHTS_FILE, ArtifactConfig
from metastyle_hub.artifacts.serialization import Artifact, expected_tensors, missing_files_error, read_artifact
from metastyle_hub.errors import ArtifactError, HubError, MetaStyleError
from metastyle_hub.hub.errors import REPO_ID, hub_client, hub_errors

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = ["EMBEDDED", "DownloadOptions", "Snapshot", "load_artifact", "locate", "read_extra"]

EMBEDDED = Path(__file__).parents[1] / "pretrained" / "base"
_MAX_CONFIG_BYTES = 1_000_000  # ours have a few thousand


@dataclass(frozen=True)
class DownloadOptions:
    """How to read from the Hub; names and meaning are those of huggingface_hub."""

    token: str | bool | None = field(default=None, repr=False)
    cache_dir: str | Path | None = None
    local_files_only: bool = False
    force_download: bool = False
    subfolder: str | None = None


@dataclass(frozen=True)
class Snapshot:
    """Where an artifact was read: a folder, or one commit of a repo in the cache."""

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
    """Return a folder, or the repo and revision that a string names. An existing folder takes precedence.

    Raises:
        ArtifactError: for a string that is neither, or two different revisions.

    >>> locate("me/starry@v1")
    ('me/starry', 'v1')
    """
    text = os.fspath(source)
    if not isinstance(source, str) or (text and _is_folder(text)):
        if revision is not None:
            raise ArtifactError(f"{text} is a folder, which has no revision {revision!r}; leave it out.")
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


def load_artifact(
    source: str | os.PathLike[str], revision: str | None = None, options: DownloadOptions | None = None
) -> Artifact:
    """Load and check the base or style in a folder or repo.

    From a repo, `config.json` is read first, and the weights only if they have the size that it calls for: a repo of
    many gigabytes of another library is refused after a kilobyte.

    Raises:
        ArtifactError: for neither a folder nor a repo id, or something that is no valid base or style.
        HubError: if the Hub or the network fails.

    >>> load_artifact("me/starry@v1").config.kind
    'style'
    """
    place, options = locate(source, revision), options or DownloadOptions()
    if isinstance(place, Path):
        origin, config = Snapshot(place / options.subfolder if options.subfolder else place), None
    else:
        origin, config = _download(*place, options)
    return replace(read_artifact(origin.folder, str(origin), config), origin=origin)


def _download(repo: str, revision: str | None, options: DownloadOptions) -> tuple[Snapshot, ArtifactConfig]:
    """Download config and weights of one commit into the cache."""
    if options.force_download and options.local_files_only:
        raise HubError(f"force_download and local_files_only contradict each other for {repo}; leave out one.")
    api, action = hub_client(options.token), f"loading {repo}"
    where: dict[str, Any] = {"cache_dir": options.cache_dir, "local_files_only": options.local_files_only}
    with hub_errors(action, repo, revision):
        # resolve once: if the branch moves meanwhile, all files still are of one commit
        commit: str = api.resolve_revision(repo, revision=revision, **where).resolved
    where |= {"revision": commit, "force_download": options.force_download, "subfolder": options.subfolder}
    try:
        with hub_errors(action, repo, revision):
            size = _size(api, repo, CONFIG_FILE, where)
            if size > _MAX_CONFIG_BYTES:
                raise ArtifactError(
                    f"{CONFIG_FILE} of {repo} has {size / 1e6:,.1f} MB, so it is no metastyle_hub config."
                )
            text = Path(api.hf_hub_download(repo, CONFIG_FILE, **where)).read_text(encoding="utf-8", errors="replace")
            config = ArtifactConfig.from_json(text, repo)
            values, size = (
                sum(p.numel() for p in expected_tensors(config).values()),
                _size(api, repo, WEIGHTS_FILE, where),
            )
            if size > 8 * values + 100_000:  # float64, and a header of names
                raise ArtifactError(
                    f"{WEIGHTS_FILE} of {repo} has {size / 1e6:,.1f} MB where its {CONFIG_FILE} calls for "
                    f"{4 * values / 1e6:,.1f} MB; it was not downloaded."
                )
            weights = Path(api.hf_hub_download(repo, WEIGHTS_FILE, **where))
    except HubError as error:
        raise _missing_files(error, api, repo, commit) from error.__cause__
    return Snapshot(weights.parent, repo, commit), config


def _size(api: HfApi, repo: str, name: str, where: dict[str, Any]) -> int:
    """The size of a file that is not downloaded yet, in bytes; 0 if it is not known."""
    if where["local_files_only"]:
        return 0
    return api.hf_hub_download(repo, name, **where, dry_run=True).file_size or 0


def _missing_files(error: HubError, api: HfApi, repo: str, commit: str) -> MetaStyleError:
    """The same error, or one that names the files that the repo lacks."""
    from huggingface_hub.errors import RemoteEntryNotFoundError

    if not isinstance(error.__cause__, RemoteEntryNotFoundError):
        return error
    names: list[str] = []
    with contextlib.suppress(Exception), hub_errors(f"loading {repo}", repo):  # for the message only
        names = api.list_repo_files(repo, revision=commit)
    return missing_files_error(repo, names)


def read_extra(snapshot: Snapshot, name: str, token: str | bool | None = None) -> bytes | None:
    """Read a further file of an artifact, such as its card; None if there is none.

    Raises:
        ArtifactError: if it cannot be read.
        HubError: if the Hub or the network fails.
    """
    file = snapshot.folder / name
    if snapshot.repo_id is None or file.is_file():
        try:
            return file.read_bytes() if file.is_file() else None
        except OSError as error:
            raise ArtifactError(f"{file} cannot be read: {error.strerror}; check its rights.") from error
    from huggingface_hub.errors import RemoteEntryNotFoundError

    with hub_errors(f"loading {name} of {snapshot.repo_id}", snapshot.repo_id):
        try:
            return Path(
                hub_client(token).hf_hub_download(snapshot.repo_id, name, revision=snapshot.commit)
            ).read_bytes()
        except RemoteEntryNotFoundError:
            return None
