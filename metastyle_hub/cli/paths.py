"""Files that the `metastyle` command reads, and names of those it writes. "-" is standard input or output."""

from __future__ import annotations

import contextlib
import glob
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from PIL import ExifTags, Image

from metastyle_hub.artifacts.config import CONFIG_FILE, WEIGHTS_FILE
from metastyle_hub.artifacts.model_card import CARD_FILE, PREVIEW_FILE
from metastyle_hub.artifacts.storage import check_folder
from metastyle_hub.config import expanded
from metastyle_hub.errors import ImageError
from metastyle_hub.images.decoding import DEFAULT_LIMITS, decode, open_image, quoted
from metastyle_hub.images.files import find_images
from metastyle_hub.images.output import check_writable, encode_image, save_image, write_bytes

__all__ = [
    "SOFTWARE", "STREAM", "Source", "check_output", "distinct_names", "file_ids", "image_files", "output_suffix",
    "read_image", "reserved_folder", "software_of", "write_image",
]  # fmt: skip

STREAM = "-"
SOFTWARE = "metastyle_hub"
_OTHER_BYTES = 500_000  # of a card and a preview
_OUTPUT_SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".webp")
_MAX_NAME = 250  # bytes of a file name; most file systems allow 255


@dataclass(frozen=True)
class Source:
    """An image to read, and the sub-folder of the output that its results belong to."""

    path: Path
    folder: Path = Path()


def image_files(names: Sequence[str], out: Path | None = None) -> tuple[list[Source], dict[Path, str]]:
    """Return the files that names, folders and glob patterns stand for, each once, and those left out, with reasons.

    Of a folder, earlier results of this command are no sources: neither what is in the output folder `out` within it,
    nor images whose EXIF tag Software names this library.

    Raises:
        ImageError: for a folder or pattern without images.
    """
    sources: list[Source] = []
    left_out: dict[Path, str] = {}
    for name in names:
        path = expanded(name)
        if name == STREAM:
            sources.append(Source(Path(STREAM)))
        elif path.is_dir():
            found, unusable = find_images(path)
            own = out.resolve() if out is not None and path.resolve() in out.resolve().parents else None
            outside = [file for file in [*found, *unusable] if own is None or own not in file.resolve().parents]
            fresh = [file for file in outside if file not in unusable and not software_of(file).startswith(SOFTWARE)]
            left_out |= {file: unusable[file] for file in outside if file in unusable}
            if not fresh and not unusable:
                what = "image but earlier results" if found else "image"
                raise ImageError(f"There is no {what} in {quoted(path)}; name a folder with images.")
            sources += [Source(file, file.relative_to(path).parent) for file in fresh]
        elif any(c in name for c in "*?[") and not path.exists():
            # Path.glob refuses "photos/**.png" before Python 3.13
            matches = sorted(file for file in map(Path, glob.glob(str(path), recursive=True)) if file.is_file())  # noqa: PTH207
            if not matches:
                raise ImageError(f"Nothing matches {name}; check the pattern.")
            sources += map(Source, matches)
        else:
            sources.append(Source(path))
    return list({source.path.absolute(): source for source in reversed(sources)}.values())[::-1], left_out


def software_of(path: Path) -> str:
    """Return the EXIF tag Software of an image file, or ""."""
    try:
        with open_image(path) as image:
            # to look for metadata behind the pixels of a PNG, Pillow decodes it; what is written here comes before
            is_plain = image.format == "PNG" and "exif" not in image.info
            return "" if is_plain else str(image.getexif().get(ExifTags.Base.Software, ""))
    except Exception:  # no file, or a damaged one
        return ""


def file_ids(*paths: str | Path) -> set[tuple[int, int]]:
    """Return the device and the inode of the files at these paths, as far as they exist."""
    found = set()
    for path in paths:
        with contextlib.suppress(OSError, ValueError):  # also a URL, or a name with a zero byte
            status = expanded(path).stat()
            found.add((status.st_dev, status.st_ino))
    return found


def read_image(name: str) -> Image.Image | str:
    """Return an image from standard input for "-", and any other name as it is.

    Raises:
        ImageError: if standard input holds no image.
    """
    if name != STREAM:
        return name
    data = sys.stdin.buffer.read(DEFAULT_LIMITS.max_bytes + 1)
    if not data:
        raise ImageError("Standard input is empty; pipe an image into the command.")
    if len(data) > DEFAULT_LIMITS.max_bytes:
        raise ImageError(f"Standard input holds more than {DEFAULT_LIMITS.max_bytes / 1e6:,.0f} MB; save it smaller.")
    return decode(data, "standard input")


def check_output(out: Path, sources: set[tuple[int, int]]) -> None:
    """Refuse an output that cannot be written, or that is one of the `file_ids` of what is read.

    Raises:
        ImageError: with the name.
    """
    if str(out) == STREAM:
        if sys.stdout.isatty():
            raise ImageError("An image is not written to a terminal; pipe it on, or name a file.")
        return
    if file_ids(out) & sources:
        raise ImageError(f"{quoted(out)} would overwrite the image it is made from; name another file.")
    check_writable(out)


def write_image(image: Image.Image | bytes, out: Path, *, software: str | None = None) -> None:
    """Write an image, or one encoded as PNG, to a file, or as a PNG to standard output for "-".

    Raises:
        ImageError: if it cannot be written.
    """
    if str(out) == STREAM:
        sys.stdout.buffer.write(image if isinstance(image, bytes) else encode_image(image, ".png"))
        sys.stdout.buffer.flush()
    elif isinstance(image, bytes):
        write_bytes(out, image)
    else:
        save_image(image, out, software=software)


def distinct_names(names: Sequence[str]) -> list[str]:
    """Return the names, numbered where one repeats, so that no output overwrites another on any file system.

    Names that are too long for a file system are cut off before their last 40 characters, where style and suffix are.

    >>> distinct_names(["sea.png", "Sea.png"])
    ['sea.png', 'Sea-2.png']
    """
    used: set[str] = set()
    result = []
    for name in names:
        path = Path(name)
        for i in count(1):
            stem = f"{path.stem}-{i}" if i > 1 else path.stem
            candidate = str(path.with_name(_shortened(stem, path.suffix)))
            if candidate.casefold() not in used:
                break
        used.add(candidate.casefold())
        result.append(candidate)
    return result


def _shortened(stem: str, suffix: str) -> str:
    head, tail = stem[:-40], stem[-40:]
    while head and len(os.fsencode(head + tail + suffix)) > _MAX_NAME:
        head = head[:-1]
    return head + tail + suffix


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
    folder = expanded(folder)
    is_new = not folder.exists()
    check_folder(folder, [WEIGHTS_FILE, CONFIG_FILE, CARD_FILE, PREVIEW_FILE], 4 * parameters + _OTHER_BYTES)
    try:
        yield
    finally:
        if is_new:
            with contextlib.suppress(OSError):
                folder.rmdir()
