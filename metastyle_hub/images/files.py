"""Read image files and URLs within limits; list the image files of a folder."""

from __future__ import annotations

import http.client
import os
import stat
import string
import time
import urllib.parse
import urllib.request
from pathlib import Path

from PIL import Image

from metastyle_hub.config import expanded
from metastyle_hub.errors import ImageError
from metastyle_hub.images.decoding import (
    DEFAULT_LIMITS,
    HEIF_SUFFIXES,
    NEEDS_HEIF,
    READABLE,
    READABLE_FORMATS,
    ImageLimits,
    has_heif,
    quoted,
    reason,
)

__all__ = ["find_images", "image_suffixes", "list_images", "read_bytes"]

_CHUNK = 1 << 16  # bytes of a download between two checks of the time
_NO_IMAGES = ("BUFR", "GRIB", "HDF5", "FITS", "MPEG", "PDF")  # formats of data, videos and documents in Pillow's list
# images of formats that Pillow does not know: raw photos of cameras, JPEG XL, drawings
_UNREADABLE = frozenset({
    ".3fr", ".arw", ".cr2", ".cr3", ".dng", ".erf", ".iiq", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2",
    ".sr2", ".srw", ".x3f", ".jxl", ".svg", ".exr", ".hdr",
})  # fmt: skip


def read_bytes(source: str | os.PathLike[str], limits: ImageLimits = DEFAULT_LIMITS) -> bytes:
    """Read a file, or download it from an http(s) URL. Pipes and devices are refused: they may never end.

    Raises:
        ImageError: if it cannot be read or downloaded, is empty, or is larger than `limits` allows.
    """
    name, text = quoted(source), os.fsdecode(source)
    if isinstance(source, str) and text.lower().startswith(("http://", "https://")):
        return _download(text, limits)
    path = expanded(source)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{name} is a folder, not an image file; pass one of the files in it.")
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"{name} is a pipe or a device, not an image file; save the image to a file.")
        if status.st_size == 0:
            raise ImageError(f"{name} is an empty file; fetch or export the image again.")
        _check_bytes(name, status.st_size, limits)
        with path.open("rb") as file:
            data = file.read(limits.max_bytes + 1)  # the file may have grown since
    except ImageError:
        raise
    except (FileNotFoundError, NotADirectoryError):
        hint = "download it first" if "://" in text else "check the path"
        raise ImageError(f"There is no file {name}; {hint}.") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        raise ImageError(f"{name} cannot be read: {reason(error)}; check the path and its permissions.") from error
    _check_bytes(name, len(data), limits)
    return data


def list_images(folder: str | os.PathLike[str], recursive: bool = True) -> list[Path]:
    """Return the image files of a folder, chosen by suffix and sorted; see `find_images`.

    Raises:
        ImageError: if the folder does not exist or holds no image.

    >>> list_images("photos")
    [PosixPath('photos/beach.jpg'), PosixPath('photos/old/harbor.png')]
    """
    found, left_out = find_images(folder, recursive)
    if not found:
        example = next((f"; {quoted(path)} is left out: {why}" for path, why in left_out.items()), "")
        raise ImageError(f"There is no image in {quoted(folder)}{example}; put {READABLE} files there.")
    return found


def find_images(folder: str | os.PathLike[str], recursive: bool = True) -> tuple[list[Path], dict[Path, str]]:
    """Return the image files of a folder, sorted, and those images and folders that cannot be used, with the reason.

    They are chosen by suffix. Links are followed, but into no folder twice. Hidden files and folders are not looked at.

    Raises:
        ImageError: if the folder does not exist.

    >>> paths, left_out = find_images("photos")
    """
    folder = expanded(folder)
    if not folder.is_dir():
        raise ImageError(f"{quoted(folder)} is not a folder; pass the path of a folder with images in it.")
    formats, readable = Image.registered_extensions(), image_suffixes()
    found: list[Path] = []
    left_out: dict[Path, str] = {}
    seen: set[tuple[int, int]] = set()

    def refused(error: OSError) -> None:
        left_out[Path(error.filename)] = reason(error)

    for place, folders, files in os.walk(folder, onerror=refused, followlinks=True):
        status = Path(place).stat()
        if (status.st_dev, status.st_ino) in seen and status.st_ino:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if recursive and not name.startswith("."))
        for path in (Path(place, name) for name in files if not name.startswith(".")):
            suffix = path.suffix.lower()
            if suffix not in readable:
                if suffix in HEIF_SUFFIXES:
                    left_out[path] = NEEDS_HEIF
                elif (suffix in formats and formats[suffix] not in _NO_IMAGES) or suffix in _UNREADABLE:
                    left_out[path] = f"{suffix} is not read; export it as {READABLE}"
            elif path.is_file():
                found.append(path)
            else:
                left_out[path] = "it is no file, or a link to none"
    return sorted(found), dict(sorted(left_out.items()))


def image_suffixes() -> set[str]:
    """Return the suffixes of files that can be read, such as ".jpg"; with those of HEIC if its package is installed."""
    formats = Image.registered_extensions()
    suffixes = {suffix for suffix, name in formats.items() if name in (*READABLE_FORMATS, "MPO", "DIB")}
    return suffixes | set(HEIF_SUFFIXES if has_heif() else ())


def _download(url: str, limits: ImageLimits) -> bytes:
    """Download a file within the limits. The time-out is for all of it, not for each packet."""
    deadline, chunks, size = time.monotonic() + limits.timeout, [], 0
    try:
        parts = urllib.parse.urlsplit(url)
        address = parts._replace(path=_percent_encoded(parts.path), query=_percent_encoded(parts.query)).geturl()
        # servers such as Wikimedia's refuse the default user agent of urllib
        request = urllib.request.Request(address, headers={"User-Agent": "metastyle-hub"})
        with urllib.request.urlopen(request, timeout=limits.timeout) as response:
            _check_bytes(quoted(url), response.length or 0, limits)
            while chunk := response.read1(_CHUNK):
                chunks.append(chunk)
                size += len(chunk)
                _check_bytes(quoted(url), size, limits)
                if time.monotonic() > deadline:
                    raise TimeoutError(f"it takes more than {limits.timeout:g} seconds")
            if response.length:  # read1 ends silently where the connection breaks
                raise http.client.IncompleteRead(b"", response.length)
    except ImageError:
        raise
    except (OSError, ValueError, http.client.HTTPException) as error:
        text = str(error).removeprefix("<urlopen error ").removesuffix(">")
        why = " ".join(text.split()).rstrip(".") or type(error).__name__
        raise ImageError(f"{quoted(url)} cannot be downloaded: {why}; check the address and the network.") from error
    if not size:
        raise ImageError(f"{quoted(url)} is an empty file; check the address.")
    return b"".join(chunks)


def _percent_encoded(text: str) -> str:
    """Encode blanks and letters beyond ASCII; what is encoded already stays."""
    return urllib.parse.quote(text, safe=string.punctuation)


def _check_bytes(name: str, size: int, limits: ImageLimits) -> None:
    if size > limits.max_bytes:
        raise ImageError(
            f"{name} has {size / 1e6:,.1f} MB, more than the limit of {limits.max_bytes / 1e6:,.1f} MB; save it "
            "smaller or raise max_bytes."
        )
