"""Files of the app: images and styles that visitors upload, and files that they download."""

from __future__ import annotations

import contextlib
import math
import re
import secrets
import shutil
import tempfile
import time
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from filelock import FileLock, Timeout
from PIL import Image
from PIL.ImageFile import ImageFile

from metastyle_hub.app import texts
from metastyle_hub.artifacts.config import CONFIG_FILE, WEIGHTS_FILE
from metastyle_hub.errors import ImageError, MetaStyleError, SessionError
from metastyle_hub.images.decoding import decode, open_image
from metastyle_hub.images.io import ImageLimits, load_image, save_image
from metastyle_hub.model import MetaStyle

__all__ = [
    "KEEP_SECONDS",
    "MAX_PIXELS",
    "Downloads",
    "ImageUpload",
    "ServerFolder",
    "plain_name",
    "shrink",
    "unpack_images",
    "unpack_style",
]

MAX_PIXELS = 25_000_000  # of an image that is stylized; a larger one is shrunk
KEEP_SECONDS = 600  # of a download

_VIEW_SIZE = 768  # pixels of the long side on the page
_VIEW_PIXELS = 4 * _VIEW_SIZE**2  # to decode for it
# A decoded pixel takes 4 bytes, for a moment twice. Phones make JPEGs of 200 megapixels, decoded at half their size.
_LIMITS = ImageLimits(max_pixels=100_000_000)
_MAX_JPEG_PIXELS = 250_000_000
_MAX_JPEG_SCANS = 100  # those of embedded previews included
_WEB_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "AVIF", "BMP")
_MAX_FILES = 100  # of one .zip of images
_MAX_ZIP_BYTES = 400_000_000  # of them, unpacked
_PREFIX, _LOCK = "metastyle-space-", "server.lock"  # of the folder of a server


@dataclass(frozen=True)
class ImageUpload:
    """An image of a visitor, as a file; it is decoded when it is needed."""

    path: Path
    name: str  # as the visitor knows it, without suffix

    def load(self) -> Image.Image:
        """Return the image as RGB, upright, over white, of at most `MAX_PIXELS`.

        Raises:
            ImageError: if it cannot be used; the message names the file without its folder.
        """
        return self._decode(MAX_PIXELS)

    def view(self) -> Image.Image:
        """Return the image at the size of the page; see `load`. Cached, since a slider asks many times a second."""
        try:
            return _view(self, self.path.stat().st_mtime_ns)
        except FileNotFoundError:
            raise ImageError(texts.GONE.format(name=self.path.name)) from None

    def size(self) -> tuple[int, int]:
        """Return width and height of the file, which may have more pixels than `load` gives.

        Raises:
            ImageError: see `load`.
        """
        return self._open()[0].size

    def web_file(self) -> Path:
        """Return a file that browsers can show: this one, or a JPEG beside it, for a HEIC or TIFF.

        Raises:
            ImageError: see `load`.
        """
        if self._open()[0].format in _WEB_FORMATS:
            return self.path
        shown = self.path.with_suffix(".jpg")
        save_image(self.load(), shown)
        return shown

    def note(self) -> str:
        """Return a sentence if `load` shrinks the image, otherwise nothing."""
        pixels = math.prod(self.size())
        sizes = {"megapixels": pixels / 1e6, "most": MAX_PIXELS / 1e6}
        return texts.SHRUNK.format(name=self.path.name, **sizes) if pixels > MAX_PIXELS else ""

    def _open(self) -> tuple[ImageFile, bytes]:
        """Open the file without decoding it; return its bytes as well."""
        try:
            data = self.path.read_bytes()
            return open_image(data), data
        except FileNotFoundError:
            raise ImageError(texts.GONE.format(name=self.path.name)) from None
        except Exception:  # a malformed file makes plugins raise nearly anything
            raise ImageError(texts.NO_IMAGE.format(name=self.path.name)) from None

    def _decode(self, max_pixels: int) -> Image.Image:
        opened, data = self._open()
        pixels, is_jpeg = opened.width * opened.height, opened.format in ("JPEG", "MPO")
        if pixels > (_MAX_JPEG_PIXELS if is_jpeg else _LIMITS.max_pixels):
            raise ImageError(texts.HUGE_IMAGE.format(name=self.path.name, megapixels=pixels / 1e6))
        try:
            if is_jpeg and pixels > max_pixels:
                if data.count(b"\xff\xda") > _MAX_JPEG_SCANS:
                    raise ImageError("each scan is a pass over all pixels")
                # a JPEG decodes at a half, a quarter or an eighth of its size in a fraction of the time and memory
                ratio = (max_pixels / pixels) ** 0.5
                opened.draft(None, (round(ratio * opened.width), round(ratio * opened.height)))
                image = load_image(opened, _LIMITS)
            else:
                image = decode(data, self.path.name, _LIMITS)
        except Exception:
            raise ImageError(texts.NO_IMAGE.format(name=self.path.name)) from None
        if image.mode == "RGBA":
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
        ratio = (max_pixels / (image.width * image.height)) ** 0.5
        if ratio < 1:
            size = max(1, int(ratio * image.width)), max(1, int(ratio * image.height))
            image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
        return image


