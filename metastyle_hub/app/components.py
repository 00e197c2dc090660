"""Parts that the tabs share: images, status, stop and save buttons, a list of styles, the queue, and error messages."""

from __future__ import annotations

import functools
import inspect
import logging
import os
import secrets
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from html import escape
from pathlib import Path
from types import SimpleNamespace as Parts
from typing import Any, TypeVar
from unittest.mock import patch

import gradio as gr
from gradio.processing_utils import encode_pil_to_bytes, hash_bytes
from PIL import Image

from metastyle_hub.app import html, texts
from metastyle_hub.app.files import ImageUpload, plain_name
from metastyle_hub.app.queue import Progress
from metastyle_hub.app.session import Session
from metastyle_hub.app.studio import Studio
from metastyle_hub.errors import MetaStyleError

__all__ = [
    "LIVE",
    "PRIVATE",
    "WORK",
    "ImageInput",
    "ImageOutput",
    "ImagePairOutput",
    "Parts",
    "Stopped",
    "Updates",
    "at_full_size",
    "busy",
    "cached_file",
    "check_given",
    "done",
    "fetching",
    "friendly",
    "image_output",
    "look_controls",
    "pair_output",
    "save_button",
    "sentence",
    "status_line",
    "stop_button",
    "style_list",
    "waiting",
]

log = logging.getLogger(__name__)

T = TypeVar("T")

# events of the page alone, not callable by programs
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
# while a slider is dragged: the last position is rendered, those before it may be skipped
LIVE: dict[str, Any] = {**PRIVATE, "trigger_mode": "always_last", "concurrency_id": "live", "concurrency_limit": 2}
# these wait in `Studio.queue`, not in Gradio's
WORK: dict[str, Any] = {**PRIVATE, "concurrency_limit": None}

Updates = Iterator[dict[Any, Any]]
"""What an action of the page yields: values by component."""

_IMAGE_BUTTONS: list[Any] = ["fullscreen"]


class Stopped(Exception):
    """The visitor stopped an action that leaves nothing behind."""


def sentence(error: Exception) -> str:
    """Return what a visitor or a program is told of an error; log what is not theirs to mend."""
    if isinstance(error, gr.Error):
        return str(error.message)
    if isinstance(error, MetaStyleError):
        return str(error)
    log.exception("An action failed.", exc_info=error)
    return texts.UNEXPECTED


