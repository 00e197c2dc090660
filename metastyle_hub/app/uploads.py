"""Pictures that visitors send: checked once, decoded safely, and small wherever the page only looks at them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import gradio as gr
from metastyle_hub.app import texts
from PIL import Image

from metastyle_hub.errors import ImageError
from metastyle_hub.images.io import ImageLimits, load_image

VIEW = 768  # pixels of the long side on the page
LIMITS = ImageLimits(max_pixels=25_000_000, max_bytes=20_000_000)


@dataclass(frozen=True)
class Photo:
    """A picture of a visitor, as a file; its pixels are read when they are needed."""

    path: Path
    name: str  # as the visitor knows it, without suffix

    def full(self) -> Image.Image:
        """All of it, upright, on white.

        Raises:
            ImageError: it cannot be used; the sentence names the file as the visitor knows it.
        """
        try:
            picture = load_image(self.path, LIMITS)
        except ImageError as error:
            # where the file lies on this machine is nobody's business
            raise ImageError(str(error).replace(repr(str(self.path)), f"“{self.path.name}”")) from None
        if picture.mode == "RGBA":
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
        return picture.convert("RGB")

    def view(self) -> Image.Image:
        """The picture at the size of the page; see `full`. A live slider asks for it many times a second."""
        return _view(self, self.path.stat().st_mtime_ns)


@lru_cache(maxsize=32)
def _view(photo: Photo, _changed: int) -> Image.Image:
    return shrunk(photo.full(), VIEW)


def shrunk(picture: Image.Image, side: int) -> Image.Image:
    """A copy whose long side has at most `side` pixels."""
    small = picture.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return small


def plain_name(text: str) -> str:
    """A name for a style from a file's name or a visitor's words: letters, digits, blanks; may be empty.

    >>> plain_name("stained_glass<b>")
    'stained glass b'
    """
    return " ".join(re.sub(r"[^\w+%., -]|_", " ", text).split())[:60].strip()


# Gradio writes a stub file beside every module that defines a component; type checkers would read it instead of this
with patch("gradio.component_meta.create_or_modify_pyi"):

    class SafeImage(gr.Image):
        """An image input that decodes as the library does: upright, 16 bits scaled, bombs refused before decoding.

        Functions get a `Photo`. What cannot be used is one sentence to the visitor, at the upload already where
        `check_at_once` is wired.
        """

        def get_block_name(self) -> str:
            return "image"  # the stock front end

        def preprocess(self, payload: Any) -> Any:
            if payload is None or not payload.path:
                return None
            path = Path(payload.path)
            photo = Photo(path, plain_name(Path(payload.orig_name or path.name).stem))
            try:
                photo.view()
            except ImageError as error:
                raise gr.Error(str(error), print_exception=False) from None
            except OSError:
                raise gr.Error(texts.GONE.format(name=path.name), print_exception=False) from None
            return photo

        def check_at_once(self) -> None:
            """Refuse a bad picture when it arrives, not when the visitor presses the button."""
            self.upload(lambda picture: None, self, None, show_progress="hidden", api_visibility="private")
