"""Reading from the Hugging Face Hub: the files of one commit, and the list of styles.

Everything goes through `huggingface_hub` and so heeds HF_ENDPOINT, HF_HUB_OFFLINE, HF_TOKEN and the shared cache.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metastyle_hub.artifacts.cards import PREVIEW_FILE, STYLE_TAG, base_tag
from metastyle_hub.artifacts.config import CONFIG_FILE, WEIGHTS_FILE, ArtifactConfig, ArtifactError
from metastyle_hub.artifacts.files import expected_parameters, expected_predictor, stored_tensors
from metastyle_hub.errors import MetaStyleError
from metastyle_hub.hub.client import REPO_ID, asking, client
from metastyle_hub.hub.errors import HubError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = [
    "EMBEDDED",
    "SORTS",
    "HubError",
    "HubOptions",
    "HubStyle",
    "Snapshot",
    "fetch",
    "fetch_extra",
    "list_styles",
]

_MOST_CONFIG = 1_000_000  # bytes; ours have a few thousand

SORTS = ("likes", "downloads", "last_modified", "created_at", "trending_score")

EMBEDDED = Path(__file__).parents[1] / "pretrained" / "base"


@dataclass(frozen=True)
class HubOptions:
    """How to read from the Hub; names and meaning are huggingface_hub's."""

    token: str | bool | None = field(default=None, repr=False)
    cache_dir: str | Path | None = None
    local_files_only: bool = False
    force_download: bool = False


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


@dataclass(frozen=True)
class HubStyle:
    """A style as `list_styles` finds it."""

    repo_id: str
    author: str
    name: str
    likes: int
    downloads: int
    preview: str | None  # address of a picture, when the author shared one
    base: str | None  # the repo of its base; None when that is the one in the package, or was never shared
    commit: str | None  # for MetaStyle.from_pretrained(repo_id, revision=commit)


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


def fetch(source: str | os.PathLike[str], revision: str | None = None, options: HubOptions | None = None) -> Snapshot:
    """Where the files of an artefact are, after downloading what is missing. A revision is resolved once.

    The configuration comes first, and the weights only if they are of the size that it calls for: another library's
    repo of many gigabytes is refused after a kilobyte.

    Raises:
        ArtifactError: not a folder, not a repo id, or not a base or style of ours.
        HubError: the Hub or the way there failed.

    >>> fetch("me/starry@v1").commit
    '5f3c...'
    """
    place, options = locate(source, revision), options or HubOptions()
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


def fetch_extra(snapshot: Snapshot, name: str, options: HubOptions | None = None) -> bytes | None:
    """A further file of an artefact, such as its card; None when it has none."""
    if snapshot.repo_id is None:
        file = snapshot.folder / name
        try:
            return file.read_bytes() if file.is_file() else None
        except OSError as error:
            raise ArtifactError(f"{file} cannot be read: {error.strerror}.") from error
    from huggingface_hub import constants
    from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError

    options = options or HubOptions()
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


def list_styles(
    search: str | None = None,
    *,
    author: str | None = None,
    base: str | None = None,
    sort: str = "likes",
    limit: int | None = None,
    token: str | bool | None = None,
) -> Iterator[HubStyle]:
    """The styles on the Hub, best first, page by page as the iterator is read.

    Args:
        search: part of the repo's name.
        author: user or organisation.
        base: only styles of this base: its repo id, or the fingerprint of its parameters.
        sort: one of `SORTS`.

    Raises:
        HubError: at once for arguments that make no sense, while iterating when the Hub fails.

    >>> for style in list_styles("wave", limit=10):
    ...     print(style.repo_id, style.likes)
    """
    if sort not in SORTS:
        raise HubError(f"sort must be one of {', '.join(SORTS)}, got {sort!r}.")
    if limit is not None and limit < 1:
        raise HubError(f"limit must be at least 1, got {limit}.")
    tags = [STYLE_TAG]
    if base is not None:
        tags.append(f"base_model:{base}" if REPO_ID.fullmatch(base) else base_tag(base))
    return _listed(tags, search=search, author=author, sort=sort, limit=limit, token=token)


def _listed(tags: list[str], *, token: str | bool | None, **query: Any) -> Iterator[HubStyle]:
    api = client(token)
    expand = ["author", "cardData", "downloads", "likes", "sha", "siblings"]
    models = iter(api.list_models(filter=tags, expand=expand, **query))  # type: ignore[arg-type]
    while True:
        with asking("listing styles", "the list"):
            model = next(models, None)
        if model is None:
            return
        card: dict[str, Any] = model.card_data.to_dict() if model.card_data else {}
        author, _, name = model.id.rpartition("/")
        files = {file.rfilename for file in model.siblings or ()}
        bases = card.get("base_model")
        yield HubStyle(
            repo_id=model.id,
            author=model.author or author,
            name=str(card.get("model_name") or name),
            likes=model.likes or 0,
            downloads=model.downloads or 0,
            preview=f"{api.endpoint}/{model.id}/resolve/{model.sha}/{PREVIEW_FILE}" if PREVIEW_FILE in files else None,
            base=bases[0] if isinstance(bases, list) and bases else bases or None,
            commit=model.sha,
        )


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