def friendly(status: gr.HTML, *cleared: Any) -> Callable[[Callable[..., Any]], Callable[..., Updates]]:
    """Return a decorator for actions of the page: no error leaves them, and the status of the page tells how they end.

    Gradio runs nothing after a generator that raises, so what it left on the page would stay there. And it spoils the
    value of an image that a generator sets and then leaves as it is, if that image is an input: set it last.

    Args:
        status: shows the sentence of an error, which is also a toast.
        cleared: further components, which an error empties.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Updates]:
        @functools.wraps(function)
        def action(*args: Any, **kwargs: Any) -> Updates:
            yield {status: gr.skip()}  # without any, Gradio empties the outputs
            try:
                result = function(*args, **kwargs)
                if inspect.isgenerator(result):
                    yield from result
                else:
                    yield result
            except Stopped:
                yield {**done(status, texts.STOPPED_NOTHING), **dict.fromkeys(cleared)}
            except Exception as error:
                text = sentence(error)
                gr.Warning(escape(text, quote=False), title=texts.REFUSED)  # a toast is HTML
                yield {status: html.status(text, failed=True), **dict.fromkeys(cleared)}

        return action

    return decorate


def busy(status: gr.HTML, text: str, *, share: float | None = None, short: bool = False) -> dict[Any, Any]:
    """Return the update of a status while an action runs; see `html.status`."""
    return {status: html.status(text, busy=True, share=share, short=short)}


def done(status: gr.HTML, text: str) -> dict[Any, Any]:
    """Return the update of a status at the end of an action."""
    return {status: html.status(text)}


def fetching(studio: Studio, names: Iterable[str | None], session: Session, status: gr.HTML) -> Updates:
    """Download the styles that are neither built in nor in the session, and say so meanwhile."""
    for name in names:
        if name and "/" in name and name not in studio.names(session):
            yield busy(status, texts.FETCHING.format(name=name), short=True)
            studio.style(name, session)


def waiting(progress: Iterator[Progress], session: Session, status: gr.HTML) -> Updates:
    """Show the position in the queue, until the turn comes or the visitor stops the action.

    Raises:
        Stopped: by the visitor.
    """
    session.stopped = False
    for place in progress:
        if session.stopped:
            raise Stopped
        yield busy(status, texts.queued(place.position, place.seconds))


def at_full_size(
    studio: Studio, content: ImageUpload, write: Callable[[], T], session: Session, status: gr.HTML, files: int = 1
) -> Generator[Any, None, None]:
    """Write files at the full size of an image, in the queue; yield statuses, and at last what `write` returns.

    Raises:
        Stopped: by the visitor; see `WorkQueue.run`.
    """
    check_given(content)
    session.stopped = False
    yield busy(status, texts.FULL_SIZE)
    seconds = studio.file_seconds(content)
    with closing(studio.queue.run(write, seconds and files * seconds)) as steps:
        while True:
            try:
                place = next(steps)
            except StopIteration as end:
                yield end.value
                return
            if session.stopped:
                raise Stopped
            text = texts.time_left(texts.FULL_SIZE, place.seconds)
            if place.position:
                text = texts.queued(place.position, place.seconds)
            yield busy(status, text, share=place.share)


def status_line(elem_id: str, text: str = "") -> gr.HTML:
    """Return the place where an action tells what it does."""
    return gr.HTML(html.status(text), elem_id=elem_id, elem_classes="status-line")


def stop_button(elem_id: str, state: gr.State) -> gr.Button:
    """Return the stop button of a tab, which the page shows while the status of the tab is busy."""
    button = gr.Button(texts.STOP, variant="stop", elem_id=elem_id, elem_classes="stop")

    button.click(Session.stop, state, None, queue=False, **PRIVATE)
    return button


def look_controls(prefix: str = "") -> tuple[gr.Slider, gr.Slider, gr.Checkbox]:
    """Return the controls of how a style is used: strength, size of the strokes, color.

    Args:
        prefix: of the element ids, which are unique on a page.
    """
    narrow: dict[str, Any] = {"buttons": [], "min_width": 160}
    with gr.Row():
        strength = gr.Slider(
            0, 1, 1, step=0.05, label=texts.STRENGTH, info=texts.STRENGTH_INFO, elem_id=f"{prefix}strength", **narrow
        )
        scale = gr.Slider(
            1, 3, 1, step=0.25, label=texts.SCALE, info=texts.SCALE_INFO, elem_id=f"{prefix}scale", **narrow
        )
    preserve_color = gr.Checkbox(
        label=texts.PRESERVE_COLOR, info=texts.PRESERVE_COLOR_INFO, elem_id=f"{prefix}preserve-color"
    )
    return strength, scale, preserve_color


def save_button(
    label: str, elem_id: str, function: Callable[..., Any], inputs: list[Any], status: gr.HTML, **options: Any
) -> gr.Button:
    """Return a button that saves files of the visitor in one click.

    Args:
        label: of the button.
        elem_id: of the button.
        function: yields statuses as `Updates`, and at last the path of a file, or a list of paths.
        inputs: of the function.
        status: shows what it does.
        **options: of the button.
    """
    button = gr.Button(label, elem_id=elem_id, size="md", **options)
    file = gr.File(visible="hidden", interactive=False, file_count="multiple", elem_id=f"{elem_id}-file")

    @functools.wraps(function)
    def save(*args: Any) -> Updates:
        yield {**busy(status, texts.PREPARING), file: None}
        for each in function(*args):
            if isinstance(each, dict):
                yield each
            else:
                paths = [str(path) for path in (each if isinstance(each, list) else [each])]
                names = ", ".join(Path(path).name for path in paths)
                yield {**done(status, texts.SAVED.format(names=names)), file: paths}

    button.click(friendly(status, file)(save), inputs, [status, file], **WORK).then(
        None, file, None, js=html.SAVE, **PRIVATE
    )
    return button


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
            """Return the file as an `ImageUpload`. It is decoded by the actions, which say what is wrong with it."""
            if payload is None or not payload.path:
                return None
            path = Path(payload.path)
            return ImageUpload(path, plain_name(Path(payload.orig_name or path.name).stem))

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


def style_list(label: str, elem_id: str, choices: list[str], value: str | None) -> gr.Dropdown:
    """Return a list of styles. Any text is accepted: the session's own styles are not in the initial choices."""
    return gr.Dropdown(choices, value=value, label=label, allow_custom_value=True, elem_id=elem_id, min_width=140)
