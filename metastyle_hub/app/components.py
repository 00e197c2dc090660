"""Parts that the tabs share: image inputs and outputs, buttons, a list of styles, the queue, and error messages."""

from __future__ import annotations

import functools
import inspect
import logging
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace as Parts
from typing import Any
from unittest.mock import patch

import gradio as gr
from gradio.processing_utils import encode_pil_to_bytes, hash_bytes
from PIL import Image

from metastyle_hub.app import texts
from metastyle_hub.app.files import ImageUpload, plain_name
from metastyle_hub.errors import ImageError, MetaStyleError

__all__ = [
    "LIVE",
    "PRIVATE",
    "WORK",
    "ImageInput",
    "ImageOutput",
    "ImagePairOutput",
    "Parts",
    "cached_file",
    "check_given",
    "friendly",
    "go_or_stop",
    "image_output",
    "pair_output",
    "style_list",
]

log = logging.getLogger(__name__)

# events of the page alone, not callable by programs
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
# while a slider is dragged: the last position is rendered, those before it may be skipped
LIVE: dict[str, Any] = {"trigger_mode": "always_last", "concurrency_id": "live", "concurrency_limit": 2}
# one at a time, as each of these takes the whole machine
WORK: dict[str, Any] = {"concurrency_id": "work", "concurrency_limit": 1}

_IMAGE_BUTTONS: list[Any] = ["download", "fullscreen"]


def friendly(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap an action: a mistake of the visitor becomes one sentence, any other failure is logged."""

    def shown(error: Exception) -> gr.Error:
        if isinstance(error, gr.Error):
            return error
        if isinstance(error, MetaStyleError):
            return gr.Error(str(error), print_exception=False)
        log.exception("An action failed.", exc_info=error)
        return gr.Error(texts.UNEXPECTED, print_exception=False)

    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def stream(*args: Any, **kwargs: Any) -> Iterator[Any]:
            try:
                yield from function(*args, **kwargs)
            except Exception as error:
                raise shown(error) from None

        return stream

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            raise shown(error) from None

    return call


def check_given(content: ImageUpload | None, style_image: ImageUpload | None = None, *, both: bool = False) -> None:
    """Ask for the images that an action needs."""
    if content is None:
        raise gr.Error(texts.NO_CONTENT, print_exception=False)
    if both and style_image is None:
        raise gr.Error(texts.NO_STYLE, print_exception=False)


def cached_file(image: Any, cache: str, format: str) -> Any:
    """Return the file of a PIL image in Gradio's cache, written once and whole; anything else unchanged.

    Gradio names the file of an image after its content and writes it again each time the image is shown, while the
    browser may be reading it: an image beside its versions arrives cut off while a slider is dragged.
    """
    if not isinstance(image, Image.Image):
        return image
    data = encode_pil_to_bytes(image, format)
    file = Path(cache) / hash_bytes(data) / f"image.{format}"
    if file.exists():
        os.utime(file)  # old files are deleted by age
        return str(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{secrets.token_hex(8)}.tmp")
    temporary.write_bytes(data)
    temporary.replace(file)
    return str(file)


# Gradio writes a stub file beside every module that defines a component; type checkers would read it instead of this
with patch("gradio.component_meta.create_or_modify_pyi"):

    class ImageInput(gr.Image):
        """An image input that decodes as the library does: upright, 16 bits scaled, too large images refused.

        Functions get an `ImageUpload`. A file that cannot be used is one sentence.
        """

        def get_block_name(self) -> str:
            """Return the name of the stock front end."""
            return "image"

        def preprocess(self, payload: Any) -> Any:
            """Check the file, and return it as an `ImageUpload`."""
            if payload is None or not payload.path:
                return None
            path = Path(payload.path)
            upload = ImageUpload(path, plain_name(Path(payload.orig_name or path.name).stem))
            try:
                upload.view()
            except ImageError as error:
                raise gr.Error(str(error), print_exception=False) from None
            except OSError:
                raise gr.Error(texts.GONE.format(name=path.name), print_exception=False) from None
            return upload

        def check_on_upload(self) -> None:
            """Refuse a bad file when it arrives, not when it is first used."""
            self.upload(lambda image: None, self, None, show_progress="hidden", api_visibility="private")

    class ImageOutput(gr.Image):
        """An image output whose file is whole at any time, see `cached_file`."""

        def get_block_name(self) -> str:
            """Return the name of the stock front end."""
            return "image"

        def postprocess(self, value: Any) -> Any:
            """Write a PIL image to the cache."""
            return super().postprocess(cached_file(value, self.GRADIO_CACHE, self.format))

    class ImagePairOutput(gr.ImageSlider):
        """Two images with a divider between them, whose files are whole at any time."""

        def get_block_name(self) -> str:
            """Return the name of the stock front end."""
            return "imageslider"

        def postprocess(self, value: Any) -> Any:
            """Write PIL images to the cache."""
            pair = value and tuple(cached_file(each, self.GRADIO_CACHE, self.format) for each in value)
            return super().postprocess(pair)


def image_output(
    label: str, alt: str, elem_id: str, value: str | None = None, *, format: str = "jpeg", **options: Any
) -> gr.Image:
    """Return an image that the page shows, to enlarge and to download."""
    return ImageOutput(
        value,
        label=label,
        alt_text=alt,
        format=format,
        interactive=False,
        buttons=_IMAGE_BUTTONS,
        elem_id=elem_id,
        **options,
    )


def pair_output(label: str, elem_id: str, divider_id: str, **options: Any) -> gr.ImageSlider:
    """Return two images with a divider, and below it a slider that moves it: the keyboard cannot reach the divider."""
    pair = ImagePairOutput(
        label=label, format="jpeg", interactive=False, buttons=_IMAGE_BUTTONS, elem_id=elem_id, **options
    )
    divider = gr.Slider(0, 100, 50, step=1, label=texts.DIVIDER, buttons=[], elem_id=divider_id, elem_classes="divider")
    divider.input(lambda at: gr.ImageSlider(slider_position=at), divider, pair, queue=False, **PRIVATE)
    return pair


def go_or_stop(*, running: bool) -> tuple[gr.Button, gr.Button]:
    """Return updates of a start button and a stop button, of which one is visible."""
    return gr.Button(visible=not running), gr.Button(visible=running)


def style_list(label: str, elem_id: str, choices: list[str], value: str | None) -> gr.Dropdown:
    """Return a list of styles. Any text is accepted: the session's own styles are not in the initial choices."""
    return gr.Dropdown(choices, value=value, label=label, allow_custom_value=True, elem_id=elem_id, min_width=140)
