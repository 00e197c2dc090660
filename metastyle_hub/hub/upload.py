"""Save and share: the files of a base or style, in a folder or in one commit of a repo."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from metastyle_hub.artifacts.config import WEIGHTS_FILE
from metastyle_hub.artifacts.model_card import (
    CARD_FILE,
    CARD_PIXELS,
    PREVIEW_FILE,
    STYLE_FILE,
    card_image,
    make_card,
    merge_cards,
)
from metastyle_hub.artifacts.serialization import Artifact, artifact_files, write_files
from metastyle_hub.errors import ArtifactError, HubError
from metastyle_hub.hub.download import Snapshot, read_extra
from metastyle_hub.hub.errors import REPO_ID, hub_client, hub_errors
from metastyle_hub.images.io import ImageLike, load_image

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo, HfApi

__all__ = ["Attachments", "UploadOptions", "push", "save_artifact", "write_artifact"]

log = logging.getLogger(__name__)

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Attachments:
    """What is stored beside the parameters; nothing by default, since it may not be the user's to share."""

    style_image: ImageLike | None = None
    preview: ImageLike | None = None  # a content image, stored stylized
    license: str | None = None
    extra: Mapping[str, bytes] | None = None  # further files by name

    def files(
        self, artifact: Artifact, fingerprint: str, stylize: Callable[[Image.Image], Image.Image]
    ) -> dict[str, bytes]:
        """Return all files by name.

        Args:
            artifact: the base or style.
            fingerprint: of its base.
            stylize: makes the preview.

        Raises:
            ImageError: for an image that cannot be used.
        """
        files = dict(self.extra or {})
        if self.preview is not None:
            content = load_image(self.preview).copy()
            content.thumbnail((CARD_PIXELS, CARD_PIXELS))
            files[PREVIEW_FILE] = card_image(stylize(content))
        if self.style_image is not None:
            files[STYLE_FILE] = card_image(load_image(self.style_image))
        card = make_card(artifact.config, fingerprint, images=files, license=self.license)
        return artifact_files(artifact, {**files, CARD_FILE: card.encode()})


@dataclass(frozen=True)
class UploadOptions:
    """How to write to the Hub; names and meaning are those of huggingface_hub."""

    private: bool | None = None  # of a new repo; None leaves it to the Hub
    revision: str | None = None  # a branch, created if it does not exist; None is main
    create_pr: bool = False  # open a pull request to main instead
    commit_message: str | None = None
    commit_description: str | None = None
    token: str | bool | None = field(default=None, repr=False)


def save_artifact(folder: str | os.PathLike[str], files: Mapping[str, bytes], license: str | None) -> Path:
    """Write files to a folder; an edited card keeps its text, one that cannot be parsed stays unchanged.

    Raises:
        ArtifactError: if the folder cannot be written.
    """
    files = dict(files)
    try:
        existing = read_extra(Snapshot(Path(folder)), CARD_FILE)
        files[CARD_FILE] = merge_cards(existing, files[CARD_FILE], Path(folder).resolve().name, license)
    except ArtifactError as error:  # a README.md must not cost the user a style
        log.warning("%s The other files are saved to %s, that one stays unchanged.", error, folder)
        del files[CARD_FILE]
    return write_artifact(folder, files)


def write_artifact(folder: str | os.PathLike[str], files: Mapping[str, bytes]) -> Path:
    """Write files to a folder and delete the images of another style that was there.

    Raises:
        ArtifactError: if the folder cannot be written.
    """
    replaced = False
    with contextlib.suppress(OSError):  # no such file
        replaced = (Path(folder) / WEIGHTS_FILE).read_bytes() != files[WEIGHTS_FILE]
    written = write_files(folder, files)
    for name in {PREVIEW_FILE, STYLE_FILE} - files.keys() if replaced else ():
        with contextlib.suppress(OSError):
            (written / name).unlink()
    return written


