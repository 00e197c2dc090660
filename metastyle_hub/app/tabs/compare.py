"""The second tab: two versions of one image side by side, and pixel optimization as a baseline."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from metastyle_hub.app import texts
from metastyle_hub.app.components import (
    LIVE,
    PRIVATE,
    WORK,
    Parts,
    check_given,
    friendly,
    go_or_stop,
    image_output,
    pair_output,
    style_list,
)
from metastyle_hub.app.files import ImageUpload, shrink
from metastyle_hub.app.session import Session, strip_steps
from metastyle_hub.app.studio import Studio
from metastyle_hub.baselines import gatys
from metastyle_hub.images.io import to_pil, to_tensor
from metastyle_hub.images.transforms import resize_short_side
from metastyle_hub.losses import PerceptualLoss
from metastyle_hub.model import MetaStyle
from metastyle_hub.networks.feature_extractor import load_feature_extractor

__all__ = ["compare_tab", "entries", "entry", "entry_file", "pixel_optimization"]


def entries(studio: Studio, session: Session) -> list[str]:
    """Return the names of all versions that can be compared."""
    steps: list[str] = []
    if session.job is not None:
        kept = session.job.styles
        marks = [k for k in kept if k in strip_steps(session.job.steps) or k == max(kept)]
        steps = [texts.AT_STEP.format(name=session.job.name, index=k) for k in marks]
    return [texts.CONTENT, *studio.names(session), *steps, *session.optimized]


def entry(studio: Studio, name: str | None, content: ImageUpload, session: Session) -> Image.Image:
    """Return one version of an image: itself, in a style, in a style at a step, or a result of pixel optimization."""
    view = content.view()
    if name == texts.CONTENT:
        return view
    if name in session.optimized:
        return session.optimized[name].resize(view.size, Image.Resampling.LANCZOS)
    return _entry_style(studio, name, session).stylize(view)


def entry_file(studio: Studio, name: str | None, content: ImageUpload, session: Session) -> Path:
    """Write one version of an image to a file, at full size; a result of pixel optimization has its own."""
    if name == texts.CONTENT or name in session.optimized:
        image = content.load() if name == texts.CONTENT else session.optimized[str(name)]
        return studio.downloads.save_image(image, f"{content.name or 'image'} {name}")
    return studio.stylize_file(content, _entry_style(studio, name, session), str(name))


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
) -> Iterator[tuple[int, float, float, Image.Image]]:
    """Optimize pixels as Gatys et al. 2016: (iteration, seconds, loss, image) now and then; the last image is kept."""
    size, count = studio.config.style_size, int(iterations)
    started = shown = time.monotonic()
    content_tensor = resize_short_side(to_tensor(shrink(content.view(), round(1.5 * size))), size)  # (1, 3, H, W)
    style_tensor = resize_short_side(to_tensor(style.view()), size)
    # on the CPU: a GPU that is lent by the second is too expensive for this
    loss = PerceptualLoss(load_feature_extractor(studio.config.feature_extractor), studio.config.weights)
    config = gatys.GatysConfig(iterations=count)
    for step in gatys.optimize_pixels(loss, content_tensor, style_tensor, config):
        now = time.monotonic()
        if step.index in (0, count) or now - shown > 1:
            shown = now
            yield step.index, now - started, step.loss, to_pil(step.images)
    session.optimized = {texts.PIXELS_NAME.format(index=count): to_pil(step.images)}


def compare_tab(studio: Studio, state: gr.State, adapt: Parts, tab: gr.Tab) -> Parts:
    """Lay out the tab and connect its events."""
    gr.Markdown(texts.COMPARE_INTRO)
    with gr.Row():
        left_list = style_list(texts.LEFT, "left", [texts.CONTENT], texts.CONTENT)
        right_list = style_list(texts.RIGHT, "right", [texts.CONTENT, *studio.gallery], texts.CONTENT)
    pair = pair_output(texts.TAB_COMPARE, "compared", "compare-divider", max_height=600)
    with gr.Row(elem_id="compare-row"):
        caption = gr.Markdown(elem_id="compare-caption")
        save = gr.Button(texts.SAVE_BOTH, size="md", scale=0, min_width=220, elem_id="save-both")
    saved = gr.File(label=texts.FILE, visible=False, interactive=False, file_count="multiple", elem_id="compare-files")
    with gr.Accordion(texts.PIXELS_TITLE, open=False, elem_id="pixels-group"):
        gr.Markdown(texts.PIXELS_INTRO)
        with gr.Row():
            count = gr.Slider(10, 300, 60, step=10, label=texts.PIXELS_ITERATIONS, buttons=[], elem_id="iterations")
            with gr.Column(min_width=160):
                optimize = gr.Button(texts.PIXELS_GO, variant="primary", elem_id="optimize")
                stop = gr.Button(texts.STOP, variant="stop", elem_id="optimize-stop", visible=False)
        status = gr.Markdown(elem_id="pixels-status")
        pixels = image_output(texts.PIXELS, texts.PIXELS_ALT, "pixels", height=320)

    @friendly
    def compare(content_image: Any, left: str, right: str, session: Any) -> tuple[Any, str]:
        """Show two versions of an image: "Content image", a style of the session, or a user/repo on the Hub."""
        check_given(content_image)
        session = session or Session()
        shown = tuple(entry(studio, name, content_image, session) for name in (left, right))
        return shown, texts.COMPARE_CAPTION.format(left=left, right=right)

    @friendly
    def compare_files(content_image: Any, left: str, right: str, session: Any) -> Any:
        """Download both versions of an image at full size."""
        check_given(content_image)
        session = session or Session()
        files = [str(entry_file(studio, name, content_image, session)) for name in (left, right)]
        return gr.File(files, visible=True)

    @friendly
    def optimize_pixels(content_image: Any, style_image: Any, iterations: float, session: Any) -> Iterator[Any]:
        """Optimize the pixels of one image towards one style image (Gatys et al. 2016), streamed; slow."""
        check_given(content_image, style_image, both=True)
        session = session or Session()
        for index, seconds, loss, image in pixel_optimization(studio, content_image, style_image, iterations, session):
            line = texts.PIXELS_STATUS.format(
                index=index, iterations=int(iterations), seconds=texts.duration(seconds), loss=loss
            )
            yield image, line, session

    gr.on(
        [left_list.input, right_list.input, tab.select],
        compare,
        [adapt.content, left_list, right_list, state],
        [pair, caption],
        api_name="compare",
        show_progress="hidden",
        **LIVE,
    )
    save.click(
        compare_files,
        [adapt.content, left_list, right_list, state],
        saved,
        api_name="compare_files",
        concurrency_limit=1,
    )
    optimize.click(lambda: go_or_stop(running=True), None, [optimize, stop], queue=False, **PRIVATE)
    running = optimize.click(
        optimize_pixels,
        [adapt.content, adapt.style, count, state],
        [pixels, status, state],
        api_name="optimize_pixels",
        show_progress="minimal",
        show_progress_on=[status],
        **WORK,
    )
    ended = running.then(lambda: go_or_stop(running=False), None, [optimize, stop], queue=False, **PRIVATE)
    stop.click(None, None, None, cancels=[running], **PRIVATE)
    return Parts(left=left_list, right=right_list, changed=[*adapt.changed, ended])
