"""The first tab: adapt to a style, watch it, and go back through its steps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import gradio as gr

from metastyle_hub.adaptation import AdaptationConfig, AdaptationStep
from metastyle_hub.app import html, texts
from metastyle_hub.app.components import (
    LIVE,
    PRIVATE,
    WORK,
    ImageInput,
    Parts,
    check_given,
    friendly,
    go_or_stop,
    image_output,
    pair_output,
)
from metastyle_hub.app.session import MAX_STEPS, Job, Session, strip_steps
from metastyle_hub.app.studio import Studio
from metastyle_hub.data.examples import example, example_contents, example_styles

__all__ = ["adapt_tab"]

_STATUS_SECONDS = 0.4  # between updates of the status, which cost time


def adapt_tab(studio: Studio, session: gr.State) -> Parts:
    """Lay out the tab and connect its events."""
    parts = _layout(studio)
    _connect(studio, session, parts)
    return parts


def _layout(studio: Studio) -> Parts:
    default, parts = AdaptationConfig(), Parts()
    with gr.Row(elem_classes="columns"):
        with gr.Column(scale=5, min_width=320):
            with gr.Row(elem_classes="pair"):
                parts.content = _image_input("temple", texts.CONTENT, texts.CONTENT_ALT, "content")
                parts.style = _image_input("stained_glass", texts.STYLE, texts.STYLE_ALT, "style")
            for target, examples, label in (
                (parts.content, example_contents(), texts.CONTENT_EXAMPLES),
                (parts.style, example_styles(), texts.STYLE_EXAMPLES),
            ):
                gr.Examples(
                    [[str(path)] for path in examples.values()],
                    target,
                    label=label,
                    examples_per_page=20,
                    elem_id=f"{target.elem_id}-examples",
                    api_visibility="private",
                )
                target.check_on_upload()
            parts.go = gr.Button(texts.GO, variant="primary", size="lg", elem_id="go")
            parts.stop = gr.Button(texts.STOP, variant="stop", size="lg", visible=False, elem_id="stop")
            parts.steps = gr.Slider(
                0,
                MAX_STEPS,
                default.steps,
                step=1,
                label=texts.STEPS,
                info=texts.STEPS_INFO,
                elem_id="steps",
                buttons=[],
            )
            with gr.Accordion(texts.MORE, open=False, elem_id="more"):
                parts.trainable = gr.Radio(
                    texts.TRAINABLE_CHOICES,
                    value=default.trainable,
                    label=texts.TRAINABLE,
                    info=texts.TRAINABLE_INFO,
                    elem_id="trainable",
                )
        with gr.Column(scale=6, min_width=320):
            parts.status = gr.Markdown(_ready(studio, default.steps, default.trainable), elem_id="status")
            parts.preview = image_output(
                texts.PREVIEW, texts.PREVIEW_ALT, "preview", str(example("temple")), height=400
            )
            # replaces the preview at the end of the adaptation
            with gr.Column(visible=False, elem_id="result-group") as parts.result_group:
                parts.result = pair_output(texts.RESULT, "result", "divider", type="pil", max_height=520)
            empty = html.strip([], texts.STEP_STRIP_TITLE, texts.STEP_STRIP_EMPTY)
            parts.strip = gr.HTML(empty, js_on_load=html.MOVE_SLIDER_ON_CLICK, elem_id="step-strip")
            _layout_step(parts)
            parts.curve = gr.HTML(html.curve([], 0), elem_id="curve")
    return parts


def _layout_step(parts: Parts) -> None:
    """Lay out the controls of the result."""
    narrow: dict[str, Any] = {"buttons": [], "min_width": 200}
    with gr.Column(visible=False, elem_id="step-group") as parts.step_group:
        parts.caption = gr.Markdown(elem_id="caption")
        with gr.Row():
            parts.step = gr.Slider(
                0, MAX_STEPS, 0, step=1, label=texts.STEP, info=texts.STEP_INFO, elem_id="step", **narrow
            )
            parts.strength = gr.Slider(
                0, 1, 1, step=0.05, label=texts.STRENGTH, info=texts.STRENGTH_INFO, elem_id="strength", **narrow
            )
        parts.preserve_color = gr.Checkbox(
            label=texts.PRESERVE_COLOR, info=texts.PRESERVE_COLOR_INFO, elem_id="preserve-color"
        )
        with gr.Row():
            parts.save_image = gr.Button(texts.SAVE_IMAGE, size="md", min_width=130, elem_id="save-image")
            parts.save_style = gr.Button(texts.SAVE_STYLE, size="md", min_width=130, elem_id="save-style")
        parts.saved = gr.File(label=texts.FILE, visible=False, interactive=False, elem_id="saved")


def _connect(studio: Studio, state: gr.State, parts: Parts) -> None:
    @friendly
    def adapt(content_image: Any, style_image: Any, steps: float, trainable: str, session: Any) -> Iterator[Any]:
        """Adapt to the style of an image. Streams the stylized image, status, loss curve (SVG) and steps (HTML).

        The style is then one of the session.
        """
        check_given(content_image, style_image, both=True)
        session = session or Session()
        job = studio.start(content_image, style_image, steps, trainable, session)
        yield job.content, texts.STARTING, html.curve([], job.steps), studio.strip(job), session
        updated = 0.0
        for event in studio.adapt(job, style_image, session):
            if event.preview is None and time.monotonic() - updated < _STATUS_SECONDS:
                continue
            updated = time.monotonic()
            left = texts.duration(studio.seconds_left(job))
            status = texts.RUNNING.format(steps=job.steps, left=left, **_losses(event.step))
            strip = studio.strip(job) if event.index in strip_steps(job.steps) else gr.skip()
            preview = event.preview if event.preview is not None else gr.skip()
            yield preview, status, html.curve(job.curve, job.steps), strip, gr.skip()

    @friendly
    def show_step(step: float, strength: float, preserve_color: bool, session: Any) -> tuple[Any, str]:
        """Show the content image before and after, at a step of the session's adaptation and at some strength."""
        job, index, image = studio.at_step(step, strength, preserve_color, session or Session())
        return (job.content, image), _caption(job, index, step, strength)

    @friendly
    def image_file(content_image: Any, step: float, strength: float, preserve_color: bool, session: Any) -> Any:
        """Stylize an image at its full size with a step of the session's adaptation, as a file."""
        check_given(content_image)
        job = studio.job(session or Session())
        file = studio.stylize_file(content_image, job.style_at(step), job.name, strength, preserve_color)
        return gr.File(str(file), visible=True)

    @friendly
    def style_file(step: float, session: Any) -> Any:
        """Download the style at a step of the session's adaptation: a .zip with config.json and model.safetensors."""
        return gr.File(str(studio.pack_step(step, session or Session())), visible=True)

    def begin() -> Any:
        return *go_or_stop(running=True), gr.Image(visible=True), gr.Column(visible=False), gr.Column(visible=False)

    def stop_job(session: Any) -> None:
        # the cancelled generator closes at its next step; it must not take another
        if session is not None and session.job is not None:
            session.job.stopped = True

    def settle(session: Any, strength: float, preserve_color: bool) -> Any:
        """Replace the preview by the result, however the adaptation ended."""
        buttons = go_or_stop(running=False)
        job = session.job if session is not None else None
        if job is None or job.last is None:
            status = texts.STOPPED_EARLY if job is not None else gr.skip()
            return status, *(gr.skip(),) * 7, *buttons
        studio.finish(job, session)
        index = job.last.index
        pair, caption = show_step(index, strength, preserve_color, session)
        slider = gr.Slider(maximum=max(1, index), value=index)
        groups = gr.Image(visible=False), gr.Column(visible=True), gr.Column(visible=True)
        return _final_status(job), *groups, pair, slider, caption, gr.File(visible=False), *buttons

    groups = [parts.preview, parts.result_group, parts.step_group]
    controls = [parts.step, parts.strength, parts.preserve_color]
    parts.go.click(
        begin, None, [parts.go, parts.stop, *groups], queue=False, js=html.scroll_to("status"), **PRIVATE
    )  # fmt: skip
    running = parts.go.click(
        adapt,
        [parts.content, parts.style, parts.steps, parts.trainable, state],
        [parts.preview, parts.status, parts.curve, parts.strip, state],
        api_name="adapt",
        show_progress="minimal",
        show_progress_on=[parts.status],
        **WORK,
    )
    settled = running.then(
        settle,
        [state, parts.strength, parts.preserve_color],
        [parts.status, *groups, parts.result, parts.step, parts.caption, parts.saved, parts.go, parts.stop],
        **PRIVATE,
    )
    parts.stop.click(stop_job, state, None, cancels=[running], queue=False, **PRIVATE)
    gr.on(
        [control.input for control in controls],
        show_step,
        [*controls, state],
        [parts.result, parts.caption],
        api_name="show_step",
        show_progress="hidden",
        **LIVE,
    )
    gr.on(
        [parts.steps.change, parts.trainable.change],
        lambda steps, trainable: _ready(studio, steps, trainable),
        [parts.steps, parts.trainable],
        parts.status,
        queue=False,
        **PRIVATE,
    )
    parts.save_image.click(
        image_file, [parts.content, *controls, state], parts.saved, api_name="image_file", concurrency_limit=1
    )
    parts.save_style.click(style_file, [parts.step, state], parts.saved, api_name="style_file")
    parts.changed = [settled]


def _image_input(name: str, label: str, alt: str, elem_id: str) -> ImageInput:
    """Return an image input that holds an example at first, so that there is something to try."""
    with gr.Column(min_width=150):
        return ImageInput(str(example(name)), label=label, alt_text=alt, height=210, buttons=[], elem_id=elem_id)


def _ready(studio: Studio, steps: float, trainable: str) -> str:
    return texts.READY.format(estimate=studio.estimate(steps, trainable))


def _losses(step: AdaptationStep) -> dict[str, Any]:
    return {"index": step.index, "loss": step.loss, "content": step.content, "style": step.style}


def _caption(job: Job, index: int, step: float, strength: float) -> str:
    last = job.last.index if job.last is not None else index
    caption = texts.SHOWN.format(name=job.name, index=index, last=last, strength=strength)
    return caption + (texts.SHOWN_NEAREST if index != step else "")


def _final_status(job: Job) -> str:
    assert job.last is not None
    if job.last.index == 0 and job.steps:
        return texts.STOPPED_EARLY
    if job.last.index < job.steps:
        return texts.STOPPED.format(index=job.last.index, name=job.name)
    return texts.DONE.format(name=job.name, seconds=texts.duration(job.seconds), **_losses(job.last.step))
