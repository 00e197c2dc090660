"""The endpoints of the app for programs and agents. Each is complete in itself: no call depends on one before.

An agent of the Model Context Protocol has no session of its own, as Gradio sends the calls of all agents through one
client. A style therefore goes from call to call as a file, and no endpoint has a `gr.State`. Each has one result, since
an agent that wants no progress gets several as one text.
"""

from __future__ import annotations

import functools
import inspect
import logging
import math
import re
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, get_type_hints
from unittest.mock import patch
from urllib.parse import unquote

import gradio as gr
from gradio.components.api_component import Api
from gradio.utils import get_function_description, get_upload_folder
from pydantic import Field, TypeAdapter, ValidationError

from metastyle_hub.adaptation import AdaptationConfig
from metastyle_hub.app import texts
from metastyle_hub.app.components import sentence
from metastyle_hub.app.files import MAX_PIXELS, ImageUpload, plain_name, unpack_images
from metastyle_hub.app.queue import Progress, Ticket
from metastyle_hub.app.session import MAX_STEPS, Session
from metastyle_hub.app.studio import Look, Studio
from metastyle_hub.app.tabs.video import SIZES, frame_events
from metastyle_hub.errors import SessionError
from metastyle_hub.model import MetaStyle
from metastyle_hub.model import interpolate as interpolate_styles
from metastyle_hub.networks.param_groups import TRAINABLE

__all__ = ["add_endpoints", "hide_page_events"]

S = TypeVar("S")
T = TypeVar("T")
File: TypeAlias = Path | None
Steps: TypeAlias = Annotated[int, Field(ge=0, le=MAX_STEPS)]
Trainable: TypeAlias = Literal[TRAINABLE]  # type: ignore[valid-type]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Size: TypeAlias = Annotated[int, Field(ge=0, le=20_000)]
VideoSize: TypeAlias = Literal[SIZES]  # type: ignore[valid-type]
Stream: TypeAlias = Iterator[str | None]
"""Nothing, twice a second, and at last the path of the result. A call that nobody waits for ends where it yields."""

log = logging.getLogger(__name__)

_DEFAULT = AdaptationConfig()
_MAX_CALLS = 8  # at once
_PROGRESS = gr.Progress()
_MARK = "is_endpoint"
_OWN_FILE = re.compile(r"^https?://[^/?#]+/gradio_api/file=([^?#]+)$")
_YIELD_SECONDS = 0.5


# Gradio writes a stub file beside every module that defines a component
with patch("gradio.component_meta.create_or_modify_pyi"):

    class Value(Api):
        """A parameter or a result that is no file. Its type is checked, and described to programs as a JSON schema."""

        def __init__(self, kind: Any, label: str, value: Any = None, about: str = "") -> None:
            self._adapter, default = TypeAdapter(kind), {} if value is None else {"default": value}
            super().__init__(value, {**self._adapter.json_schema(), **default, **_description(about)}, label)

        def get_block_name(self) -> str:
            """Return the name that the page knows."""
            return "api"

        def preprocess(self, payload: Any) -> Any:
            """Check a value."""
            try:
                return self._adapter.validate_python(payload)
            except ValidationError as error:
                reason = error.errors()[0]["msg"].lower()
                message = texts.WRONG_VALUE.format(
                    name=self.label, value=payload if len(str(payload)) < 40 else str(payload)[:40], reason=reason
                )
                raise gr.Error(message, print_exception=False) from None

    class FileValue(gr.File):
        """A file: an image, a video, or a .zip. Functions get its path."""

        def __init__(self, label: str, about: str, visible: bool = False) -> None:
            # Gradio tells the page the parameters that it finds in this signature
            self._about = about
            super().__init__(label=label, visible=visible)

        def api_info(self) -> dict[str, Any]:
            """Return the JSON schema."""
            return {**super().api_info(), **_description(self._about)}

        def get_block_name(self) -> str:
            """Return the name of the stock front end."""
            return "file"

        async def async_move_resource_to_block_cache(self, url_or_file_path: Any) -> str | None:
            """Return a file that is in the cache already, and download others."""
            address = str(url_or_file_path or "")
            try:
                return _own_file(address) or await super().async_move_resource_to_block_cache(url_or_file_path)
            except Exception as error:
                log.info("%s cannot be fetched: %s", address, error)
                message = texts.NO_DOWNLOAD.format(name=Path(address).name[:60])
                raise gr.Error(message, print_exception=False) from None

        def preprocess(self, payload: Any) -> Any:
            """Return the path."""
            return None if payload is None else Path(payload.path)


