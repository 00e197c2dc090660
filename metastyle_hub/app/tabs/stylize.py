"""The first tab: a photo in a style, at once; every control applies to what is shown, and what is shown is saved."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from metastyle_hub.app import html, texts
from metastyle_hub.app.components import (
    LIVE,
    ImageInput,
    Parts,
    Updates,
    at_full_size,
    busy,
    check_given,
    done,
    friendly,
    look_controls,
    pair_output,
    save_button,
    status_line,
    stop_button,
)
from metastyle_hub.app.files import ImageUpload, plain_name, shrink
from metastyle_hub.app.gallery import opening_styles
from metastyle_hub.app.session import Session
from metastyle_hub.app.studio import Look, Studio
from metastyle_hub.app.tabs.adapt import adapt_parts, connect_adapt
from metastyle_hub.data.examples import example, example_contents, example_styles
from metastyle_hub.model import MetaStyle

__all__ = ["stylize_tab", "tiles"]

_CONTENT = "temple"  # of the first view
_TILE = 96  # pixels of the long side


def tiles(studio: Studio, session: Session, chosen: str | None) -> str:
    """Return the styles of the session and the built-in ones, to choose from, as HTML."""
    images = {name: studio.thumbnail(name, session) for name in reversed(session.styles)}
    style_images = {plain_name(name): path for name, path in example_styles().items()}
    for name in studio.gallery:
        path = style_images.get(name)
        images[name] = _small(path) if path is not None else studio.thumbnail(name, session)
    return html.tiles(images, texts.STYLES_TITLE, chosen)


def stylize_tab(studio: Studio, state: gr.State, revision: gr.State) -> Parts:
    """Lay out the tab and connect its events.

    Args:
        studio: does the work.
        state: the session.
        revision: changes when the styles of the session have changed.
    """
    parts = _layout(studio, state)
    _connect(studio, parts)
    connect_adapt(studio, revision, parts)
    return parts


def _layout(studio: Studio, state: gr.State) -> Parts:
    parts, name = Parts(state=state), next(iter(opening_styles(studio.gallery)), None)
    content = ImageUpload(example(_CONTENT), plain_name(_CONTENT))
    first = None
    if name is not None:
        first = content.view(), studio.view(studio.gallery[name], content)
    parts.current = gr.State(name)
    small: dict[str, Any] = {"height": 190, "min_width": 150, "buttons": [], "placeholder": texts.ADD_IMAGE}
    with gr.Row(elem_classes="columns"):
        with gr.Column(scale=5, min_width=320, elem_id="choices"):
            parts.styles = gr.HTML(
                tiles(studio, Session(), name), js_on_load=html.SUBMIT_ON_CLICK, elem_id="styles"
            )  # fmt: skip
            with gr.Row(elem_classes="pair", elem_id="images"):
                parts.content = ImageInput(
                    str(content.path), label=texts.CONTENT, alt_text=texts.CONTENT_ALT, **small, elem_id="content"
                )
                parts.style = ImageInput(label=texts.STYLE, alt_text=texts.STYLE_ALT, **small, elem_id="style")
            contents = {plain_name(stem): _small(path) for stem, path in example_contents().items()}
            parts.photos = gr.HTML(
                html.tiles(contents, texts.CONTENT_EXAMPLES, content.name),
                js_on_load=html.SUBMIT_ON_CLICK,
                elem_id="photos",
            )
            adapt_parts(studio, parts)
        with gr.Column(scale=6, min_width=320, elem_id="shown"):
            with gr.Column(elem_id="view"):
                parts.result = pair_output(texts.RESULT, "result", "divider", value=first, type="pil", max_height=520)
                shown = texts.SHOWN.format(name=name, content=content.name) if name is not None else ""
                parts.status = status_line("status", shown)
                parts.stop = stop_button("stop", state)
                with gr.Row(elem_id="saves") as parts.saves:
                    pass
            with gr.Column(elem_id="look"):
                with gr.Column(visible=False) as parts.step_group:
                    parts.step = gr.Slider(
                        0, 1, 0, step=1, label=texts.STEP, info=texts.STEP_INFO, elem_id="step", buttons=[]
                    )
                parts.strength, parts.scale, parts.preserve_color = look_controls()
                parts.suffix = gr.Radio(texts.FORMATS, value=".jpg", label=texts.FORMAT, elem_id="format")
            with gr.Column(elem_id="history"):
                parts.strip = gr.HTML(js_on_load=html.MOVE_SLIDER_ON_CLICK, elem_id="step-strip")
                parts.curve = gr.HTML(elem_id="curve")
    return parts


def _connect(studio: Studio, parts: Parts) -> None:
    status, state = parts.status, parts.state
    look = [parts.strength, parts.scale, parts.preserve_color]
    controls = [parts.step, *look, state]
    inputs = [parts.content, parts.current, *controls]

    @friendly(status)
    def show(content: Any, name: str | None, step: float, *look_and_session: Any) -> Updates:
        check_given(content)
        look, session = _look(look_and_session)
        style = style_at(studio, name, step, session)
        yield busy(status, texts.STYLIZING.format(name=name), short=True)
        for image in studio.views(style, content, look):
            yield {parts.result: (content.view(), image)}
        caption = _caption(studio, content, str(name), step, session)
        caption += texts.SHOWN_WITH.format(strength=look.strength) if look.strength < 1 else ""
        yield {**done(status, caption), parts.step_group: gr.Column(visible=_is_job(name, session))}

    @friendly(status)
    def choose_photo(event: gr.EventData, name: Any, *controls: Any) -> Updates:
        photos = {plain_name(stem): path for stem, path in example_contents().items()}
        path = photos.get(str(event.name), example(_CONTENT))
        content = ImageUpload(path, plain_name(path.stem))
        yield from _with_last(show(content, name, *controls), {parts.content: str(path)})

    @friendly(status)
    def add_photo(content: Any, name: Any, *controls: Any) -> Updates:
        if content is None:
            return
        yield from show(content, name, *controls)
        if note := content.note():
            gr.Info(escape(note, quote=False))
        if (shown := content.web_file()) != content.path:
            yield {parts.content: str(shown)}

    @friendly(status)
    def choose(event: gr.EventData, content: Any, *controls: Any) -> Updates:
        name = str(event.name)
        yield {parts.current: name}
        yield from show(content, name, *controls)

    @friendly(status)
    def predict(style: Any, content: Any, *controls: Any) -> Updates:
        if style is None:
            return
        *_, session = controls
        yield busy(status, texts.PREDICTING, short=True)
        name = studio.predict(style, session)
        if name is None:
            yield done(status, texts.NO_PREDICTOR)
        else:
            yield {parts.current: name, parts.styles: tiles(studio, session, name)}
            yield from show(content, name, *controls)
        if (shown := style.web_file()) != style.path:
            yield {parts.style: str(shown)}

    shown = [parts.result, status, parts.step_group]
    gr.on([each.input for each in (parts.step, *look)], show, inputs, shown, **LIVE)
    parts.content.input(add_photo, inputs, [*shown, parts.content], **LIVE)
    parts.photos.submit(choose_photo, inputs[1:], [*shown, parts.content], **LIVE)
    parts.styles.submit(choose, [parts.content, *controls], [*shown, parts.current], **LIVE)
    predicted = [*shown, parts.style, parts.current, parts.styles]
    parts.style.input(predict, [parts.style, parts.content, *controls], predicted, **LIVE)
    parts.show, parts.inputs, parts.shown = show, inputs, shown

    def save(suffix: str, content: Any, name: Any, step: float, *look_and_session: Any) -> Any:
        check_given(content)
        look, session = _look(look_and_session)
        image = studio.view(style_at(studio, name, step, session), content, look)
        yield studio.downloads.save_image(image, f"{content.name or 'image'} in {name}", suffix)

    def save_full(suffix: str, content: Any, name: Any, step: float, *look_and_session: Any) -> Any:
        look, session = _look(look_and_session)
        style = style_at(studio, name, step, session)
        return at_full_size(
            studio,
            content,
            lambda: studio.stylize_file(content, style, str(name), look, suffix=suffix),
            session,
            status,
        )

    def save_style(name: Any, step: float, session: Any) -> Any:
        if _is_job(name, session):
            yield studio.pack_step(step, session)
        else:
            yield studio.downloads.save_style(studio.style(name, session), str(name))

    with parts.saves:
        chosen = [parts.suffix, *inputs]
        narrow = {"min_width": 120}
        save_button(texts.SAVE_IMAGE, "save-image", save, chosen, status, variant="primary", **narrow)
        save_button(texts.SAVE_FULL, "save-full", save_full, chosen, status, **narrow)
        save_button(texts.SAVE_STYLE, "save-style", save_style, [parts.current, parts.step, state], status, **narrow)


def _look(look_and_session: Sequence[Any]) -> tuple[Look, Session]:
    *look, session = look_and_session
    return Look(*look), session


def _with_last(steps: Updates, updates: dict[Any, Any]) -> Updates:
    """Add updates to the last ones; inputs that are images must be set there, see `friendly`."""
    held = next(steps)
    for each in steps:
        yield held
        held = each
    yield {**held, **updates}


def style_at(studio: Studio, name: str | None, step: float, session: Session) -> MetaStyle:
    """Return the style of a name; if it was adapted last, at a step."""
    if _is_job(name, session):
        return studio.job(session).style_at(step)
    return studio.style(name, session)


def _is_job(name: str | None, session: Session) -> bool:
    return session.job is not None and session.job.finished and session.job.name == name


def _caption(studio: Studio, content: ImageUpload, name: str, step: float, session: Session) -> str:
    if _is_job(name, session):
        job = studio.job(session)
        index, last = job.nearest_step(step), max(job.styles)
        return texts.SHOWN_STEP.format(name=name, content=content.name, index=index, last=last)
    predicted = name in session.drafts and name not in session.styles
    return (texts.SHOWN_PREDICTED if predicted else texts.SHOWN).format(name=name, content=content.name)


@lru_cache(maxsize=64)
def _small(path: Path) -> Image.Image:
    return shrink(Image.open(path), _TILE)
