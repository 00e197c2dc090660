"""The third tab: interpolation between two styles, or four."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from metastyle_hub.app import html, texts
from metastyle_hub.app.components import LIVE, WORK, Parts, check_given, friendly, image_output, style_list
from metastyle_hub.app.files import ImageUpload, plain_name, shrink
from metastyle_hub.app.session import THUMBNAIL_SIZE, Session
from metastyle_hub.app.studio import EXAMPLE_STEPS, PREVIEW_SIZE, Studio
from metastyle_hub.images.grid import image_grid
from metastyle_hub.model import MetaStyle
from metastyle_hub.model import interpolate as interpolate_styles

__all__ = ["STRIP_LENGTH", "mix_tab"]

STRIP_LENGTH = 7  # images
_ANIMATION_FRAMES = 13  # from one style to the other
_FRAME_MILLISECONDS = 110
_GRID_SIZE = 4  # images a side


def _mix(studio: Studio, first: str | None, second: str | None, weight: float, session: Session) -> MetaStyle:
    """Return the interpolation of two styles; `weight` is that of the second."""
    return interpolate_styles([studio.style(first, session), studio.style(second, session)], [1 - weight, weight])


def _strip(studio: Studio, first: str | None, second: str | None, content: ImageUpload, session: Session) -> str:
    """Return images from one style to the other, as HTML."""
    view, images = shrink(content.view(), THUMBNAIL_SIZE + 32), []
    for i in range(STRIP_LENGTH):
        weight = round(i / (STRIP_LENGTH - 1), 2)
        alt = texts.MIX_STRIP_ALT.format(rest=1 - weight, first=first, share=weight, second=second)
        image = _mix(studio, first, second, weight, session).stylize(view)
        images.append(html.StripImage(image, f"{weight:.0%}", alt, weight))
    return html.strip(images, texts.MIX_STRIP_TITLE, texts.MIX_STRIP_EMPTY, "weight")


def _animation(studio: Studio, first: str | None, second: str | None, content: ImageUpload, session: Session) -> Path:
    """Write an animated WebP from one style to the other and back, in a loop."""
    view = shrink(content.view(), PREVIEW_SIZE)
    weights = [i / (_ANIMATION_FRAMES - 1) for i in range(_ANIMATION_FRAMES)]
    frames = [_mix(studio, first, second, weight, session).stylize(view) for weight in weights]
    frames += frames[-2:0:-1]
    path = studio.downloads.new_file(f"from {first} to {second}", ".webp")
    frames[0].save(
        path, save_all=True, append_images=frames[1:], duration=_FRAME_MILLISECONDS, loop=0, quality=80
    )  # fmt: skip
    return path


def _grid(studio: Studio, corners: list[str | None], content: ImageUpload, session: Session) -> Image.Image:
    """Return a square of bilinear interpolations with four styles in its corners."""
    styles = [studio.style(name, session) for name in corners]
    view, rows = shrink(content.view(), THUMBNAIL_SIZE), []
    places = [i / (_GRID_SIZE - 1) for i in range(_GRID_SIZE)]
    for v in places:
        weights = [[(1 - u) * (1 - v), u * (1 - v), (1 - u) * v, u * v] for u in places]
        rows.append([interpolate_styles(styles, w).stylize(view) for w in weights])
    return image_grid(rows, tile=THUMBNAIL_SIZE)


def mix_tab(studio: Studio, state: gr.State, adapt: Parts, tab: gr.Tab) -> Parts:
    """Lay out the tab and connect its events."""
    parts = _layout(list(studio.gallery))

    @friendly
    def interpolate(
        content_image: Any, first: str, second: str, weight: float, session: Any
    ) -> tuple[Any, str, Session]:
        """Stylize an image with the interpolation of two styles: styles of the session, or user/repo on the Hub."""
        check_given(content_image)
        session = session or Session()
        if not first or not second:
            return None, texts.CHOOSE_TWO, session
        image = _mix(studio, first, second, weight, session).stylize(content_image.view())
        return image, texts.MIX_READY.format(share=1 - weight, first=first, rest=weight, second=second), session

    @friendly
    def interpolate_file(content_image: Any, first: str, second: str, weight: float, session: Any) -> Any:
        """Stylize an image at its full size with the interpolation of two styles, as a file."""
        check_given(content_image)
        style = _mix(studio, first, second, weight, session or Session())
        return gr.File(str(studio.stylize_file(content_image, style, style.name)), visible=True)

    @friendly
    def interpolation_strip(content_image: Any, first: str, second: str, session: Any) -> tuple[str, Session]:
        """Stylize an image with seven interpolations of two styles, as HTML with the images in it."""
        check_given(content_image)
        session = session or Session()
        return _strip(studio, first, second, content_image, session), session

    @friendly
    def interpolation_animation(content_image: Any, first: str, second: str, session: Any) -> tuple[Any, Session]:
        """Make an animated WebP of an image from one style to the other and back."""
        check_given(content_image)
        session = session or Session()
        return gr.Image(str(_animation(studio, first, second, content_image, session)), visible=True), session

    @friendly
    def interpolation_grid(
        content_image: Any, top_left: str, top_right: str, bottom_left: str, bottom_right: str, session: Any
    ) -> tuple[Any, Session]:
        """Make a grid of interpolations with four styles in its corners."""
        check_given(content_image)
        session = session or Session()
        return _grid(studio, [top_left, top_right, bottom_left, bottom_right], content_image, session), session

    @friendly
    def keep_interpolation(first: str, second: str, weight: float, session: Any) -> tuple[str, Session]:
        """Keep the interpolation of two styles as a style of the session."""
        session = session or Session()
        style = _mix(studio, first, second, weight, session)
        return texts.KEPT_MIX.format(name=session.add(plain_name(style.name), style, studio.gallery)), session

    @friendly
    def adapt_examples(session: Any) -> Iterator[Any]:
        """Adapt two of the example styles in few steps, for the session."""
        session = session or Session()
        for name, index, seconds in studio.adapt_examples(session):
            left = texts.duration(seconds)
            yield texts.MIX_ADAPTING.format(name=name, index=index, steps=EXAMPLE_STEPS, left=left), session

    pair = [adapt.content, parts.first, parts.second]
    inputs, outputs = [*pair, parts.weight, state], [parts.mix, parts.status, state]
    adapted = parts.examples.click(
        adapt_examples,
        state,
        [parts.hint, state],
        api_name="adapt_examples",
        show_progress="minimal",
        show_progress_on=[parts.hint],
        **WORK,
    )
    gr.on(
        [parts.weight.input, parts.first.input, parts.second.input, tab.select],
        interpolate,
        inputs,
        outputs,
        api_name="interpolate",
        show_progress="hidden",
        **LIVE,
    )
    parts.save.click(interpolate_file, inputs, parts.saved, api_name="interpolate_file", concurrency_limit=1)
    parts.make_strip.click(interpolation_strip, [*pair, state], [parts.strip, state], api_name="interpolation_strip")
    parts.animate.click(
        interpolation_animation, [*pair, state], [parts.animation, state], api_name="interpolation_animation"
    )
    parts.make_grid.click(
        interpolation_grid, [adapt.content, *parts.corners, state], [parts.grid, state], api_name="interpolation_grid"
    )
    kept = parts.keep.click(
        keep_interpolation,
        [parts.first, parts.second, parts.weight, state],
        [parts.status, state],
        api_name="keep_interpolation",
    )
    parts.changed, parts.adapted, parts.refresh = [adapted, kept], adapted, (interpolate, inputs, outputs)
    return parts


def _layout(names: list[str]) -> Parts:
    parts = Parts()
    gr.Markdown(texts.MIX_INTRO)
    with gr.Row(visible=not names, elem_id="mix-empty") as parts.empty:
        parts.hint = gr.Markdown(texts.MIX_EMPTY, elem_id="mix-hint")
        parts.examples = gr.Button(texts.MIX_EXAMPLES, variant="primary", elem_id="adapt-examples", min_width=200)
    with gr.Row():
        parts.first = style_list(texts.FIRST, "first", names, names[0] if names else None)
        parts.second = style_list(texts.SECOND, "second", names, names[1] if names[1:] else None)
    with gr.Row(elem_classes="columns"):
        with gr.Column(scale=6, min_width=320):
            parts.mix = image_output(texts.MIX, texts.MIX_ALT, "mix", height=420)
        with gr.Column(scale=4, min_width=300, elem_classes="controls"):
            parts.weight = gr.Slider(
                0, 1, 0.5, step=0.01, label=texts.WEIGHT, info=texts.WEIGHT_INFO, buttons=[], elem_id="weight"
            )
            parts.status = gr.Markdown(elem_id="mix-status")
            with gr.Row():
                parts.make_strip = gr.Button(texts.MIX_STRIP_GO, size="md", min_width=150, elem_id="make-strip")
                parts.animate = gr.Button(texts.ANIMATION_GO, size="md", min_width=150, elem_id="animate")
                parts.keep = gr.Button(texts.KEEP_MIX, size="md", min_width=150, elem_id="keep-mix")
                parts.save = gr.Button(texts.SAVE_IMAGE, size="md", min_width=150, elem_id="save-mix")
            parts.saved = gr.File(label=texts.FILE, visible=False, interactive=False, elem_id="mix-file")
            parts.animation = image_output(
                texts.ANIMATION, texts.ANIMATION_ALT, "animation", format="webp", type="filepath", visible=False,
                height=220,
            )  # fmt: skip
    empty = html.strip([], texts.MIX_STRIP_TITLE, texts.MIX_STRIP_EMPTY)
    parts.strip = gr.HTML(empty, js_on_load=html.MOVE_SLIDER_ON_CLICK, elem_id="mix-strip")
    with gr.Accordion(texts.GRID_TITLE, open=False, elem_id="grid-group"):
        with gr.Row():
            chosen = [*names[:4], *(None,) * 4][:4]
            parts.corners = [
                style_list(label, f"corner-{i}", names, chosen[i]) for i, label in enumerate(texts.CORNERS)
            ]
        parts.make_grid = gr.Button(texts.GRID_GO, elem_id="make-grid")
        parts.grid = image_output(texts.GRID, texts.GRID_ALT, "grid")
    return parts