def push(
    repo_id: str,
    files: Mapping[str, bytes],
    options: UploadOptions | None = None,
    *,
    license: str | None = None,
    origin: Snapshot | None = None,
    repo_type: str = "model",
    exact: bool = False,
) -> CommitInfo:
    """Push files in one commit, or in none if the repo has them already.

    The README.md of a model keeps an edited text; its metadata is updated. Images of another style are deleted.

    Args:
        repo_id: "user/name"; created if it does not exist.
        files: by path in the repo.
        options: branch, message and so on.
        license: of a model; overrides that of its card.
        origin: of the artifact. The README.md of a folder is pushed if somebody edited it there.
        repo_type: "model" or "space".
        exact: whether to delete all other files of the repo.

    Raises:
        ArtifactError: if a README.md cannot be parsed.
        HubError: if the Hub or the network fails, or the arguments contradict each other.

    >>> push("me/starry", {"README.md": b"...", "config.json": b"..."}).oid
    '5f3c...'
    """
    options = options or UploadOptions()
    _check(repo_id, options)
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    api, files = hub_client(options.token), dict(files)
    with hub_errors(f"pushing to {repo_id}", repo_id, options.revision):
        repo_id, head = _head(api, repo_id, repo_type, options)
        existing = {file.rfilename: file for file in head.siblings or ()}
        if CARD_FILE in files and repo_type == "model":
            draft = read_extra(origin, CARD_FILE) if origin is not None and origin.repo_id is None else None
            card = None
            if CARD_FILE in existing:
                card = Path(api.hf_hub_download(repo_id, CARD_FILE, revision=head.sha)).read_bytes()
            files[CARD_FILE] = merge_cards(card, files[CARD_FILE], repo_id, license, draft)
        obsolete = existing.keys() - {*files, ".gitattributes"}
        if not exact:
            # outside LFS, where weights have no reason to be, the SHA-256 is unknown
            stored, weights = getattr(existing.get(WEIGHTS_FILE), "lfs", None), files.get(WEIGHTS_FILE)
            replaced = (
                stored is not None and weights is not None and stored.sha256 != hashlib.sha256(weights).hexdigest()
            )
            obsolete &= {PREVIEW_FILE, STYLE_FILE} if replaced else set()
        return api.create_commit(
            repo_id,
            [CommitOperationAdd(name, data) for name, data in sorted(files.items())]
            + [CommitOperationDelete(name) for name in sorted(obsolete)],
            commit_message=options.commit_message or f"Upload {', '.join(sorted(files))} with metastyle_hub",
            commit_description=options.commit_description,
            revision=options.revision,
            create_pr=options.create_pr,
            repo_type=repo_type,
            parent_commit=head.sha,  # a card edited meanwhile is a conflict, not a loss
        )


def _check(repo_id: str, options: UploadOptions) -> None:
    if options.create_pr and options.revision not in (None, "main"):
        raise HubError(f"A pull request goes to main; leave out create_pr or the branch {options.revision!r}.")
    if options.revision is not None and _COMMIT.fullmatch(options.revision):
        raise HubError(f"A commit cannot be changed; name a branch to push to, not {options.revision[:12]}.")
    if not (REPO_ID.fullmatch(repo_id) or (REPO_ID.fullmatch(f"a/{repo_id}") and not options.create_pr)):
        raise HubError(f"{repo_id!r} is no Hub repo of the form user/name; check the spelling.")


def _head(api: HfApi, repo_id: str, repo_type: str, options: UploadOptions) -> tuple[str, Any]:
    """The full id of a repo and the state of the branch; both are created if necessary."""
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    branch = options.revision
    wanted: dict[str, Any] = {"repo_type": repo_type, "revision": branch, "files_metadata": True}
    is_new = branch not in (None, "main") and not str(branch).startswith("refs/")
    try:
        if "/" in repo_id:
            return repo_id, api.repo_info(repo_id, **wanted)
    except RevisionNotFoundError:
        if not is_new:
            raise
    except RepositoryNotFoundError:
        if options.create_pr:
            raise
    # the server adds the namespace to a bare name
    sdk = "gradio" if repo_type == "space" else None
    url = api.create_repo(repo_id, repo_type=repo_type, private=options.private, exist_ok=True, space_sdk=sdk)
    if is_new:
        api.create_branch(url.repo_id, repo_type=repo_type, branch=str(branch), exist_ok=True)
    return url.repo_id, api.repo_info(url.repo_id, **wanted)
