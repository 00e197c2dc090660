"""Writing to the Hugging Face Hub: one commit with all files, none when the repo has them already."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from metastyle_hub.artifacts.config import WEIGHTS_FILE, ArtifactConfig
from metastyle_hub.artifacts.model_card import (
    CARD_FILE,
    CARD_PIXELS,
    PREVIEW_FILE,
    STYLE_FILE,
    card_picture,
    make_card,
    merge_cards,
)
from metastyle_hub.artifacts.serialization import Artifact, artifact_files, stored_tensors, write_files
from metastyle_hub.errors import ArtifactError, HubError
from metastyle_hub.hub.client import REPO_ID, asking, client
from metastyle_hub.hub.download import Snapshot, fetch_extra
from metastyle_hub.hub.limits import add_file
from metastyle_hub.images.io import ImageLike, load_image

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo, HfApi

__all__ = ["Attachments", "UploadOptions", "push", "push_artifact", "replace_files", "save_artifact"]

log = logging.getLogger(__name__)

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class UploadOptions:
    """How to write to the Hub; names and meaning are huggingface_hub's."""

    private: bool | None = None  # of a repo that does not exist yet; None leaves it to the Hub
    revision: str | None = None  # a branch, made if it does not exist; None is main
    create_pr: bool = False  # propose the commit to main instead of making it
    commit_message: str | None = None
    commit_description: str | None = None
    token: str | bool | None = field(default=None, repr=False)


def push(
    repo_id: str,
    files: Mapping[str, bytes],
    options: UploadOptions | None = None,
    *,
    license: str | None = None,
    repo_type: str = "model",
    exact: bool = False,
) -> CommitInfo:
    """One commit with these files; none at all when the repo has them already.

    A model's README.md is laid over the repo's: what people wrote there stays, its metadata is brought up to date.
    Pictures of another style, which the repo held before, go.

    Args:
        license: of a model, wins over the one that its card has.
        repo_type: "model" or "space".
        exact: whether what else is in the repo goes away.

    Raises:
        HubError: the Hub or the way there failed, or the arguments contradict each other.

    >>> push("me/starry", {"README.md": b"...", "config.json": b"..."}).oid
    '5f3c...'
    """
    options = options or UploadOptions()
    revision, create_pr = options.revision, options.create_pr
    if create_pr and revision not in (None, "main"):
        raise HubError(f"A pull request goes to main; leave out create_pr or the branch {revision!r}.")
    if revision is not None and _COMMIT.fullmatch(revision):
        raise HubError(f"A commit cannot be changed; name a branch to push to, not {revision[:12]}.")
    if not (REPO_ID.fullmatch(repo_id) or (REPO_ID.fullmatch(f"a/{repo_id}") and not create_pr)):
        raise HubError(f"{repo_id!r} is no Hub repo of the form user/name; check the spelling.")
    from huggingface_hub import CommitOperationDelete

    api = client(options.token)
    with asking(f"pushing to {repo_id}", repo_id, revision):
        if not create_pr:
            repo_id = _existing(api, repo_id, repo_type, options.private)
            if revision not in (None, "main") and not revision.startswith("refs/"):
                api.create_branch(repo_id, repo_type=repo_type, branch=revision, exist_ok=True)
        there = api.repo_info(repo_id, repo_type=repo_type, revision=revision)
        content = dict(files)
        if CARD_FILE in content and repo_type == "model":
            content[CARD_FILE] = merge_cards(_card_of(api, repo_id, there.sha), content[CARD_FILE], repo_id, license)
        gone = {file.rfilename for file in getattr(there, "siblings", None) or ()} - {*content, ".gitattributes"}
        if not exact:
            gone &= {PREVIEW_FILE, STYLE_FILE}
            if gone and _same_weights(api, repo_id, there.sha, content.get(WEIGHTS_FILE)):
                gone = set()
        surplus = [CommitOperationDelete(name) for name in sorted(gone)]
        return api.create_commit(
            repo_id,
            [*(add_file(name, data) for name, data in sorted(content.items())), *surplus],
            commit_message=options.commit_message or f"Upload {', '.join(sorted(content))} with metastyle_hub",
            commit_description=options.commit_description,
            revision=revision,
            create_pr=create_pr,
            repo_type=repo_type,
            # so that a card edited in the meantime is a conflict, not a loss
            parent_commit=there.sha,
        )