@lru_cache(maxsize=32)
def _view(upload: ImageUpload, _changed: int) -> Image.Image:
    return shrink(upload._decode(_VIEW_PIXELS), _VIEW_SIZE)


def shrink(image: Image.Image, side: int) -> Image.Image:
    """Return a copy whose long side has at most `side` pixels."""
    small = image.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return small


def plain_name(text: str) -> str:
    """Return a name for a style from any text: letters, digits, spaces; it may be empty.

    Without a comma, it cannot be the name of a step, "wave, step 20".

    >>> plain_name("stained_glass<b>")
    'stained glass b'
    """
    return " ".join(re.sub(r"[^\w+%. -]|_", " ", text).split())[:60].strip()


class ServerFolder:
    """The folder of all temporary files of one server, which is removed with it.

    Folders of servers that were killed are removed at the start of the next one. A lock, which the system releases with
    its process, tells which server is alive.

    >>> with ServerFolder() as folder:
    ...     assert tempfile.gettempdir() == str(folder)
    """

    def __enter__(self) -> Path:
        parent = Path(tempfile.gettempdir())
        for lock in parent.glob(f"{_PREFIX}*/{_LOCK}"):
            with contextlib.suppress(Timeout, OSError), FileLock(lock, blocking=False):  # not alive, nor another user's
                shutil.rmtree(lock.parent, ignore_errors=True)
        new = Path(tempfile.mkdtemp(prefix="." + _PREFIX, dir=parent))
        self._lock = FileLock(new / _LOCK)
        self._lock.acquire()
        # only now can another server see it
        self._folder = new.rename(new.with_name(new.name[1:]))
        self._before, tempfile.tempdir = tempfile.tempdir, str(self._folder)
        return self._folder

    def __exit__(self, *_: object) -> None:
        tempfile.tempdir = self._before
        shutil.rmtree(self._folder, ignore_errors=True)
        self._lock.release()


class Downloads:
    """The files that visitors download, in a temporary folder; `delete_old` must be called now and then.

    >>> Downloads().new_file("my style", ".zip").name
    'my-style.zip'
    """

    def __init__(self) -> None:
        self._temporary = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._folder = Path(self._temporary.name)

    def new_file(self, name: str, suffix: str) -> Path:
        """Return the path of a file to write, in a folder of its own."""
        folder = self._folder / secrets.token_hex(8)
        folder.mkdir()
        return folder / ((re.sub(r"[^\w-]+", "-", plain_name(name)).strip("-")[:60] or "file") + suffix)

    def delete_old(self) -> None:
        """Delete the files that have not changed for ten minutes."""
        for old in self._folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                # the file counts as well: a long action writes it for longer than others are kept
                changed = max(each.stat().st_mtime for each in (old, *old.iterdir()))
                if time.time() - changed > KEEP_SECONDS:
                    shutil.rmtree(old, ignore_errors=True)

    def save_image(self, image: Image.Image, name: str, suffix: str = ".jpg") -> Path:
        """Write an image as a file of the kind that the suffix names."""
        path = self.new_file(name, suffix)
        save_image(image, path)
        return path

    def save_style(self, style: MetaStyle, name: str) -> Path:
        """Write a style as a .zip file."""
        path = self.new_file(name, ".zip")
        _pack_style(style.renamed(name), path)
        return path


