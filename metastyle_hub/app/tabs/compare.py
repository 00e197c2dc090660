"""The second tab: two pictures of one photo, and the slow classic."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr
from metastyle_hub.app import texts
from metastyle_hub.app.studio import Studio
from metastyle_hub.app.components import LIVE, PRIVATE, WORK, Parts, friendly, go_or_stop, needed, pair_shown, picture_shown, style_list
from metastyle_hub.app.session import Session


def compare_tab(studio: Studio, visit: gr.State, adapt: Parts, tab: gr.Tab) -> Parts:
    gr.Markdown(texts.COMPARE_INTRO)
    with gr.Row():
        first = style_list(texts.LEFT, "left", [texts.THE_PHOTO], texts.THE_PHOTO)
        second = style_list(texts.RIGHT, "right", [texts.THE_PHOTO, *studio.gallery], texts.THE_PHOTO)
    both = pair_shown(texts.TAB_COMPARE, "compared", "compare-divider", max_height=600)
    with gr.Row():
        caption = gr.Markdown(elem_id="compare-caption")
        save = gr.Button(texts.SAVE_BOTH, size="md", scale=0, min_width=220, elem_id="save-both")
    saved = gr.File(label=texts.FILE, visible=False, interactive=False, file_count="multiple", elem_id="compare-files")
    with gr.Accordion(texts.CLASSIC_TITLE, open=False, elem_id="classic"):
        gr.Markdown(texts.CLASSIC_INTRO)
        with gr.Row():
            iterations = gr.Slider(
                10, 300, 60, step=10, label=texts.CLASSIC_ITERATIONS, buttons=[], elem_id="iterations"
            )
            with gr.Column(min_width=160):
                optimise = gr.Button(texts.CLASSIC_GO, variant="primary", elem_id="optimise")
                stop = gr.Button(texts.STOP, variant="stop", elem_id="optimise-stop", visible=False)
        status = gr.Markdown(elem_id="classic-status")
        shown = picture_shown(texts.CLASSIC_PICTURE, texts.CLASSIC_ALT, "classic-picture", height=320)

    @friendly
    def compare(photo: Any, left: str, right: str, visit: Any) -> tuple[Any, str]:
        """Two pictures of a photo: each side is "The photo", a style of the session, or a user/repo on the Hub."""
        needed(photo)
        visit = visit or Session()
        pair = tuple(studio.entry(name, photo, visit) for name in (left, right))
        return pair, texts.COMPARE_ALT.format(left=left, right=right)

    @friendly
    def compared_files(photo: Any, left: str, right: str, visit: Any) -> Any:
        """Both sides as files, the photo's as large as it came."""
        needed(photo)
        visit = visit or Session()
        return gr.File([str(studio.entry_file(name, photo, visit)) for name in (left, right)], visible=True)

    @friendly
    def classic(photo: Any, style: Any, iterations: float, visit: Any) -> Iterator[Any]:
        """Gatys' pixel optimisation of one photo towards one style picture, streamed; slow."""
        needed(photo, style, both=True)
        visit = visit or Session()
        for index, seconds, loss, picture in studio.classic(photo, style, iterations, visit):
            line = texts.CLASSIC_STATUS.format(
                index=index, iterations=int(iterations), seconds=texts.duration(seconds), loss=loss
            )
            yield picture, line, visit

    gr.on(
        [first.input, second.input, tab.select],
        compare,
        [adapt.photo, first, second, visit],
        [both, caption],
        api_name="compare",
        show_progress="hidden",
        **LIVE,
    )
    save.click(
        compared_files,
        [adapt.photo, first, second, visit],
        saved,
        api_name="compared_files",
        concurrency_limit=1,
    )
    optimise.click(lambda: go_or_stop(running=True), None, [optimise, stop], queue=False, **PRIVATE)
    running = optimise.click(
        classic,
        [adapt.photo, adapt.style, iterations, visit],
        [shown, status, visit],
        api_name="classic",
        show_progress="minimal",
        show_progress_on=[status],
        **WORK,
    )
    ended = running.then(lambda: go_or_stop(running=False), None, [optimise, stop], queue=False, **PRIVATE)
    stop.click(None, None, None, cancels=[running], **PRIVATE)
    return Parts(left=first, right=second, changed=[*adapt.changed, ended])
