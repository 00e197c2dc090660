"""The fourth tab: a film in one of the styles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr
from metastyle_hub.app import texts
from metastyle_hub.app.studio import Studio
from metastyle_hub.app.components import PRIVATE, WORK, Parts, friendly, go_or_stop, picture_shown, style_list
from metastyle_hub.app.video import MOST_FRAMES, SIZES, shoot
from metastyle_hub.app.session import Session


def video_tab(studio: Studio, visit: gr.State) -> Parts:
    gr.Markdown(texts.VIDEO_INTRO.format(most=MOST_FRAMES))
    names = list(studio.gallery)
    with gr.Row(elem_classes="columns"):
        with gr.Column(min_width=300):
            film = gr.Video(label=texts.VIDEO, sources=["upload"], buttons=[], height=240, elem_id="video")
            style = style_list(texts.PICK, "video-style", names, names[0] if names else None)
            with gr.Row():
                size = gr.Dropdown(
                    list(SIZES), value=SIZES[1], label=texts.VIDEO_SIZE, elem_id="video-size", min_width=140
                )
                strength = gr.Slider(
                    0, 1, 1, step=0.05, label=texts.STRENGTH, buttons=[], min_width=140, elem_id="video-strength"
                )
            go = gr.Button(texts.VIDEO_GO, variant="primary", elem_id="video-go")
            stop = gr.Button(texts.STOP, variant="stop", elem_id="video-stop", visible=False)
            status = gr.Markdown(elem_id="video-status")
        with gr.Column(min_width=300):
            glance = picture_shown(texts.PREVIEW, texts.VIDEO_ALT, "video-glance", height=380)
            painted = gr.Video(
                label=texts.VIDEO_PAINTED,
                interactive=False,
                visible=False,
                height=380,
                autoplay=True,
                elem_id="painted",
            )

    @friendly
    def video(video: str | None, style: str, size: float, strength: float, visit: Any) -> Iterator[Any]:
        """A film in a style, with its sound. Streams the frame of the moment, the status, and the file at its end."""
        if not video:
            raise gr.Error(texts.NO_VIDEO, print_exception=False)
        visit = visit or Session()
        chosen = studio.style(style, visit)
        yield gr.Image(visible=True), texts.VIDEO_STARTING, gr.Video(visible=False), visit
        for index, count, seconds, picture, file in shoot(studio, video, chosen, style, strength, int(size), visit):
            if file is not None:
                line = texts.VIDEO_DONE.format(index=index, seconds=texts.duration(seconds))
                yield gr.Image(visible=False), line, gr.Video(str(file), visible=True), gr.skip()
            elif picture is not None:
                left = texts.duration((count - index) * seconds / index)
                yield picture, texts.VIDEO_RUNNING.format(index=index, count=count, left=left), gr.skip(), gr.skip()

    def halt(visit: Any) -> None:
        if visit is not None and visit.shooting is not None:
            visit.shooting.stopped = True

    go.click(lambda: go_or_stop(running=True), None, [go, stop], queue=False, **PRIVATE)
    running = go.click(
        video,
        [film, style, size, strength, visit],
        [glance, status, painted, visit],
        api_name="video",
        show_progress="minimal",
        show_progress_on=[status],
        **WORK,
    )
    running.then(lambda: go_or_stop(running=False), None, [go, stop], queue=False, **PRIVATE)
    # it ends by itself after the frame that is under way, and shows what there is
    stop.click(halt, visit, None, queue=False, **PRIVATE)
    return Parts(style=style)
