"""Which files the `metastyle` command reads, and how it names those it writes."""

from __future__ import annotations

import contextlib
import glob
from collections.abc import Iterator, Sequence
from itertools import chain, count
from pathlib import Path

from metastyle_hub.artifacts.model_card import CARD_FILE, PREVIEW_FILE
from metastyle_hub.artifacts.config import CONFIG_FILE, WEIGHTS_FILE
from metastyle_hub.artifacts.serialization import check_folder
from metastyle_hub.errors import ImageError
from metastyle_hub.images.io import list_images

__all__ = ["distinct", "photo_files", "room_for_style", "suffix_for"]


def photo_files(names: Sequence[str]) -> list[Path]:
    """The files that names, folders and glob patterns stand for, each once.

    Raises:
        ImageError: a folder or pattern without any.
    """

    photos: list[Path] = []
    for name in names:
        path = Path(name)
        if path.is_dir():
            photos += list_images(path)
        elif any(c in name for c in "*?[") and not path.exists():
            # Path.glob refuses "photos/**.png" before Python 3.13
            found = sorted(file for file in map(Path, glob.glob(name, recursive=True)) if file.is_file())  # noqa: PTH207
            if not found:
                raise ImageError(f"Nothing matches {name}; check the pattern.")
            photos += found
        else:
            photos.append(path)
    return list({photo.absolute(): photo for photo in photos}.values())


def distinct(names: Sequence[str]) -> list[str]:
    """The names, numbered where one comes again: no result may overwrite another, on no file system."""
    made: dict[str, str] = {}
    for name in names:
        stem, suffix = Path(name).stem, Path(name).suffix
        numbered = (f"{stem}-{i}{suffix}" for i in count(2))
        free = next(n for n in chain([name], numbered) if n.casefold() not in made)
        made[free.casefold()] = free
    return list(made.values())


def suffix_for(photo: Path) -> str:
    """The suffix of a result: that of the photo, or .png for formats that are rare or not for pictures like these."""
    return photo.suffix.lower() if photo.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp") else ".png"


@contextlib.contextmanager
def room_for_style(folder: Path) -> Iterator[None]:
    """A place that cannot take a style is refused at once, not after the work; one that stays empty goes again.

    Raises:
        ArtifactError: see `artifacts.check_folder`.
    """
    is_new = not folder.exists()
    check_folder(folder, [WEIGHTS_FILE, CONFIG_FILE, CARD_FILE, PREVIEW_FILE])
    try:
        yield
    finally:
        if is_new:
            with contextlib.suppress(OSError):
                folder.rmdir()
