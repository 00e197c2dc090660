"""Files of the app: images and styles that visitors upload, and files that they download."""

from __future__ import annotations

import re
import secrets
import shutil
import tempfile
import threading
import time
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image

from metastyle_hub.app import texts
from metastyle_hub.artifacts.config import CONFIG_FILE, WEIGHTS_FILE
from metastyle_hub.errors import ImageError, MetaStyleError, SessionError
from metastyle_hub.images.io import ImageLimits, load_image, save_image
from metastyle_hub.model import MetaStyle

__all__ = ["Downloads", "ImageUpload", "pack_style", "plain_name", "shrink", "unpack_style"]

_VIEW_SIZE = 768  # pixels of the long side on the page
_LIMITS = ImageLimits(max_pixels=25_000_000, max_bytes=20_000_000)
_KEEP_SECONDS = 600  # of a download


@dataclass(frozen=True)
class ImageUpload:
    """An image of a visitor, as a file; it is decoded when it is needed."""

    path: Path
    name: str  # as the visitor knows it, without suffix

    def load(self) -> Image.Image:
        """Return the whole image as RGB, upright, over white.

        Raises:
            ImageError: if it cannot be used; the message names the file without its folder.
        """
        try:
            image = load_image(self.path, _LIMITS)
        except ImageError as error:
            # the folder of this machine must not be shown
            raise ImageError(str(error).replace(repr(str(self.path)), f"“{self.path.name}”")) from None
        if image.mode == "RGBA":
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return image.convert("RGB")

    def view(self) -> Image.Image:
        """Return the image at the size of the page; see `load`. Cached, since a slider asks many times a second."""
        return _view(self, self.path.stat().st_mtime_ns)


@lru_cache(maxsize=32)
def _view(upload: ImageUpload, _changed: int) -> Image.Image:
    return shrink(upload.load(), _VIEW_SIZE)


def shrink(image: Image.Image, side: int) -> Image.Image:
    """Return a copy whose long side has at most `side` pixels."""
    small = image.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return small


def plain_name(text: str) -> str:
    """Return a name for a style from any text: letters, digits, spaces; it may be empty.

    >>> plain_name("stained_glass<b>")
    'stained glass b'
    """
    return " ".join(re.sub(r"[^\w+%., -]|_", " ", text).split())[:60].strip()


class Downloads:
    """A temporary folder for the files that visitors download; each is deleted after ten minutes.

    >>> Downloads().new_file("my style", ".zip").name
    'my-style.zip'
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="metastyle-"))
        self._lock = threading.Lock()

    def new_file(self, name: str, suffix: str) -> Path:
        """Return the path of a file to write, in a folder of its own."""
        with self._lock:
            for old in self._folder.iterdir():
                if time.time() - old.stat().st_mtime > _KEEP_SECONDS:
                    shutil.rmtree(old, ignore_errors=True)
            folder = self._folder / secrets.token_hex(8)
            folder.mkdir()
        return folder / (re.sub(r"[^\w-]+", "-", plain_name(name)).strip("-")[:60] + suffix)

    def save_image(self, image: Image.Image, name: str) -> Path:
        """Write an image as a .jpg file."""
        path = self.new_file(name, ".jpg")
        save_image(image, path)
        return path

    def save_style(self, style: MetaStyle, name: str) -> Path:
        """Write a style as a .zip file."""
        path = self.new_file(name, ".zip")
        pack_style(style.renamed(name), path)
        return path


def pack_style(style: MetaStyle, path: Path) -> None:
    """Write the folder of `save_pretrained` as a .zip; the folder in it has the name of the .zip."""
    with tempfile.TemporaryDirectory() as folder:
        saved = style.save_pretrained(Path(folder) / path.stem)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for member in sorted(saved.iterdir()):
                file.write(member, f"{path.stem}/{member.name}")


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
                member = next((m for m in file.infolist() if Path(m.filename).name == name), None)
                if member is None:
                    raise SessionError(texts.NO_ZIP.format(name=path.name))
                with file.open(member) as source:
                    data = source.read(max_bytes + 1)  # the size that the archive states may be wrong
                if len(data) > max_bytes or member.file_size > max_bytes:
                    size = max(len(data), member.file_size) / 1e6
                    raise SessionError(texts.BIG_ZIP.format(name=path.name, size=size, most=max_bytes / 1e6))
                (folder / name).write_bytes(data)
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, EOFError, ValueError) as error:
        if isinstance(error, MetaStyleError):
            raise
        raise SessionError(texts.NO_ZIP.format(name=path.name)) from None
