"""What the tabs share: how events are queued, how failures are told, pictures, buttons and a list of styles."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Iterator
from types import SimpleNamespace as Parts
from typing import Any

import gradio as gr
from metastyle_hub.app import texts
from metastyle_hub.app.uploads import Photo
from metastyle_hub.app.image_files import ShownImage, ShownPair

from metastyle_hub import MetaStyleError

__all__ = [
    "LIVE",
    "PRIVATE",
    "WORK",
    "Parts",
    "friendly",
    "go_or_stop",
    "needed",
    "pair_shown",
    "picture_shown",
    "style_list",
]

log = logging.getLogger(__name__)

# plumbing of the page, not callable by programs
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
# a slider being dragged: the last position is rendered, those in between may be left out
LIVE: dict[str, Any] = {"trigger_mode": "always_last", "concurrency_id": "look", "concurrency_limit": 2}
# one at a time, as each of these takes the whole machine
WORK: dict[str, Any] = {"concurrency_id": "learn", "concurrency_limit": 1}
PICTURE_BUTTONS: list[Any] = ["download", "fullscreen"]


def friendly(function: Callable[..., Any]) -> Callable[..., Any]:
    """What a visitor did wrong is told in a sentence; any other failure is logged, and apologised for."""

    def told(error: Exception) -> gr.Error:
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
                raise told(error) from None

        return stream

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            raise told(error) from None

    return call


def needed(photo: Photo | None, style: Photo | None = None, *, both: bool = False) -> None:
    """Ask for the pictures that an action cannot do without."""
    if photo is None:
        raise gr.Error(texts.NO_PHOTO, print_exception=False)
    if both and style is None:
        raise gr.Error(texts.NO_STYLE, print_exception=False)


def picture_shown(
    label: str, alt: str, elem_id: str, value: str | None = None, *, format: str = "jpeg", **settings: Any
) -> gr.Image:
    """A picture that the page shows: to look at, enlarge and download, not to change."""
    return ShownImage(
        value,
        label=label,
        alt_text=alt,
        format=format,
        interactive=False,
        buttons=PICTURE_BUTTONS,
        elem_id=elem_id,
        **settings,
    )


def pair_shown(label: str, elem_id: str, divider_id: str, **settings: Any) -> gr.ImageSlider:
    """Two pictures with a divider between them; below it stands the divider once more, as a slider for the keyboard,
    which cannot reach the handle in the picture."""
    pictures = ShownPair(
        label=label, format="jpeg", interactive=False, buttons=PICTURE_BUTTONS, elem_id=elem_id, **settings
    )
    divider = gr.Slider(0, 100, 50, step=1, label=texts.DIVIDER, buttons=[], elem_id=divider_id, elem_classes="divider")
    divider.input(lambda at: gr.ImageSlider(slider_position=at), divider, pictures, queue=False, **PRIVATE)
    return pictures


def go_or_stop(*, running: bool) -> tuple[gr.Button, gr.Button]:
    """The button that starts something and the one that stops it: only the one that can be pressed is shown."""
    return gr.Button(visible=not running), gr.Button(visible=running)


def style_list(label: str, elem_id: str, choices: list[str], value: str | None) -> gr.Dropdown:
    # a visitor's own styles are not among the choices that the page started with, so any word is let through here
    # and looked up in the visit
    return gr.Dropdown(choices, value=value, label=label, allow_custom_value=True, elem_id=elem_id, min_width=140)