def _own_file(address: str) -> str | None:
    """Return the path of a file that this server has handed out under this address; None for any other address.

    Gradio refuses to fetch from an address of the same machine, where an agent may well be.

    Raises:
        SessionError: if the file has been deleted.
    """
    if (own := _OWN_FILE.search(address)) is None:
        return None
    path = Path(unquote(own[1])).resolve()
    if not path.is_relative_to(Path(get_upload_folder()).resolve()) or not path.is_file():
        raise SessionError(texts.GONE.format(name=path.name))
    return str(path)


def _description(about: str) -> dict[str, str]:
    """Return a description for a JSON schema: for agents, and for programs."""
    return {"description": about, "additional_description": about} if about else {}


def add_endpoints(studio: Studio) -> None:
    """Add all endpoints to the page that is being built. Do it first: two events cannot share a name."""
    endpoints = _Endpoints(studio)
    image, zipped = gr.Image(type="filepath", visible=False, label="image"), gr.File(visible=False, label="style")
    _add(endpoints.styles, Value(list[str], "names"))
    _add(endpoints.hub_styles, Value(list[dict[str, Any]], "styles"))
    _add(endpoints.adapt, zipped)
    _add(endpoints.interpolate, zipped)
    _add(endpoints.apply_style, image)
    _add(endpoints.apply_style_to_all, gr.File(visible=False, label="images"))
    _add(endpoints.stylize, image)
    _add(endpoints.stylize_video, gr.File(visible=False, label="video"))


def hide_page_events(page: gr.Blocks) -> None:
    """Make all events of the page private except the endpoints: they have a session, which agents would share."""
    for event in page.fns.values():
        if event.fn is not None and not hasattr(event.fn, _MARK):
            event.api_visibility = "private"


