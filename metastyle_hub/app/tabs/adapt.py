"""The first tab: learn a style, watch it, scrub back through it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from metastyle_hub.app import html
import gradio as gr
from metastyle_hub.app import texts
from metastyle_hub.app.studio import Studio
from metastyle_hub.app.components import LIVE, PRIVATE, WORK, Parts, friendly, go_or_stop, needed, pair_shown, picture_shown
from metastyle_hub.app.uploads import SafeImage
from metastyle_hub.app.session import MAX_STEPS, Job, Session, film_marks

from metastyle_hub import AdaptationConfig
from metastyle_hub.data.examples import example, example_photos, example_styles


def adapt_tab(studio: Studio, visit: gr.State) -> Parts:
    default = AdaptationConfig()
    with gr.Row(elem_classes="columns"):
        with gr.Column(scale=5, min_width=320):
            with gr.Row(elem_classes="pair"):
                photo = _picture_wanted("temple", texts.PHOTO, texts.PHOTO_ALT, "photo")
                style = _picture_wanted("stained_glass", texts.STYLE, texts.STYLE_ALT, "style")
            for target, pictures, label in (
                (photo, example_photos(), texts.PHOTO_EXAMPLES),
                (style, example_styles(), texts.STYLE_EXAMPLES),
            ):
                gr.Examples(
                    [[str(path)] for path in pictures.values()],
                    target,
                    label=label,
                    examples_per_page=20,
                    elem_id=f"{target.elem_id}-examples",
                    api_visibility="private",
                )
                target.check_at_once()
            go = gr.Button(texts.GO, variant="primary", size="lg", elem_id="go")
            stop = gr.Button(texts.STOP, variant="stop", size="lg", visible=False, elem_id="stop")
            steps = gr.Slider(
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
                moves = gr.Radio(
                    texts.MOVES_CHOICES,
                    value=default.parameters,
                    label=texts.TRAINABLE,
                    info=texts.MOVES_INFO,
                    elem_id="moves",
                )
        with gr.Column(scale=6, min_width=320):
            status = gr.Markdown(_ready(studio, default.steps, default.parameters), elem_id="status")
            preview = picture_shown(texts.PREVIEW, texts.PREVIEW_ALT, "preview", str(example("temple")), height=400)
            # takes the place of the live picture when the style is learned
            with gr.Column(visible=False, elem_id="result-group") as result_group:
                result = pair_shown(texts.RESULT, "result", "divider", type="pil", max_height=520)
            film = gr.HTML(
                html.strip([], texts.FILM_TITLE, texts.FILM_EMPTY), js_on_load=html.PRESS, elem_id="film"
            )
            with gr.Column(visible=False, elem_id="look-group") as look_group:
                caption = gr.Markdown(elem_id="caption")
                with gr.Row():
                    scrub = gr.Slider(
                        0,
                        MAX_STEPS,
                        0,
                        step=1,
                        label=texts.SCRUB,
                        info=texts.SCRUB_INFO,
                        buttons=[],
                        min_width=200,
                        elem_id="scrub",
                    )
                    strength = gr.Slider(
                        0,
                        1,
                        1,
                        step=0.05,
                        label=texts.STRENGTH,
                        info=texts.STRENGTH_INFO,
                        buttons=[],
                        min_width=200,
                        elem_id="strength",
                    )
                keep = gr.Checkbox(label=texts.KEEP_COLORS, info=texts.KEEP_COLORS_INFO, elem_id="keep")
                with gr.Row():
                    save_picture = gr.Button(texts.SAVE_PICTURE, size="md", min_width=130, elem_id="save-picture")
                    save_style = gr.Button(texts.SAVE_STYLE, size="md", min_width=130, elem_id="save-style")
                saved = gr.File(label=texts.FILE, visible=False, interactive=False, elem_id="saved")
            curve = gr.HTML(html.curve([], 0), elem_id="curve")

    @friendly
    def adapt(photo: Any, style: Any, steps: float, parameters: str, visit: Any) -> Iterator[Any]:
        """Learn the style of a picture and watch a photo change. Streams the photo at the current step, the status,
        the loss curve (SVG) and the film strip (HTML); the style then belongs to the session."""
        needed(photo, style, both=True)
        visit = visit or Session()
        run = studio.start(photo, style, steps, visit)
        yield run.view, texts.STARTING, html.curve([], run.steps), studio.film(run), visit
        told = 0.0
        for moment in studio.adapt(run, style, parameters, visit):
            # telling takes time from learning; nobody reads faster
            if moment.picture is None and time.monotonic() - told < 0.4:
                continue
            told = time.monotonic()
            line = texts.RUNNING.format(steps=run.steps, left=texts.duration(studio.left(run)), **_figures(moment))
            film = studio.film(run) if moment.index in film_marks(run.steps) else gr.skip()
            shown = moment.picture if moment.picture is not None else gr.skip()
            yield shown, line, html.curve(run.curve, run.steps), film, gr.skip()

    @friendly
    def look(step: float, strength: float, preserve_color: bool, visit: Any) -> tuple[Any, str]:
        """The photo before and after at a step of the session's adaptation, at some strength."""
        run, index, picture = studio.at_step(step, strength, preserve_color, visit or Session())
        return (run.view, picture), _caption(run, index, step, strength)

    def settle(visit: Any, strength: float, preserve_color: bool) -> Any:
        buttons = go_or_stop(running=False)
        run = visit.run if visit is not None else None
        if run is None or run.last is None:
            line = texts.STOPPED_EARLY if run is not None else gr.skip()
            return line, *(gr.skip(),) * 7, *buttons
        studio.finish(run, visit)
        index = run.last.index
        pair, caption = look(index, strength, preserve_color, visit)
        slider = gr.Slider(maximum=max(1, index), value=index)
        groups = gr.Image(visible=False), gr.Column(visible=True), gr.Column(visible=True)
        return _ended(run), *groups, pair, slider, caption, gr.File(visible=False), *buttons

    def begin() -> Any:
        live = gr.Image(visible=True), gr.Column(visible=False), gr.Column(visible=False)
        return *go_or_stop(running=True), *live

    def halt(visit: Any) -> None:
        # the cancelled generator closes at its next step; this makes sure that it does not take another
        if visit is not None and visit.run is not None:
            visit.run.stopped = True

    @friendly
    def picture(photo: Any, step: float, strength: float, preserve_color: bool, visit: Any) -> Any:
        """The photo in the session's style as a file, as large as it came."""
        needed(photo)
        return gr.File(str(studio.full_size(photo, step, strength, preserve_color, visit or Session())), visible=True)

    @friendly
    def style_zip(step: float, visit: Any) -> Any:
        """The style at a step of the session's adaptation as a .zip with config.json and model.safetensors."""
        return gr.File(str(studio.pack_step(step, visit or Session())), visible=True)

    groups = [preview, result_group, look_group]
    go.click(begin, None, [go, stop, *groups], queue=False, js=html.show("status"), **PRIVATE)
    running = go.click(
        adapt,
        [photo, style, steps, moves, visit],
        [preview, status, curve, film, visit],
        api_name="adapt",
        show_progress="minimal",
        show_progress_on=[status],
        **WORK,
    )
    settled = running.then(
        settle,
        [visit, strength, keep],
        [status, *groups, result, scrub, caption, saved, go, stop],
        **PRIVATE,
    )
    stop.click(halt, visit, None, cancels=[running], queue=False, **PRIVATE)
    gr.on(
        [scrub.input, strength.input, keep.input],
        look,
        [scrub, strength, keep, visit],
        [result, caption],
        api_name="look",
        show_progress="hidden",
        **LIVE,
    )
    gr.on(
        [steps.change, moves.change], lambda n, p: _ready(studio, n, p), [steps, moves], status, queue=False, **PRIVATE
    )
    save_picture.click(picture, [photo, scrub, strength, keep, visit], saved, api_name="picture", concurrency_limit=1)
    save_style.click(style_zip, [scrub, visit], saved, api_name="style_zip")
    return Parts(photo=photo, style=style, moves=moves, steps=steps, strength=strength, keep=keep, changed=[settled])


def _picture_wanted(name: str, label: str, alt: str, elem_id: str) -> SafeImage:
    """A place for a picture of the visitor's; an example stands there first, so that there is something to try."""
    with gr.Column(min_width=150):
        return SafeImage(str(example(name)), label=label, alt_text=alt, height=210, buttons=[], elem_id=elem_id)


def _ready(studio: Studio, steps: float, parameters: str) -> str:
    return texts.READY.format(estimate=studio.estimate(steps, parameters))


def _figures(moment: Any) -> dict[str, Any]:
    return {"index": moment.index, "loss": moment.loss, "content": moment.content, "style": moment.style}


def _caption(run: Job, index: int, step: float, strength: float) -> str:
    last = run.last.index if run.last is not None else index
    line = texts.SHOWN.format(name=run.name, index=index, last=last, strength=strength)
    return line + (texts.SHOWN_NEAREST if index != step else "")


def _ended(run: Job) -> str:
    assert run.last is not None
    if run.last.index == 0 and run.steps:
        return texts.STOPPED_EARLY
    if run.last.index < run.steps:
        return texts.STOPPED.format(index=run.last.index, name=run.name)
    return texts.DONE.format(name=run.name, seconds=texts.duration(run.seconds), **_figures(run.last))
