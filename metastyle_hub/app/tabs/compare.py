"""The second tab: two versions of one image side by side, and pixel optimization as a baseline."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from metastyle_hub.app import texts
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
    look_controls,
    pair_output,
    save_button,
    status_line,
    stop_button,
    style_list,
    waiting,
)
from metastyle_hub.app.files import ImageUpload, shrink
from metastyle_hub.app.gallery import opening_styles
from metastyle_hub.app.session import OptimizedImage, Session, strip_steps
from metastyle_hub.app.studio import Look, Studio
from metastyle_hub.baselines import gatys
from metastyle_hub.errors import SessionError
from metastyle_hub.images.grid import image_grid
from metastyle_hub.images.io import to_pil, to_tensor
from metastyle_hub.images.transforms import resize_short_side
from metastyle_hub.losses import PerceptualLoss
from metastyle_hub.model import MetaStyle
from metastyle_hub.networks.feature_extractor import load_feature_extractor

__all__ = ["GatysEvent", "compare_tab", "entries", "entry", "pixel_optimization"]


@dataclass(frozen=True)
class GatysEvent:
    """An iteration of pixel optimization."""

    index: int
    seconds: float  # so far
    loss: float
    image: Image.Image
    name: str  # under which the image is kept


def entries(studio: Studio, session: Session, content: ImageUpload | None = None) -> list[str]:
    """Return the names of all versions of an image that can be compared."""
    steps: list[str] = []
    if session.job is not None:
        kept = session.job.styles
        marks = [k for k in kept if k in strip_steps(session.job.steps) or k == max(kept)]
        steps = [texts.AT_STEP.format(name=session.job.name, index=k) for k in marks]
    optimized = [name for name, o in session.optimized.items() if content is not None and o.content == content.path]
    return [texts.CONTENT, *studio.names(session), *steps, *optimized]


def entry(studio: Studio, name: str | None, content: ImageUpload, session: Session, look: Look) -> Image.Image:
    """Return one version of an image: itself, in a style, in a style at a step, or a result of pixel optimization."""
    view = content.view()
    if name == texts.CONTENT:
        return view
    if name in session.optimized:
        return _optimized(name, content, session).resize(view.size, Image.Resampling.LANCZOS)
    return studio.view(_entry_style(studio, name, session), content, look)


def _entry_file(studio: Studio, name: str | None, content: ImageUpload, session: Session, look: Look) -> Path:
    """Write one version of an image to a file, at full size; a result of pixel optimization has its own."""
    if name == texts.CONTENT:
        return studio.downloads.save_image(content.load(), content.name or "image")
    if name in session.optimized:
        return studio.downloads.save_image(_optimized(name, content, session), str(name))
    style = _entry_style(studio, name, session)
    return studio.stylize_file(content, style, str(name), look)


def _optimized(name: str, content: ImageUpload, session: Session) -> Image.Image:
    found = session.optimized[name]
    if found.content != content.path:
        raise SessionError(texts.WRONG_CONTENT.format(name=name))
    return found.image


def _entry_style(studio: Studio, name: str | None, session: Session) -> MetaStyle:
    """Return a style, or that of a step of the job, by its name in the lists."""
    job = session.job
    if job is not None:
        for index, style in list(job.styles.items()):
            if name == texts.AT_STEP.format(name=job.name, index=index):
                return style
    return studio.style(name, session)


def pixel_optimization(
    studio: Studio, content: ImageUpload, style: ImageUpload, iterations: float, session: Session
) -> Iterator[GatysEvent]:
    """Optimize pixels as Gatys et al. 2016: an event now and then. The session keeps the last image."""
    size, count = studio.config.style_size, int(iterations)
    started = shown = time.monotonic()
    content_tensor = resize_short_side(to_tensor(shrink(content.view(), round(1.5 * size))), size)  # (1, 3, H, W)
    style_tensor = resize_short_side(to_tensor(style.view()), size)
    # on the CPU: a GPU that is lent by the second is too expensive for this
    loss = PerceptualLoss(load_feature_extractor(studio.config.feature_extractor), studio.config.weights)
    config = gatys.GatysConfig(iterations=count)
    for step in gatys.optimize_pixels(loss, content_tensor, style_tensor, config):
        now = time.monotonic()
        if step.index in (0, count) or now - shown > 1 or session.stopped:
            shown = now
            name = texts.PIXELS_NAME.format(content=content.name, style=style.name, index=step.index)
            image = to_pil(step.images)
            if step.index:
                session.optimized = {name: OptimizedImage(content.path, image)}
            yield GatysEvent(step.index, now - started, step.loss, image, name)
        if session.stopped:
            return


def compare_tab(studio: Studio, shared: Parts, tab: gr.Tab) -> Parts:
    """Lay out the tab and connect its events.

    Args:
        studio: does the work.
        shared: parts of the first tab.
        tab: that is opened.
    """
    state, content = shared.state, shared.content
    gr.Markdown(texts.COMPARE_INTRO)
    choices = [texts.CONTENT, *studio.gallery]
    left, right = [*opening_styles(studio.gallery), texts.CONTENT, texts.CONTENT][:2]
    with gr.Row():
        left_list = style_list(texts.LEFT, "left", choices, left)
        right_list = style_list(texts.RIGHT, "right", choices, right)
    pair = pair_output(texts.TAB_COMPARE, "compared", "compare-divider", max_height=600)
    status = status_line("compare-status")
    stop_button("compare-stop", state)
    look = look_controls("compare-")
    saves = gr.Row(elem_id="compare-row")
    with gr.Accordion(texts.PIXELS_TITLE, open=False, elem_id="pixels-group"):
        gr.Markdown(texts.PIXELS_INTRO)
        with gr.Row():
            count = gr.Slider(10, 300, 60, step=10, label=texts.PIXELS_ITERATIONS, buttons=[], elem_id="iterations")
            optimize = gr.Button(
                texts.PIXELS_GO, variant="primary", elem_id="optimize", elem_classes="go", min_width=160
            )

    @friendly(status)
    def compare(content: Any, left: str, right: str, *look_and_session: Any) -> Updates:
        check_given(content)
        *look, session = look_and_session
        known, wanted = entries(studio, session, content), [left, right]
        for i, name in enumerate(wanted):
            # a result of another content image
            if name in session.optimized and name not in known:
                wanted[i] = known[min(1 + i, len(known) - 1)]
                yield {(left_list, right_list)[i]: wanted[i]}
        yield from fetching(studio, wanted, session, status)
        yield busy(status, texts.COMPARING, short=True)
        shown = tuple(entry(studio, name, content, session, Look(*look)) for name in wanted)
        yield {pair: shown}
        yield done(status, texts.COMPARE_CAPTION.format(left=wanted[0], right=wanted[1]))

    def save_both(content: Any, left: str, right: str, *look_and_session: Any) -> Iterator[Any]:
        *look, session = look_and_session
        return at_full_size(
            studio,
            content,
            lambda: [_entry_file(studio, name, content, session, Look(*look)) for name in (left, right)],
            session,
            status,
            files=2,
        )

    def save_side_by_side(content: Any, left: str, right: str, *look_and_session: Any) -> Iterator[Any]:
        check_given(content)
        *look, session = look_and_session
        images = [entry(studio, name, content, session, Look(*look)) for name in (left, right)]
        side_by_side = image_grid([images], tile=max(images[0].size))
        yield studio.downloads.save_image(side_by_side, f"{content.name} {left} and {right}")

    @friendly(status)
    def optimize_pixels(content: Any, style: Any, iterations: float, session: Any) -> Updates:
        check_given(content, style, both=True)
        with studio.queue.ticket() as ticket:
            yield from waiting(ticket.wait(), session, status)
            yield busy(status, texts.PIXELS_STARTING)
            event = None
            for event in pixel_optimization(studio, content, style, iterations, session):
                left = (iterations - event.index) * event.seconds / event.index if event.index else None
                ticket.update(left)
                line = texts.PIXELS_STATUS.format(
                    index=event.index, iterations=int(iterations), left=texts.left(left), loss=event.loss
                )
                view = content.view()
                yield {
                    **busy(status, line, share=event.index / iterations),
                    pair: (view, event.image.resize(view.size, Image.Resampling.LANCZOS)),
                }
        if event is not None and event.index:
            choices = entries(studio, session, content)
            yield {
                left_list: gr.Dropdown(choices=choices, value=texts.CONTENT),
                right_list: gr.Dropdown(choices=choices, value=event.name),
                **done(status, texts.PIXELS_DONE.format(name=event.name, seconds=texts.duration(event.seconds))),
            }
        else:
            yield done(status, texts.STOPPED_NOTHING)

    inputs = [content, left_list, right_list, *look, state]
    outputs = [pair, status, left_list, right_list]
    changes = [each.input for each in (left_list, right_list, *look)]
    gr.on([*changes, tab.select], compare, inputs, outputs, **LIVE)
    with saves:
        save_button(texts.SAVE_SIDE_BY_SIDE, "save-side-by-side", save_side_by_side, inputs, status)
        save_button(texts.SAVE_BOTH, "save-both", save_both, inputs, status)
    optimize.click(optimize_pixels, [content, shared.style, count, state], outputs, **WORK)
    return Parts(left=left_list, right=right_list)