def _existing(api: HfApi, repo_id: str, repo_type: str, private: bool | None) -> str:
    """The full id of a repo, after making it if need be; the server knows the namespace of a bare name."""
    from huggingface_hub.errors import RepositoryNotFoundError

    if "/" in repo_id:
        with contextlib.suppress(RepositoryNotFoundError):
            api.repo_info(repo_id, repo_type=repo_type)
            return repo_id
    sdk = "gradio" if repo_type == "space" else None
    return api.create_repo(repo_id, repo_type=repo_type, private=private, exist_ok=True, space_sdk=sdk).repo_id


def _card_of(api: HfApi, repo_id: str, commit: str | None) -> bytes | None:
    from huggingface_hub.errors import RemoteEntryNotFoundError

    try:
        return Path(api.hf_hub_download(repo_id, CARD_FILE, revision=commit)).read_bytes()
    except RemoteEntryNotFoundError:
        return None


def _same_weights(api: HfApi, repo_id: str, commit: str | None, weights: bytes | None) -> bool:
    """Whether a repo of a model holds these weights, as far as its hash can tell without a download."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.errors import RemoteEntryNotFoundError

    if weights is None:
        return True
    try:
        etag = api.get_hf_file_metadata(url=hf_hub_url(repo_id, WEIGHTS_FILE, revision=commit)).etag or ""
    except RemoteEntryNotFoundError:
        return True
    # of a file outside of LFS, where nobody has reason to put weights, it is no SHA-256
    return len(etag) != 64 or etag == hashlib.sha256(weights).hexdigest()


@dataclass(frozen=True)
class Attachments:
    """What goes along with the parameters; nothing unless asked for, since it may not be the user's to share."""

    style_image: ImageLike | None = None
    preview: ImageLike | None = None  # a photo, to be shown in the style
    license: str | None = None
    extra: Mapping[str, bytes] | None = None  # further files by name

    def files(
        self,
        config: ArtifactConfig,
        artifact: Artifact,
        fingerprint: str,
        stylize: Callable[[Image.Image], Image.Image],
    ) -> dict[str, bytes]:
        """All files by name.

        Args:
            fingerprint: of the base.
            stylize: makes the preview.

        Raises:
            ImageError: a picture that cannot be used.
        """
        pictures: dict[str, bytes] = {}
        if self.preview is not None:
            photo = load_image(self.preview).copy()
            photo.thumbnail((CARD_PIXELS, CARD_PIXELS))
            pictures[PREVIEW_FILE] = card_picture(stylize(photo))
        if self.style_image is not None:
            pictures[STYLE_FILE] = card_picture(load_image(self.style_image))
        extra = self.extra or {}
        card = make_card(config, fingerprint, pictures={*pictures, *extra}, license=self.license)
        return artifact_files(config, stored_tensors(artifact.parameters, artifact.predictor), {**extra, **pictures, CARD_FILE: card.encode()})


def save_artifact(folder: str | os.PathLike[str], files: Mapping[str, bytes], license: str | None) -> Path:
    """Write the files; a card that people wrote in keeps its text, and one that cannot be read is left alone.

    Raises:
        ArtifactError: the folder cannot be written.
    """
    files = dict(files)
    try:
        existing = fetch_extra(Snapshot(Path(folder)), CARD_FILE)
        files[CARD_FILE] = merge_cards(existing, files[CARD_FILE], Path(folder).resolve().name, license)
    except ArtifactError as error:  # whoever has just learned a style must not lose it over a README.md
        log.warning("%s The rest of %s is saved, that file stays as it was.", error, folder)
        del files[CARD_FILE]
    return replace_files(folder, files)


def replace_files(folder: str | os.PathLike[str], files: Mapping[str, bytes]) -> Path:
    """Write the files. Pictures of another style, which the folder held before, go: they would show what is not there.

    Raises:
        ArtifactError: the folder cannot be written.
    """
    weights, was_another = Path(folder) / WEIGHTS_FILE, False
    with contextlib.suppress(OSError):  # none there
        was_another = weights.read_bytes() != files[WEIGHTS_FILE]
    written = write_files(folder, files)
    for name in {PREVIEW_FILE, STYLE_FILE} - files.keys() if was_another else ():
        with contextlib.suppress(OSError):
            (written / name).unlink()
    return written


def push_artifact(
    repo_id: str, files: Mapping[str, bytes], options: UploadOptions, *, origin: Snapshot | None, license: str | None
) -> CommitInfo:
    """Push the files. A card that was edited in the folder that they come from goes along as it is there.

    Raises:
        HubError: the Hub or the way there failed.
    """
    if origin is not None and origin.repo_id is None:
        card = merge_cards(fetch_extra(origin, CARD_FILE), files[CARD_FILE], repo_id, license)
        files = {**files, CARD_FILE: card}
    return push(repo_id, files, options, license=license)
