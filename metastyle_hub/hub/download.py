"""Load artifacts from folders and from the Hugging Face Hub, always from one commit.

All requests go through `huggingface_hub` and so respect HF_ENDPOINT, HF_HUB_OFFLINE, HF_TOKEN and the shared cache.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from metastyle_hub.artifacts.config import CONFIG_FILE, WEIGHTS_FILE, ArtifactConfig
from metastyle_hub.artifacts.serialization import Artifact, expected_tensors, missing_files_error, read_artifact
from metastyle_hub.artifacts.storage import read_file
from metastyle_hub.config import expanded
from metastyle_hub.errors import ArtifactError, HubError
from metastyle_hub.hub.errors import REPO_ID, hub_client, hub_errors

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

    def __str__(self) -> str:
        return f"{self.repo_id}@{self.commit[:12]}" if self.repo_id and self.commit else str(self.folder)


def locate(source: str | os.PathLike[str], revision: str | None = None) -> Path | tuple[str, str | None]:
    """Return a folder, or the repo and revision that a string names. An existing folder takes precedence.

    >>> locate("me/starry@v1")
    ('me/starry', 'v1')
    """
    text, path, is_folder, is_file = os.fspath(source), expanded(source), not isinstance(source, str), False
    with contextlib.suppress(OSError, ValueError):  # longer than a path may be; a zero byte
        is_folder, is_file = is_folder or (text != "" and path.is_dir()), path.is_file()
    if is_file:
        raise ArtifactError(f"{text} is a file, not the folder of a base or style; name its folder {path.parent}.")
    if is_folder:
        if revision is not None:
            raise ArtifactError(f"{text} is a folder, which has no revision {revision!r}; leave it out.")
        return path
    repo, at, tail = text.partition("@")
    if not REPO_ID.fullmatch(repo) or (at and not tail):
        raise ArtifactError(f"There is no folder {text}; check the path, or name a Hub repo as user/name.")
    if tail and revision is not None and revision != tail:
        raise ArtifactError(f"{text} and revision={revision!r} name two revisions; give one.")
    return repo, tail or revision


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
        origin, config = Snapshot(place / (options.subfolder or "")), None
    else:
        origin, config = _download(*place, options)
    return replace(read_artifact(origin.folder, str(origin), config), origin=origin)


def _download(repo: str, revision: str | None, options: DownloadOptions) -> tuple[Snapshot, ArtifactConfig]:
    """Download config and weights of one commit into the cache."""
    from huggingface_hub.errors import RemoteEntryNotFoundError

    if options.force_download and options.local_files_only:
        raise HubError(f"force_download and local_files_only contradict each other for {repo}; leave out one.")
    api, local = hub_client(options.token), options.local_files_only
    where: dict[str, Any] = {"cache_dir": options.cache_dir, "local_files_only": local}

    def fetch(name: str, limit: int) -> Path:
        size = 0 if local else api.hf_hub_download(repo, name, dry_run=True, **where).file_size or 0
        if size > limit:
            raise ArtifactError(
                f"{name} of {repo} has {size / 1e6:,.1f} MB; a base or style with this {CONFIG_FILE} has at most "
                f"{limit / 1e6:,.1f} MB, so it was not downloaded."
            )
        return Path(api.hf_hub_download(repo, name, **where))

    with hub_errors(f"loading {repo}", repo, revision):
        # resolve once: if the branch moves meanwhile, all files still are of one commit
        commit: str = api.resolve_revision(repo, revision=revision, **where).resolved
        where |= {"revision": commit, "force_download": options.force_download, "subfolder": options.subfolder}
        try:
            text = fetch(CONFIG_FILE, _MAX_CONFIG_BYTES).read_text(encoding="utf-8", errors="replace")
            config = ArtifactConfig.from_json(text, repo)
            values = sum(p.numel() for p in expected_tensors(config).values())
            weights = fetch(WEIGHTS_FILE, 8 * values + 100_000)  # float64, and a header of names
        except RemoteEntryNotFoundError as error:
            folder = f"{options.subfolder}/" if options.subfolder else ""
            info: Any = api.repo_info(repo, revision=commit)
            names = [file.rfilename for file in info.siblings or ()]
            names = [name.removeprefix(folder) for name in names if name.startswith(folder)]
            raise missing_files_error(f"{repo}/{folder}".rstrip("/"), names) from error
    return Snapshot(weights.parent, repo, commit), config


def read_extra(snapshot: Snapshot, name: str, token: str | bool | None = None) -> bytes | None:
    """Return a further file of an artifact, such as its card; None if there is none."""
    file = snapshot.folder / name
    try:
        return read_file(snapshot.folder, name)
    except FileNotFoundError:
        if snapshot.repo_id is None:
            return None
    except OSError as error:
        if snapshot.repo_id is None and not file.is_file():  # a folder of that name
            return None
        raise ArtifactError(f"{file} cannot be read: {error.strerror}; check its rights.") from error
    from huggingface_hub.errors import RemoteEntryNotFoundError

    repo, commit, parts = snapshot.repo_id, snapshot.commit, snapshot.folder.parts
    subfolder = "/".join(parts[parts.index(commit) + 1 :]) if commit in parts else None
    with hub_errors(f"loading {name} of {repo}", repo), contextlib.suppress(RemoteEntryNotFoundError):
        return Path(hub_client(token).hf_hub_download(repo, name, revision=commit, subfolder=subfolder)).read_bytes()
    return None
