"""What of a base or style is saved and shared: its files, a card, and the pictures that may go along."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from torch import Tensor

from metastyle_hub.artifacts.cards import (
    CARD_FILE,
    CARD_PIXELS,
    PREVIEW_FILE,
    STYLE_FILE,
    card_picture,
    make_card,
    merge_cards,
)
from metastyle_hub.artifacts.config import WEIGHTS_FILE, ArtifactConfig, ArtifactError
from metastyle_hub.artifacts.files import artifact_files, write_files
from metastyle_hub.hub.reading import Snapshot, fetch_extra
from metastyle_hub.hub.writing import PushOptions, push
from metastyle_hub.images import ImageLike, load_image

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo

__all__ = ["NOTHING", "Along", "replace_files", "save", "share", "without_paths"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Along:
    """What goes along with the parameters; nothing unless asked for, since it may not be the user's to share."""

    style_image: ImageLike | None = None
    preview: ImageLike | None = None  # a photo, to be shown in the style
    license: str | None = None
    extra: Mapping[str, bytes] | None = None  # further files by name

    def files(
        self,
        config: ArtifactConfig,
        parameters: Mapping[str, Tensor],
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
        return artifact_files(config, parameters, {**extra, **pictures, CARD_FILE: card.encode()})


NOTHING = Along()


def without_paths(config: ArtifactConfig) -> ArtifactConfig:
    """The configuration as it may leave this machine; warns when nobody elsewhere could load what it describes."""
    reference = config.base_model
    if reference is None or reference.revision is not None or reference.repo_id == "embedded":
        return config
    log.warning(
        "The base of %s is not on the Hub, so others can only use the style if they have that base (base.apply); "
        "better push the base first, and learn the style from there.",
        config.name or "this style",
    )
    # the path of a folder says something about its owner and nothing to anybody else
    return replace(config, base_model=replace(reference, repo_id="unshared"))


def save(folder: str | os.PathLike[str], files: Mapping[str, bytes], license: str | None) -> Path:
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


def share(
    repo_id: str, files: Mapping[str, bytes], origin: Snapshot | None, license: str | None, options: PushOptions
) -> CommitInfo:
    """Push the files. A card that was edited in the folder that they come from goes along as it is there.

    Raises:
        HubError: the Hub or the way there failed.
    """
    if origin is not None and origin.repo_id is None:
        card = merge_cards(fetch_extra(origin, CARD_FILE), files[CARD_FILE], repo_id, license)
        files = {**files, CARD_FILE: card}
    return push(repo_id, files, options, license=license)
