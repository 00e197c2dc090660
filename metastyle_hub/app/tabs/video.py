"""The fourth tab: a video in one of the styles."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from metastyle_hub.app import texts
from metastyle_hub.app.components import (
    WORK,
    Parts,
    Updates,
    busy,
    done,
    fetching,
    friendly,
    image_output,
    save_button,
    status_line,
    stop_button,
    style_list,
    waiting,
)
from metastyle_hub.app.files import plain_name
from metastyle_hub.app.gallery import opening_styles
from metastyle_hub.app.session import Session
from metastyle_hub.app.studio import Studio
from metastyle_hub.errors import ImageError, SessionError, VideoError
from metastyle_hub.images.io import to_pil
from metastyle_hub.model import MetaStyle

__all__ = ["SIZES", "FrameEvent", "frame_events", "video_tab"]

log = logging.getLogger(__name__)

SIZES = (180, 240, 360, 480)  # pixels of the short side; a frame of 360 takes two cores a third of a second
_MAX_FRAMES = 240  # ten seconds of a usual video
_PREVIEW_SECONDS = 0.5  # between previews


@dataclass(frozen=True)
class FrameEvent:
    """A frame of a video, or the end."""

    index: int  # frames so far
    count: int  # of all frames that are stylized
    seconds: float  # so far
    preview: Image.Image | None = None  # now and then
    file: Path | None = None  # at the end


def frame_events(
    studio: Studio,
    source: Path,
    style: MetaStyle,
    name: str,
    strength: float,
    size: int,
    session: Session,
    scale: float = 1,
) -> Iterator[FrameEvent]:
    """Stylize a video, until its end or until the visitor stops it.

    Args:
        studio: gives the file to write.
        source: the video.
        style: its style.
        name: of the style, for the name of the file.
        strength: see `MetaStyle.stylize`.
        size: pixels of the short side.
        session: tells whether the visitor stops it.
        scale: of the strokes.

    Raises:
        SessionError: for a video that cannot be read or written; the message names no path.
    """
    target = studio.downloads.new_file(f"{plain_name(source.stem) or 'video'} in {name}", ".mp4")
    started = shown = time.monotonic()
    index = count = 0
    try:
        frames = style.stylize_video_iter(
            source, target, strength=strength, size=size, stroke_scale=scale, max_frames=_MAX_FRAMES
        )
        with closing(frames) as steps:  # type: ignore[type-var]  # a generator
            for step in steps:
                now, index, count = time.monotonic(), step.index, step.count or _MAX_FRAMES
                due = index in (1, count) or now - shown > _PREVIEW_SECONDS
                shown = now if due else shown
                yield FrameEvent(index, count, now - started, to_pil(step.image) if due else None)
                if session.stopped:
                    break
    except (VideoError, ImageError) as error:
        log.warning("A video failed: %s", error)
        # neither a path of this machine nor what it lacks is for a visitor
        is_ours = str(target) in str(error) or source.name not in str(error)
        text = texts.UNEXPECTED if is_ours else texts.NO_VIDEO_FILE.format(name=source.name)
        raise SessionError(text) from None
    if not index:
        raise SessionError(texts.NO_FRAMES)
    yield FrameEvent(index, count, time.monotonic() - started, file=target)


def video_tab(studio: Studio, state: gr.State) -> Parts:
    """Lay out the tab and connect its events."""
    gr.Markdown(texts.VIDEO_INTRO.format(most=_MAX_FRAMES))
    names = list(studio.gallery)
    with gr.Row(elem_classes="columns"):
        with gr.Column(min_width=300):
            source = gr.Video(label=texts.VIDEO, sources=["upload"], buttons=[], height=240, elem_id="video")
            style_names = style_list(texts.PICK, "video-style", names, next(iter(opening_styles(names)), None))
            with gr.Row():
                sizes = gr.Dropdown(
                    list(SIZES), value=SIZES[1], label=texts.VIDEO_SIZE, elem_id="video-size", min_width=140
                )
                narrow: dict[str, Any] = {"buttons": [], "min_width": 110}
                strengths = gr.Slider(0, 1, 1, step=0.05, label=texts.STRENGTH, elem_id="video-strength", **narrow)
                scales = gr.Slider(1, 3, 1, step=0.25, label=texts.SCALE, elem_id="video-scale", **narrow)
            go = gr.Button(texts.VIDEO_GO, variant="primary", elem_id="video-go", elem_classes="go")
        with gr.Column(min_width=300):
            preview = image_output(texts.PREVIEW, texts.VIDEO_PREVIEW_ALT, "video-preview", height=380)
            result = gr.Video(
                label=texts.VIDEO_RESULT,
                interactive=False,
                visible=False,
                height=380,
                autoplay=True,
                buttons=[],
                elem_id="video-result",
            )
            status = status_line("video-status")
            stop_button("video-stop", state)
            saves = gr.Row()

    @friendly(status)
    def stylize_video(
        video: str | None, style: str, size: float, strength: float, scale: float, session: Any
    ) -> Updates:
        if not video:
            raise SessionError(texts.NO_VIDEO)
        yield from fetching(studio, [style], session, status)
        chosen = studio.style(style, session)
        yield {preview: gr.Image(None, visible=True), result: gr.Video(visible=False)}
        with studio.queue.ticket() as ticket:
            yield from waiting(ticket.wait(), session, status)
            yield busy(status, texts.VIDEO_STARTING)
            for event in frame_events(studio, Path(video), chosen, style, strength, int(size), session, scale):
                index, count = event.index, event.count
                if event.file is not None:
                    text = texts.VIDEO_DONE.format(index=index, seconds=texts.duration(event.seconds))
                    yield {
                        preview: gr.Image(visible=False),
                        result: gr.Video(str(event.file), visible=True),
                        **done(status, text),
                    }
                elif event.preview is not None:
                    left = (count - index) * event.seconds / index
                    ticket.update(left)
                    line = texts.VIDEO_RUNNING.format(index=index, count=count, left=texts.duration(left))
                    yield {preview: event.preview, **busy(status, line, share=index / count)}

    def save(video: str | None) -> Iterator[Path]:
        if not video:
            raise SessionError(texts.NO_RESULT)
        yield Path(video)

    go.click(stylize_video, [source, style_names, sizes, strengths, scales, state], [preview, status, result], **WORK)
    with saves:
        save_button(texts.SAVE_VIDEO, "save-video", save, [result], status)
    return Parts(style=style_names)
