"""What all visitors share: the base, the built-in styles, the machine, and a place for downloads."""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
import tempfile
import threading
import time
from contextlib import AbstractContextManager
from pathlib import Path

from metastyle_hub.app import texts
from metastyle_hub.app.uploads import Photo, plain_name
from PIL import Image
from metastyle_hub.app.session import Session, SessionError, named

from metastyle_hub import MetaStyle, MetaStyleError
from metastyle_hub.devices import resolve_device

log = logging.getLogger(__name__)

_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}(@[\w./-]+)?", re.ASCII)

PREVIEW = 384  # pixels of the long side where a picture is only glanced at


class Workspace:
    """Finds styles, mixes them, paints with them and hands out files; without memory of any visitor."""

    def __init__(self, base: MetaStyle | None = None, *, gallery: Path | None = None, device: str = "auto") -> None:
        """
        Args:
            base: default the one in the package.
            gallery: a folder of style folders; those of another base are left out.
            device: where painting and learning take place.
        """
        self.base = base or MetaStyle.from_pretrained()
        self.device = resolve_device(device)
        self.gallery = self._load_gallery(gallery)
        self._outbox = Path(tempfile.mkdtemp(prefix="metastyle-"))
        self._lock = threading.Lock()
        self._turns: dict[int, AbstractContextManager[object]] = {}

    # ---- styles

    def names(self, visit: Session) -> list[str]:
        """The styles at hand: of this visit, then the built-in ones."""
        return [*visit.styles, *self.gallery]

    def style(self, name: str | None, visit: Session) -> MetaStyle:
        """A style by its name, or fetched from the Hub as user/repo and then part of the visit."""
        if not name:
            raise SessionError(texts.CHOOSE)
        found = visit.styles.get(name) or self.gallery.get(name)
        if found is not None:
            return found
        if not _REPO.fullmatch(name) or Path(name).exists():
            # what exists here as a folder is not the visitor's to read
            raise SessionError(texts.NO_SUCH_STYLE.format(name=plain_name(name)))
        visit.styles[name] = self.base.apply(name)
        return visit.styles[name]

    def _load_gallery(self, folder: Path | None) -> dict[str, MetaStyle]:
        styles: dict[str, MetaStyle] = {}
        for path in sorted(folder.iterdir()) if folder is not None and folder.is_dir() else ():
            try:
                style = self.base.apply(path)
            except MetaStyleError as error:
                log.warning("The built-in style %s is left out: %s", path.name, error)
                continue
            styles[plain_name(path.name)] = named(style, plain_name(path.name))
        return styles

    # ---- pictures

    def stylized(
        self, style: MetaStyle, picture: Image.Image, strength: float = 1.0, preserve_color: bool = False
    ) -> Image.Image:
        """A picture in a style, when it is its turn."""
        with self.turn():
            return style.stylize(picture, strength=strength, preserve_color=preserve_color)

    def turn(self) -> AbstractContextManager[object]:
        """All styles share one network, which takes on their parameters by turns: never two threads at once.

        A lock for every process, as one that was held when a worker was forked would stay shut there.
        """
        return self._turns.setdefault(os.getpid(), threading.RLock())

    def paint(
        self, photo: Photo, style: MetaStyle, name: str, strength: float = 1.0, preserve_color: bool = False
    ) -> Path:
        """The photo in a style, as large as it came, as a file."""
        picture = self.stylized(style, photo.full(), strength, preserve_color)
        return self.saved(picture, f"{photo.name or 'photo'} in {name}")

    def saved(self, picture: Image.Image, name: str) -> Path:
        """A picture as a file to download."""
        path = self.new_file(name, ".jpg")
        picture.save(path, quality=95, subsampling=0)
        return path

    # ---- files

    def new_file(self, name: str, suffix: str) -> Path:
        """Where to write a download; what was downloaded long ago goes."""
        with self._lock:
            for old in self._outbox.iterdir():
                if time.time() - old.stat().st_mtime > 600:
                    shutil.rmtree(old, ignore_errors=True)
            folder = self._outbox / secrets.token_hex(8)
            folder.mkdir()
        return folder / (re.sub(r"[^\w-]+", "-", plain_name(name)).strip("-")[:60] + suffix)