def _add(function: Callable[..., Any], output: Any) -> None:
    """Add an endpoint. Its parameters are typed by its signature, and described by its docstring."""
    hints, (_, about, _) = get_type_hints(function, include_extras=True), get_function_description(function)
    inputs: list[Any] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name == "progress":
            continue  # Gradio fills it in
        default = None if parameter.default is parameter.empty else parameter.default
        is_file = hints[name] == File
        inputs.append(FileValue(name, about[name]) if is_file else Value(hints[name], name, default, about[name]))
    # they wait in `Studio.queue`; more of them would hold the threads that visitors need
    limits: dict[str, Any] = {"concurrency_id": "programs", "concurrency_limit": _MAX_CALLS}
    gr.on([], _plain(function), inputs, output, api_name=function.__name__, show_progress="hidden", **limits)


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a mistake of the caller become one sentence, and mark the function as an endpoint."""

    @functools.wraps(function)
    def endpoint(*args: Any) -> Iterator[Any]:
        try:
            result = function(*args)
            if inspect.isgenerator(result):
                yield from result
            else:
                yield result
        except Exception as error:
            raise gr.Error(sentence(error), print_exception=False) from None

    setattr(endpoint, _MARK, True)
    return endpoint


class _Endpoints:
    """The functions of the endpoints. Their docstrings are what programs and agents read."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    def styles(self) -> list[str]:
        """List the built-in styles, which the parameter style of other tools accepts.

        Returns:
            names of styles
        """
        return list(self.studio.gallery)

    def hub_styles(self, search: str = "") -> list[dict[str, Any]]:
        """Search the Hugging Face Hub for styles that people shared. Other tools accept a repo_id as a style.

        Args:
            search: a part of the repo's name; empty for the most liked styles

        Returns:
            for each style its repo_id, name, author, likes, downloads and the address of a preview image
        """
        fields = ("repo_id", "name", "author", "likes", "downloads", "preview")
        found = self.studio.hub_styles(search)
        return [{name: getattr(style, name) for name in fields} for style in found]

    def adapt(
        self,
        style_image: File,
        style_image_2: File = None,
        style_image_3: File = None,
        style_image_4: File = None,
        steps: Steps = _DEFAULT.steps,
        trainable: Trainable = _DEFAULT.trainable,
        name: str = "",
        progress: gr.Progress = _PROGRESS,
    ) -> Stream:
        """Adapt to the style of an image, or of up to four images of one style. The result is a style for other tools.

        Args:
            style_image: the image whose style is used, such as a painting
            style_image_2: another image of the same style; may be left out
            style_image_3: another image of the same style; may be left out
            style_image_4: another image of the same style; may be left out
            steps: gradient steps, 0 to 200; 0 gives the predicted style at once
            trainable: norm (13 kB), decoder (0.4 MB) or all (7 MB): more parameters come closer to the style
            name: of the style; empty for that of the image file

        Returns:
            a .zip of the style, with config.json and model.safetensors
        """
        further = [path for path in (style_image_2, style_image_3, style_image_4) if path is not None]
        images = [_image(path, texts.NO_STYLE) for path in (style_image, *further)]
        style = yield from self._adapted(images, steps, trainable, progress)
        yield str(self.studio.downloads.save_style(style, plain_name(name) or style.name))

    def interpolate(
        self, first: str = "", second: str = "", weight: Share = 0.5, first_file: File = None, second_file: File = None
    ) -> str:
        """Mix two styles by interpolating their parameters. The result is a style for other tools.

        Args:
            first: a built-in style, a repo user/name on the Hugging Face Hub, or the address of a .zip of another tool
            second: another style
            weight: 0 (the first style) to 1 (the second)
            first_file: a .zip of a style, instead of first; may be left out
            second_file: a .zip of a style, instead of second; may be left out

        Returns:
            a .zip of the mix, with config.json and model.safetensors
        """
        styles = [self._style(first, first_file), self._style(second, second_file)]
        mix = interpolate_styles(styles, [1 - weight, weight])
        return str(self.studio.downloads.save_style(mix, plain_name(mix.name)))

    def apply_style(
        self,
        content_image: File,
        style: str = "",
        style_file: File = None,
        strength: Share = 1.0,
        preserve_color: bool = False,
        size: Size = 0,
        progress: gr.Progress = _PROGRESS,
    ) -> Stream:
        """Stylize an image in a style that exists already.

        Args:
            content_image: the image to stylize, such as a photo
            style: a built-in style, a repo user/name on the Hugging Face Hub, or the address of a .zip of another tool
            style_file: a .zip of a style, instead of style; may be left out
            strength: 0 (the content image) to 1 (the style)
            preserve_color: true to take only light and strokes from the style
            size: pixels of the long side of the result, at most; 0 for the size of the content image

        Returns:
            the stylized image, a JPEG
        """
        content, chosen = _content(content_image, size), self._style(style, style_file)
        yield from self._stylized(content, chosen, strength, preserve_color, size, progress)

    def apply_style_to_all(
        self,
        content_images: File,
        style: str = "",
        style_file: File = None,
        strength: Share = 1.0,
        preserve_color: bool = False,
        size: Size = 0,
        progress: gr.Progress = _PROGRESS,
    ) -> Stream:
        """Stylize all images of a .zip in a style that exists already.

        Args:
            content_images: a .zip of up to 100 images
            style: a built-in style, a repo user/name on the Hugging Face Hub, or the address of a .zip of another tool
            style_file: a .zip of a style, instead of style; may be left out
            strength: 0 (the content images) to 1 (the style)
            preserve_color: true to take only light and strokes from the style
            size: pixels of the long side of each result, at most; 0 for the size of the content image

        Returns:
            a .zip of the stylized images, with a notes.txt if files are no images or had to be shrunk
        """
        if content_images is None:
            raise SessionError(texts.NO_CONTENT)
        chosen = self._style(style, style_file)
        with tempfile.TemporaryDirectory() as folder, self.studio.queue.ticket() as ticket:
            contents = unpack_images(content_images, Path(folder))
            yield from _waiting(ticket, progress)
            look = Look(strength, preserve_color=preserve_color)
            steps = self.studio.stylize_all(contents, chosen, look, size or None)
            path = yield from _told(steps, lambda number: progress((number, len(contents)), unit=texts.IMAGES))
        yield str(path)

    def stylize(
        self,
        content_image: File,
        style_image: File,
        steps: Steps = _DEFAULT.steps,
        trainable: Trainable = _DEFAULT.trainable,
        strength: Share = 1.0,
        preserve_color: bool = False,
        size: Size = 0,
        progress: gr.Progress = _PROGRESS,
    ) -> Stream:
        """Stylize an image in the style of another image. It adapts to that style first, which takes a while.

        Args:
            content_image: the image to stylize, such as a photo
            style_image: the image whose style is used, such as a painting
            steps: gradient steps of the adaptation, 0 to 200; 0 gives the predicted style at once
            trainable: norm, decoder or all: more parameters come closer to the style
            strength: 0 (the content image) to 1 (the style)
            preserve_color: true to take only light and strokes from the style
            size: pixels of the long side of the result, at most; 0 for the size of the content image

        Returns:
            the stylized image, a JPEG
        """
        content = _content(content_image, size)
        style = yield from self._adapted([_image(style_image, texts.NO_STYLE)], steps, trainable, progress)
        yield from self._stylized(content, style, strength, preserve_color, size, progress)

    def stylize_video(
        self,
        video: File,
        style: str = "",
        style_file: File = None,
        short_side: VideoSize = SIZES[1],
        strength: Share = 1.0,
        progress: gr.Progress = _PROGRESS,
    ) -> Stream:
        """Stylize the beginning of a video, with its sound. It takes minutes.

        Args:
            video: the video, of which the first 240 frames are used
            style: a built-in style, a repo user/name on the Hugging Face Hub, or the address of a .zip of another tool
            style_file: a .zip of a style, instead of style; may be left out
            short_side: pixels of the short side of the result: 180, 240, 360 or 480
            strength: 0 (the video as it is) to 1 (the style)

        Returns:
            the stylized video, an MP4
        """
        if video is None:
            raise SessionError(texts.NO_VIDEO)
        chosen = self._style(style, style_file)
        events = frame_events(self.studio, video, chosen, chosen.name, strength, short_side, Session())
        with self.studio.queue.ticket() as ticket, closing(events):  # type: ignore[type-var]
            yield from _waiting(ticket, progress)
            for event in _now_and_then(events):
                progress((event.index, event.count), unit=texts.FRAMES)
                yield None
        yield str(event.file)

    # ---- what they share

    def _style(self, name: str, file: File) -> MetaStyle:
        """Return a style by its name, its repo, the address of its .zip on this server, or its .zip."""
        if file is None and (own := _own_file(name)):
            file = Path(own)
        if file is not None:
            style = self.studio.unpack(file)
            return style.renamed(plain_name(style.name) or "style")
        if not name:
            raise SessionError(texts.NAME_STYLE)
        return self.studio.load(name)

    def _adapted(
        self, images: list[ImageUpload], steps: int, trainable: str, progress: gr.Progress
    ) -> Generator[None, None, MetaStyle]:
        """Adapt in the queue, and return the style."""
        studio = self.studio
        with studio.queue.ticket(studio.estimate(steps, trainable)) as ticket:
            yield from _waiting(ticket, progress)
            with closing(studio.adapt_alone(images, steps, trainable)) as events:
                for index, style in _now_and_then(events):  # noqa: B007  # it is returned
                    progress((index, steps), unit=texts.CURVE_STEPS)
                    yield None
        return style

    def _stylized(
        self,
        content: ImageUpload,
        style: MetaStyle,
        strength: float,
        preserve_color: bool,
        size: int,
        progress: gr.Progress,
    ) -> Stream:
        """Stylize in the queue, and yield the file at last."""
        look = Look(strength, preserve_color=preserve_color)
        steps = self.studio.queue.run(
            lambda: self.studio.stylize_file(content, style, style.name, look, size=size or None)
        )
        yield str((yield from _told(steps, lambda place: _tell(place, progress))))


