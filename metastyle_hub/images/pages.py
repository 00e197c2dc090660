"""Files that hold several images: find the full one. A thumbnail is never taken for the photo.

Raw photos of cameras are TIFF files whose first page is a preview; they are recognized and refused.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from PIL import ImageFile, TiffImagePlugin

__all__ = ["is_raw_photo", "select_full_page"]

_MAX_PAGES = 1000
_WIDTH, _HEIGHT, _SUBFILE_TYPE, _OLD_SUBFILE_TYPE = 256, 257, 254, 255  # TIFF tags
_PHOTOMETRIC, _SUB_DIRECTORIES, _DNG_VERSION = 262, 330, 50706
_SENSOR = (32803, 34892)  # photometric values: color filter array, linear raw
_MAGIC = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb", b"\0MRM")
_THUMBNAIL = 4  # times fewer pixels than the largest page


@dataclass(frozen=True)
class _Page:
    pixels: int
    reduced: bool
    sensor: bool
    subpages: tuple[int, ...]  # offsets
    following: int  # offset, or 0


def is_raw_photo(data: bytes) -> bool:
    """Return whether a file is a raw photo of a format with its own signature, which no decoder here reads."""
    return data.startswith(_MAGIC) or (data[8:10] == b"CR" and data[:2] in (b"II", b"MM")) or data[4:12] == b"ftypcrx "


def select_full_page(image: ImageFile.ImageFile) -> str | None:
    """Go to the page of an opened TIFF that holds the full image, the first one if several do.

    Returns:
        why there is none, or None.

    Raises:
        Exception: of nearly any kind, for damaged files.
    """
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return None
    pages, subpages = _pages(image)
    if any(page.sensor for page in [*pages, *subpages]) or _DNG_VERSION in image.tag_v2:
        return "it is a raw photo, which is not developed here"
    largest = max(page.pixels for page in pages)
    if any(page.pixels > _THUMBNAIL * largest for page in subpages):
        return "it shows a thumbnail, and keeps the full image in a place that is not read"
    full = [i for i, page in enumerate(pages) if not page.reduced and page.pixels * _THUMBNAIL >= largest]
    image.seek(full[0] if full else max(range(len(pages)), key=lambda i: pages[i].pixels))
    return None


def _pages(image: TiffImagePlugin.TiffImageFile) -> tuple[list[_Page], list[_Page]]:
    """The pages of a file, and those in their sub-directories."""
    chain, pages, seen = [_page(image.tag_v2)], [], set[int]()
    while True:
        pages.append(chain[-1])
        offset = pages[-1].following
        if not offset or offset in seen or len(pages) >= _MAX_PAGES:
            break
        seen.add(offset)
        try:
            chain.append(_read(image, offset))
        except Exception:  # a damaged page behind the first one is no reason to refuse that
            break
    subpages = []
    for offset in [offset for page in pages for offset in page.subpages][:_MAX_PAGES]:
        with contextlib.suppress(Exception):
            subpages.append(_read(image, offset))
    return pages, subpages


def _read(image: TiffImagePlugin.TiffImageFile, offset: int) -> _Page:
    directory = TiffImagePlugin.ImageFileDirectory_v2(_header(image))
    assert image.fp is not None
    position = image.fp.tell()
    image.fp.seek(offset)
    directory.load(image.fp)
    image.fp.seek(position)
    return _page(directory)


def _header(image: TiffImagePlugin.TiffImageFile) -> bytes:
    assert image.fp is not None
    position = image.fp.tell()
    image.fp.seek(0)
    header = image.fp.read(8)
    image.fp.seek(position)
    return header + (image.fp.read(8) if header[2:3] == b"+" else b"")


def _page(directory: TiffImagePlugin.ImageFileDirectory_v2) -> _Page:
    def number(tag: int) -> int:
        value = directory.get(tag, 0)
        return int(value[0] if isinstance(value, tuple) else value)

    offsets = directory.get(_SUB_DIRECTORIES, ())
    return _Page(
        pixels=number(_WIDTH) * number(_HEIGHT),
        reduced=bool(number(_SUBFILE_TYPE) & 1) or number(_OLD_SUBFILE_TYPE) == 2,
        sensor=number(_PHOTOMETRIC) in _SENSOR,
        subpages=tuple(map(int, offsets if isinstance(offsets, tuple) else (offsets,))),
        following=int(getattr(directory, "next", 0) or 0),
    )
