"""The third tab: interpolation between two styles, or four."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from metastyle_hub.app import html, texts
from metastyle_hub.app.components import (
    LIVE,
    WORK,
    Parts,
    Updates,
    at_full_size,
    busy,
    check_given,
    done,
    fetching,
    friendly,
    image_output,
    look_controls,
    save_button,
    status_line,
    stop_button,
    style_list,
    waiting,
)
from metastyle_hub.app.files import plain_name, shrink
from metastyle_hub.app.gallery import opening_styles
from metastyle_hub.app.session import THUMBNAIL_SIZE, Session
from metastyle_hub.app.studio import EXAMPLE_STEPS, PREVIEW_SIZE, Look, Studio
from metastyle_hub.errors import SessionError
from metastyle_hub.images.grid import image_grid
from metastyle_hub.model import MetaStyle
from metastyle_hub.model import interpolate as interpolate_styles

__all__ = ["mix_tab", "mixed"]

_STRIP_LENGTH = 7  # images
_ANIMATION_FRAMES = 13  # from one style to the other
_FRAME_MILLISECONDS = 110
_GRID_SIZE = 4  # images a side


def mixed(studio: Studio, first: str | None, second: str | None, weight: float, session: Session) -> MetaStyle:
    """Return the interpolation of two styles; `weight` is that of the second."""
    if not first or not second:
        raise SessionError(texts.CHOOSE_TWO)
    return interpolate_styles([studio.style(first, session), studio.style(second, session)], [1 - weight, weight])


def mix_tab(studio: Studio, shared: Parts, revision: gr.State, tab: gr.Tab) -> Parts:
    """Lay out the tab and connect its events.

    Args:
        studio: does the work.
        shared: parts of the first tab.
        revision: changes when the styles of the session have changed.
        tab: that is opened.
    """
    parts = _layout(studio, shared.state)
    status, state, content = parts.status, shared.state, shared.content
    pair = [content, parts.first, parts.second]

    @friendly(status)
    def mix(content: Any, first: str, second: str, weight: float, *look_and_session: Any) -> Updates:
        check_given(content)
        *look, session = look_and_session
        yield from fetching(studio, (first, second), session, status)
        yield busy(status, texts.MIXING, short=True)
        for image in studio.views(mixed(studio, first, second, weight, session), content, Look(*look)):
            yield {parts.mix: image}
        yield done(status, texts.MIX_READY.format(share=1 - weight, first=first, rest=weight, second=second))

    def save(content: Any, first: str, second: str, weight: float, *look_and_session: Any) -> Iterator[Any]:
        *look, session = look_and_session
        style = mixed(studio, first, second, weight, session)
        return at_full_size(
            studio, content, lambda: studio.stylize_file(content, style, style.name, Look(*look)), session, status
        )

    def counted(images: Iterator[Image.Image], count: int, session: Session) -> Any:
        """Show how many images there are already; return them, or those so far if the visitor stops."""
        made: list[Image.Image] = []
        with studio.queue.ticket() as ticket:
            yield from waiting(ticket.wait(), session, status)
            started = time.monotonic()
            for image in images:
                made.append(image)
                yield busy(status, texts.MIX_COUNT.format(index=len(made), count=count), share=len(made) / count)
                ticket.update((count - len(made)) * (time.monotonic() - started) / len(made))
                if session.stopped:
                    break
        return made

    @friendly(status)
    def strip(content: Any, first: str, second: str, session: Any) -> Updates:
        check_given(content)
        view = shrink(content.view(), THUMBNAIL_SIZE + 32)
        weights = [round(i / (_STRIP_LENGTH - 1), 2) for i in range(_STRIP_LENGTH)]
        made = yield from counted(
            (mixed(studio, first, second, weight, session).stylize(view) for weight in weights), _STRIP_LENGTH, session
        )
        images = [
            html.StripImage(
                image,
                f"{weight:.0%}",
                texts.MIX_STRIP_ALT.format(rest=1 - weight, first=first, share=weight, second=second),
                weight,
            )
            for image, weight in zip(made, weights, strict=False)
        ]
        title = texts.MIX_STRIP_TITLE
        yield {parts.strip: html.strip(images, title, texts.MIX_STRIP_EMPTY, "weight"), **done(status, f"**{title}.**")}

    @friendly(status)
    def animation(content: Any, first: str, second: str, session: Any) -> Updates:
        check_given(content)
        view = shrink(content.view(), PREVIEW_SIZE)
        weights = [i / (_ANIMATION_FRAMES - 1) for i in range(_ANIMATION_FRAMES)]
        frames = yield from counted(
            (mixed(studio, first, second, weight, session).stylize(view) for weight in weights),
            _ANIMATION_FRAMES,
            session,
        )
        path = _write_animation(studio, frames, f"{content.name} from {first} to {second}")
        text = texts.ANIMATION_DONE.format(first=first, second=second)
        yield {parts.animation: gr.Image(str(path), visible=True), **done(status, text)}

    @friendly(status)
    def grid(content: Any, *corners_and_session: Any) -> Updates:
        check_given(content)
        *corners, session = corners_and_session
        view = shrink(content.view(), THUMBNAIL_SIZE)
        yield from fetching(studio, corners, session, status)
        styles, places = [studio.style(name, session) for name in corners], range(_GRID_SIZE)
        weights = [
            [(1 - u) * (1 - v), u * (1 - v), (1 - u) * v, u * v]
            for v, u in ((y / (_GRID_SIZE - 1), x / (_GRID_SIZE - 1)) for y in places for x in places)
        ]
        images = (interpolate_styles(styles, each).stylize(view) for each in weights)
        made = yield from counted(images, len(weights), session)
        rows = [made[i : i + _GRID_SIZE] for i in range(0, len(made), _GRID_SIZE)]
        yield {parts.grid: image_grid(rows, tile=THUMBNAIL_SIZE), **done(status, texts.GRID_DONE)}

    @friendly(status)
    def keep(first: str, second: str, weight: float, session: Any) -> dict[Any, Any]:
        style = mixed(studio, first, second, weight, session)
        name = session.add(plain_name(style.name), style, studio.reserved)
        return {**done(status, texts.KEPT_MIX.format(name=name)), revision: time.monotonic()}

    @friendly(status)
    def adapt_examples(session: Any) -> Updates:
        with studio.queue.ticket() as ticket:
            yield from waiting(ticket.wait(), session, status)
            for name, index, seconds in studio.adapt_examples(session):
                ticket.update(seconds)
                left = texts.left(seconds)
                text = texts.MIX_ADAPTING.format(name=name, index=index, steps=EXAMPLE_STEPS, left=left)
                yield busy(status, text, share=index / EXAMPLE_STEPS)
                if session.stopped:
                    break
        yield {**done(status, ""), revision: time.monotonic()}

    look = [parts.strength, parts.scale, parts.preserve_color]
    inputs = [*pair, parts.weight, *look, state]
    changes = [parts.weight, parts.first, parts.second, *look]
    gr.on([*(each.input for each in changes), tab.select], mix, inputs, [parts.mix, status], **LIVE)
    parts.examples.click(adapt_examples, state, [status, revision], **WORK)
    parts.make_strip.click(strip, [*pair, state], [parts.strip, status], **WORK)
    parts.animate.click(animation, [*pair, state], [parts.animation, status], **WORK)
    parts.make_grid.click(grid, [content, *parts.corners, state], [parts.grid, status], **WORK)
    parts.keep.click(keep, [parts.first, parts.second, parts.weight, state], [status, revision], **WORK)
    with parts.saves:
        save_button(texts.SAVE_FULL, "save-mix", save, inputs, status, min_width=150)
    return parts


def _write_animation(studio: Studio, frames: list[Image.Image], name: str) -> Path:
    """Write an animated WebP from the first frame to the last and back, in a loop."""
    frames = frames + frames[-2:0:-1]
    path = studio.downloads.new_file(name, ".webp")
    frames[0].save(
        path, save_all=True, append_images=frames[1:], duration=_FRAME_MILLISECONDS, loop=0, quality=80
    )  # fmt: skip
    return path


def _layout(studio: Studio, state: gr.State) -> Parts:
    parts, names = Parts(), list(studio.gallery)
    chosen = [*opening_styles(names), *(None,) * 4][:4]
    gr.Markdown(texts.MIX_INTRO)
    with gr.Row(visible=not names, elem_id="mix-empty") as parts.empty:
        gr.Markdown(texts.MIX_EMPTY, elem_id="mix-hint")
        parts.examples = gr.Button(texts.MIX_EXAMPLES, variant="primary", elem_id="adapt-examples", min_width=200)
    with gr.Row():
        parts.first = style_list(texts.FIRST, "first", names, chosen[0])
        parts.second = style_list(texts.SECOND, "second", names, chosen[1])
    with gr.Row(elem_classes="columns"):
        with gr.Column(scale=6, min_width=320):
            parts.mix = image_output(texts.MIX, texts.MIX_ALT, "mix", height=420)
            parts.status = status_line("mix-status")
            stop_button("mix-stop", state)
        with gr.Column(scale=4, min_width=300, elem_classes="controls"):
            parts.weight = gr.Slider(
                0, 1, 0.5, step=0.01, label=texts.WEIGHT, info=texts.WEIGHT_INFO, buttons=[], elem_id="weight"
            )
            parts.strength, parts.scale, parts.preserve_color = look_controls("mix-")
            with gr.Row() as parts.saves:
                parts.make_strip = gr.Button(texts.MIX_STRIP_GO, size="md", min_width=150, elem_id="make-strip")
                parts.animate = gr.Button(texts.ANIMATION_GO, size="md", min_width=150, elem_id="animate")
                parts.keep = gr.Button(texts.KEEP_MIX, size="md", min_width=150, elem_id="keep-mix")
            parts.animation = image_output(
                texts.ANIMATION, texts.ANIMATION_ALT, "animation", format="webp", type="filepath", visible=False,
                height=220,
            )  # fmt: skip
    empty = html.strip([], texts.MIX_STRIP_TITLE, texts.MIX_STRIP_EMPTY)
    parts.strip = gr.HTML(empty, js_on_load=html.MOVE_SLIDER_ON_CLICK, elem_id="mix-strip")
    with gr.Accordion(texts.GRID_TITLE, open=False, elem_id="grid-group"):
        with gr.Row():
            parts.corners = [
                style_list(label, f"corner-{i}", names, chosen[i]) for i, label in enumerate(texts.CORNERS)
            ]
        parts.make_grid = gr.Button(texts.GRID_GO, elem_id="make-grid")
        parts.grid = image_output(texts.GRID, texts.GRID_ALT, "grid")
    return parts
