"""The third tab: everything between two styles, or four."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from metastyle_hub.app import html
import gradio as gr
from metastyle_hub.app import mixing
from metastyle_hub.app import texts
from metastyle_hub.app.studio import QUICK_STEPS, Studio
from metastyle_hub.app.components import LIVE, WORK, Parts, friendly, needed, picture_shown, style_list
from metastyle_hub.app.session import Session


def mix_tab(studio: Studio, visit: gr.State, adapt: Parts, tab: gr.Tab) -> Parts:
    gr.Markdown(texts.MIX_INTRO)
    names = list(studio.gallery)
    with gr.Row(visible=not names, elem_id="mix-empty") as empty:
        hint = gr.Markdown(texts.MIX_EMPTY, elem_id="mix-hint")
        quick = gr.Button(texts.MIX_LEARN, variant="primary", elem_id="quick", min_width=200)
    with gr.Row():
        first = style_list(texts.FIRST, "first", names, names[0] if names else None)
        second = style_list(texts.SECOND, "second", names, names[1] if names[1:] else None)
    with gr.Row(elem_classes="columns"):
        with gr.Column(scale=6, min_width=320):
            mixed = picture_shown(texts.MIXED, texts.MIXED_ALT, "mixed", height=420)
        with gr.Column(scale=4, min_width=300, elem_classes="controls"):
            share = gr.Slider(
                0, 1, 0.5, step=0.01, label=texts.SHARE, info=texts.SHARE_INFO, buttons=[], elem_id="share"
            )
            status = gr.Markdown(elem_id="mix-status")
            with gr.Row():
                make_strip = gr.Button(texts.STRIP_GO, size="md", min_width=150, elem_id="make-strip")
                make_sweep = gr.Button(texts.SWEEP_GO, size="md", min_width=150, elem_id="make-sweep")
                keep = gr.Button(texts.KEEP_MIX, size="md", min_width=150, elem_id="keep-mix")
                save = gr.Button(texts.SAVE_PICTURE, size="md", min_width=150, elem_id="save-mix")
            saved = gr.File(label=texts.FILE, visible=False, interactive=False, elem_id="mix-file")
            sweep = picture_shown(
                texts.SWEEP, texts.SWEEP_ALT, "sweep", format="webp", type="filepath", visible=False, height=220
            )
    strip = gr.HTML(
        html.strip([], texts.STRIP_TITLE, texts.STRIP_EMPTY), js_on_load=html.PRESS, elem_id="blends"
    )
    with gr.Accordion(texts.GRID_TITLE, open=False, elem_id="grid-group"):
        with gr.Row():
            start = [*names[:4], *(None,) * 4][:4]
            corners = [style_list(label, f"corner-{i}", names, start[i]) for i, label in enumerate(texts.CORNERS)]
        make_grid = gr.Button(texts.GRID_GO, elem_id="make-grid")
        grid = picture_shown(texts.GRID, texts.GRID_ALT, "grid")

    @friendly
    def mix(photo: Any, first: str, second: str, share: float, visit: Any) -> tuple[Any, str, Session]:
        """A photo in the mix of two styles: names of this session's styles, or user/repo on the Hub."""
        needed(photo)
        visit = visit or Session()
        if not first or not second:
            return None, texts.CHOOSE_TWO, visit
        picture = mixing.mixed(studio, first, second, share, photo, visit)
        return picture, texts.MIX_READY.format(share=1 - share, first=first, rest=share, second=second), visit

    @friendly
    def mixed_file(photo: Any, first: str, second: str, share: float, visit: Any) -> Any:
        """A photo in the mix of two styles as a file, as large as it came."""
        needed(photo)
        mixed = mixing.mix(studio, first, second, share, visit or Session())
        return gr.File(str(studio.paint(photo, mixed, mixed.name)), visible=True)

    @friendly
    def blends(photo: Any, first: str, second: str, visit: Any) -> tuple[str, Session]:
        """Seven blends of two styles on a photo, as HTML with the pictures in it."""
        needed(photo)
        visit = visit or Session()
        return mixing.blends(studio, first, second, photo, visit), visit

    @friendly
    def animate(photo: Any, first: str, second: str, visit: Any) -> tuple[Any, Session]:
        """An animated WebP of a photo going from one style to the other and back."""
        needed(photo)
        visit = visit or Session()
        return gr.Image(str(mixing.sweep(studio, first, second, photo, visit)), visible=True), visit

    @friendly
    def paint_grid(photo: Any, a: str, b: str, c: str, d: str, visit: Any) -> tuple[Any, Session]:
        """A grid of blends with four styles in its corners."""
        needed(photo)
        visit = visit or Session()
        return mixing.grid(studio, [a, b, c, d], photo, visit), visit

    @friendly
    def keep_mix(first: str, second: str, share: float, visit: Any) -> tuple[str, Session]:
        """Keep the mix of two styles as a style of the session."""
        visit = visit or Session()
        return texts.KEPT_MIX.format(name=mixing.keep_mix(studio, first, second, share, visit)), visit

    @friendly
    def learn_two(visit: Any) -> Iterator[Any]:
        """Learn two of the example styles quickly, for the session."""
        visit = visit or Session()
        for name, index, seconds in studio.learn_quickly(visit):
            steps = {"index": index, "steps": QUICK_STEPS, "left": texts.duration(seconds)}
            yield texts.MIX_LEARNING.format(name=name, **steps), visit

    pair = [adapt.photo, first, second]
    learned = quick.click(
        learn_two, visit, [hint, visit], api_name="learn_two", show_progress="minimal", show_progress_on=[hint], **WORK
    )
    gr.on(
        [share.input, first.input, second.input, tab.select],
        mix,
        [*pair, share, visit],
        [mixed, status, visit],
        api_name="mix",
        show_progress="hidden",
        **LIVE,
    )
    save.click(mixed_file, [*pair, share, visit], saved, api_name="mixed_file", concurrency_limit=1)
    make_strip.click(blends, [*pair, visit], [strip, visit], api_name="blends")
    make_sweep.click(animate, [*pair, visit], [sweep, visit], api_name="sweep")
    make_grid.click(paint_grid, [adapt.photo, *corners, visit], [grid, visit], api_name="grid")
    kept = keep.click(keep_mix, [first, second, share, visit], [status, visit], api_name="keep_mix")
    return Parts(
        first=first,
        second=second,
        corners=corners,
        empty=empty,
        changed=[learned, kept],
        learned=learned,
        mix=(mix, [*pair, share, visit], [mixed, status, visit]),
    )