def _image(path: File, missing: str) -> ImageUpload:
    """Return a file as an image."""
    if path is None:
        raise SessionError(missing)
    return ImageUpload(path, plain_name(path.stem))


def _content(path: File, size: int) -> ImageUpload:
    """Return a content image; one that cannot be stylized as large as it is must not come back smaller unasked."""
    content = _image(path, texts.NO_CONTENT)
    if not size and (pixels := math.prod(content.size())) > MAX_PIXELS:
        sizes = {"megapixels": pixels / 1e6, "most": MAX_PIXELS / 1e6}
        raise SessionError(texts.GIVE_SIZE.format(name=content.path.name, **sizes))
    return content


def _waiting(ticket: Ticket, progress: gr.Progress) -> Iterator[None]:
    """Wait in the queue."""
    for place in ticket.wait():
        _tell(place, progress)
        yield None


def _told(steps: Generator[S, None, T], tell: Callable[[S], None]) -> Generator[None, None, T]:
    """Tell the caller of every step; return the result of the steps."""
    with closing(steps):
        while True:
            try:
                tell(next(steps))
            except StopIteration as end:
                result: T = end.value
                return result
            yield None


def _tell(place: Progress, progress: gr.Progress) -> None:
    """Tell the caller where an action is."""
    progress(place.share, desc=texts.queued(place.position, place.seconds) if place.position else texts.WORKING)


def _now_and_then(events: Iterator[T]) -> Iterator[T]:
    """Leave out events that come too soon after another, except the last."""
    shown = time.monotonic()
    event = pending = None
    for event in events:
        pending = event
        if time.monotonic() - shown > _YIELD_SECONDS:
            shown, pending = time.monotonic(), None
            yield event
    if pending is not None:
        yield pending
