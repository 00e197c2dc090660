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
from metastyle_hub.artifacts.model_card import CARD_FILE, PREVIEW_FILE, STYLE_FILE, card_image, make_card, merge_cards
from metastyle_hub.artifacts.serialization import Artifact, artifact_files
from metastyle_hub.artifacts.storage import read_file, write_files
from metastyle_hub.config import expanded
from metastyle_hub.errors import ArtifactError, HubError
from metastyle_hub.hub.download import Snapshot, read_extra
from metastyle_hub.hub.errors import REPO_ID, hub_client, hub_errors
from metastyle_hub.images.io import ImageLike, load_image

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo, HfApi

__all__ = ["Attachments", "UploadOptions", "push", "save_artifact", "write_artifact"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Attachments:
    """What is stored beside the parameters; nothing by default, since it may not be the user's to share."""

    style_image: ImageLike | None = None
    preview: ImageLike | None = None  # a content image, stored stylized
    license: str | None = None
    extra: Mapping[str, bytes] | None = None  # further files by name

    def files(self, artifact: Artifact, fingerprint: str, stylize: Callable[..., Image.Image]) -> dict[str, bytes]:
        """Return all files by name; `fingerprint` is that of the base, `stylize` makes the preview."""
        files = dict(self.extra or {})
        if self.preview is not None:
            files[PREVIEW_FILE] = card_image(load_image(self.preview), stylize)
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
    """Write files as `write_artifact` does, but keep the text of an edited card, and one that cannot be parsed."""
    folder, files = expanded(folder), dict(files)
    try:
        existing = read_extra(Snapshot(folder), CARD_FILE)
        files[CARD_FILE] = merge_cards(existing, files[CARD_FILE], folder.resolve().name, license)
    except ArtifactError as error:  # a README.md must not cost the user a style
        log.warning("%s The other files are saved to %s, that one stays unchanged.", error, folder)
        del files[CARD_FILE]
    return write_artifact(folder, files)


def write_artifact(folder: str | os.PathLike[str], files: Mapping[str, bytes]) -> Path:
    """Write files to a folder and delete the images of another style that was there; see `write_files`."""
    replaced = False
    with contextlib.suppress(OSError):  # no such file
        replaced = read_file(expanded(folder), WEIGHTS_FILE) != files[WEIGHTS_FILE]
    return write_files(folder, files, {PREVIEW_FILE, STYLE_FILE} - files.keys() if replaced else ())


def push(
    repo_id: str,
    files: Mapping[str, bytes],
    options: UploadOptions | None = None,
    *,
    license: str | None = None,
    origin: Snapshot | None = None,
) -> CommitInfo:
    """Push files in one commit, or in none if the repo has them; an edited card keeps its text, as in `save_artifact`.

    Args:
        repo_id: "user/name"; created if it does not exist.
        files: by path in the repo.
        options: branch, message and so on.
        license: overrides that of the card.
        origin: of the artifact. The README.md of a folder is pushed if somebody edited it there.

    Raises:
        ArtifactError: if a README.md cannot be parsed.
        HubError: if the Hub or the network fails, or the options contradict each other.
    """
    options = options or UploadOptions()
    _check(repo_id, options)
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    api, files = hub_client(options.token), dict(files)
    with hub_errors(f"pushing to {repo_id}", repo_id, options.revision):
        repo_id, head = _head(api, repo_id, options)
        existing = {file.rfilename: file for file in head.siblings or ()}
        if CARD_FILE in files:
            draft = read_extra(origin, CARD_FILE) if origin is not None and origin.repo_id is None else None
            there = CARD_FILE in existing and api.hf_hub_download(repo_id, CARD_FILE, revision=head.sha)
            card = Path(there).read_bytes() if there else None
            files[CARD_FILE] = merge_cards(card, files[CARD_FILE], repo_id, license, draft)
        operations: list[Any] = [CommitOperationAdd(name, data) for name, data in sorted(files.items())]
        # outside LFS, where weights have no reason to be, their SHA-256 is unknown
        stored, weights = getattr(existing.get(WEIGHTS_FILE), "lfs", None), files.get(WEIGHTS_FILE)
        if stored is not None and weights is not None and stored.sha256 != hashlib.sha256(weights).hexdigest():
            obsolete = existing.keys() & {PREVIEW_FILE, STYLE_FILE} - files.keys()
            operations += [CommitOperationDelete(name) for name in sorted(obsolete)]
        return api.create_commit(
            repo_id,
            operations,
            commit_message=options.commit_message or f"Upload {', '.join(sorted(files))} with metastyle_hub",
            commit_description=options.commit_description,
            revision=options.revision,
            create_pr=options.create_pr,
            parent_commit=head.sha,  # a card edited meanwhile is a conflict, not a loss
        )


def _check(repo_id: str, options: UploadOptions) -> None:
    if options.create_pr and options.revision not in (None, "main"):
        raise HubError(f"A pull request goes to main; leave out create_pr or the branch {options.revision!r}.")
    if options.revision is not None and re.fullmatch(r"[0-9a-f]{40}", options.revision):
        raise HubError(f"A commit cannot be changed; name a branch to push to, not {options.revision[:12]}.")
    if not (REPO_ID.fullmatch(repo_id) or (REPO_ID.fullmatch(f"a/{repo_id}") and not options.create_pr)):
        raise HubError(f"{repo_id!r} is no Hub repo of the form user/name; check the spelling.")


def _head(api: HfApi, repo_id: str, options: UploadOptions) -> tuple[str, Any]:
    """The full id of a repo and the state of the branch; both are created if necessary."""
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    branch = options.revision or "main"
    is_new = branch != "main" and not branch.startswith("refs/")
    try:
        if "/" in repo_id:
            return repo_id, api.repo_info(repo_id, revision=branch, files_metadata=True)
    except RevisionNotFoundError:
        if not is_new:
            raise
    except RepositoryNotFoundError:
        if options.create_pr:
            raise
    # the server adds the namespace to a bare name
    repo_id = api.create_repo(repo_id, private=options.private, exist_ok=True).repo_id
    if is_new:
        api.create_branch(repo_id, branch=branch, exist_ok=True)
    return repo_id, api.repo_info(repo_id, revision=branch, files_metadata=True)