def _pack_style(style: MetaStyle, path: Path) -> None:
    """Write the folder of `save_pretrained` as a .zip; the folder in it has the name of the .zip."""
    with tempfile.TemporaryDirectory() as folder:
        saved = style.save_pretrained(Path(folder) / path.stem)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for member in sorted(saved.iterdir()):
                file.write(member, f"{path.stem}/{member.name}")


def unpack_images(path: Path, folder: Path) -> list[ImageUpload]:
    """Extract the files of a .zip, except hidden ones; whether each is an image shows when it is decoded.

    Args:
        path: the .zip.
        folder: where to write the files.

    Raises:
        SessionError: for a damaged .zip, one without files, or with too many or too large ones.
    """
    uploads: list[ImageUpload] = []
    left = _MAX_ZIP_BYTES
    try:
        with zipfile.ZipFile(path) as file:
            for number, member in enumerate(file.infolist()):
                inside = PurePosixPath(member.filename.replace("\\", "/"))
                if member.is_dir() or any(part.startswith((".", "__MACOSX")) for part in inside.parts):
                    continue
                with file.open(member) as source:
                    data = source.read(left + 1)  # the size that the archive states may be wrong
                left -= len(data)
                if left < 0 or len(uploads) == _MAX_FILES:
                    limits = {"count": _MAX_FILES, "most": _MAX_ZIP_BYTES / 1e6}
                    raise SessionError(texts.MANY_IMAGES.format(name=path.name, **limits))
                stem = plain_name(inside.stem) or "image"
                target = folder / f"{number}" / f"{stem}{inside.suffix[:8]}"
                target.parent.mkdir()
                target.write_bytes(data)
                uploads.append(ImageUpload(target, stem))
    except MetaStyleError:
        raise
    except Exception:  # zlib, zipfile and the file system each have their own
        raise SessionError(texts.NO_IMAGES.format(name=path.name)) from None
    if not uploads:
        raise SessionError(texts.NO_IMAGES.format(name=path.name))
    return uploads


def unpack_style(path: Path, folder: Path, max_bytes: int) -> None:
    """Extract `config.json` and `model.safetensors` from a .zip, whatever their folder in it.

    Args:
        path: the .zip.
        folder: where to write the two files.
        max_bytes: of one of them.

    Raises:
        SessionError: for a damaged .zip, one without a style, or one with too large a file.
    """
    try:
        with zipfile.ZipFile(path) as file:
            for name in (CONFIG_FILE, WEIGHTS_FILE):
                # PowerShell writes backslashes
                paths = {PurePosixPath(m.filename.replace("\\", "/")): m for m in file.infolist()}
                member = next((m for path, m in paths.items() if path.name == name), None)
                if member is None:
                    raise SessionError(texts.NO_ZIP.format(name=path.name))
                with file.open(member) as source:
                    data = source.read(max_bytes + 1)  # the size that the archive states may be wrong
                if len(data) > max_bytes or member.file_size > max_bytes:
                    size = max(len(data), member.file_size) / 1e6
                    raise SessionError(texts.BIG_ZIP.format(name=path.name, size=size, most=max_bytes / 1e6))
                (folder / name).write_bytes(data)
    except MetaStyleError:
        raise
    except Exception:  # zlib, zipfile and the file system each have their own
        raise SessionError(texts.NO_ZIP.format(name=path.name)) from None
