"""Files that the `metastyle` command reads, and names of those it writes."""

from __future__ import annotations

import contextlib
import glob
from collections.abc import Iterator, Sequence
from itertools import chain, count
from pathlib import Path

from metastyle_hub.artifacts.config import CONFIG_FILE, WEIGHTS_FILE
from metastyle_hub.artifacts.model_card import CARD_FILE, PREVIEW_FILE
from metastyle_hub.artifacts.storage import check_folder
from metastyle_hub.errors import ImageError
from metastyle_hub.images.io import list_images

__all__ = ["distinct_names", "image_files", "output_suffix", "reserved_folder"]

_OTHER_BYTES = 500_000  # of a card and a preview
_OUTPUT_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def image_files(names: Sequence[str]) -> list[Path]:
    """Return the files that names, folders and glob patterns stand for, each once.

    Raises:
        ImageError: for a folder or pattern without images.
    """
    files: list[Path] = []
    for name in names:
        path = Path(name)
        if path.is_dir():
            files += list_images(path)
        elif any(c in name for c in "*?[") and not path.exists():
            # Path.glob refuses "photos/**.png" before Python 3.13
            found = sorted(file for file in map(Path, glob.glob(name, recursive=True)) if file.is_file())  # noqa: PTH207
            if not found:
                raise ImageError(f"Nothing matches {name}; check the pattern.")
            files += found
        else:
            files.append(path)
    return list({file.absolute(): file for file in files}.values())


def distinct_names(names: Sequence[str]) -> list[str]:
    """Return the names, numbered where one repeats, so that no output overwrites another on any file system.

    >>> distinct_names(["sea.png", "Sea.png"])
    ['sea.png', 'Sea-2.png']
    """
    used: dict[str, str] = {}
    for name in names:
        stem, suffix = Path(name).stem, Path(name).suffix
        numbered = (f"{stem}-{i}{suffix}" for i in count(2))
        free = next(n for n in chain([name], numbered) if n.casefold() not in used)
        used[free.casefold()] = free
    return list(used.values())


def output_suffix(content: Path) -> str:
    """Return the suffix of an output: that of the input if it is common, else .png."""
    suffix = content.suffix.lower()
    return suffix if suffix in _OUTPUT_SUFFIXES else ".png"


@contextlib.contextmanager
def reserved_folder(folder: Path, parameters: int) -> Iterator[None]:
    """Create the folder of a style, refuse it before the work if it cannot be used, remove it if it stays empty.

    Args:
        folder: of the style.
        parameters: number of those that the style stores; the disk must have the space for them, a card and a preview.

    Raises:
        ArtifactError: see `storage.check_folder`.
    """
    is_new = not folder.exists()
    check_folder(folder, [WEIGHTS_FILE, CONFIG_FILE, CARD_FILE, PREVIEW_FILE], 4 * parameters + _OTHER_BYTES)
    try:
        yield
    finally:
        if is_new:
            with contextlib.suppress(OSError):
                folder.rmdir()
