"""Stylization of a video, frame by frame: a stream of frames, and a file that appears whole at its end."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from metastyle_hub.config import Config, option
from metastyle_hub.errors import SettingError, VideoError
from metastyle_hub.images.transforms import resize_short_side
from metastyle_hub.video.reader import AudioPacket, Frame, VideoSource, open_video
from metastyle_hub.video.temporal import TemporalState, temporal_smoothing
from metastyle_hub.video.writer import VideoWriter, check_target

__all__ = ["VideoConfig", "VideoStep", "stylize_video"]


@dataclass(frozen=True)
class VideoConfig(Config):
    """Temporal smoothing and compression of a video. Measurements: docs/experiments.md."""

    motion_threshold: float = option(
        10.0, "8-bit levels of change from which on a region counts as moving; 0 disables smoothing", low=0, high=255
    )
    blend: float = option(0.9, "weight of the previous output where nothing changes", low=0, high=0.99)
    crf: int = option(18, "H.264 quality: 0 is lossless, 18 visually lossless, 28 small", low=0, high=51)


@dataclass(frozen=True)
class VideoStep:
    """A stylized frame."""

    index: int  # frames so far
    count: int | None  # of all frames, if the file states it
    image: Tensor  # (1, 3, H, W) in [0, 1], as written


def stylize_video(
    stylize_frame: Callable[[Tensor], Tensor],
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    config: VideoConfig | None = None,
    *,
    size: int | None = None,
    max_frames: int | None = None,
) -> Iterator[VideoStep]:
    """Stylize a video or an animation. The file appears when the stream ends or is closed, with the frames so far.

    Audio is copied. Memory is bounded for videos; all frames of an animation are kept until it is written.

    Args:
        stylize_frame: (1, 3, H, W) in [0, 1] -> the same.
        source: anything PyAV reads (the extra `video`), or .gif, .webp, .png.
        target: .mp4, .m4v, .mov, .mkv (H.264), or .gif, .webp, .png.
        config: temporal smoothing and compression.
        size: pixels of the short side; None for that of the source. A video loses the last line of an odd side.
        max_frames: stop after so many frames.

    Raises:
        VideoError: at once, if source or target cannot be used; while iterating, if the video is damaged.
        SettingError: for a size or number of frames below 1.

    Example::

        for step in stylize_video(style.stylize, "walk.mp4", "stylized.mp4"):
            print(step.index, step.count)
    """
    for name, value in (("size", size), ("max_frames", max_frames)):
        if value is not None and value < 1:
            raise SettingError(f"{name} must be at least 1, got {value}.")
    path = check_target(target)
    if path.exists() and Path(source).exists() and path.samefile(source):
        raise VideoError(f"{path} is the source itself; name another target.")
    return _stylize(stylize_frame, open_video(source), path, config or VideoConfig(), size, max_frames)


def _stylize(
    stylize_frame: Callable[[Tensor], Tensor],
    video: VideoSource,
    target: Path,
    config: VideoConfig,
    size: int | None,
    max_frames: int | None,
) -> Iterator[VideoStep]:
    writer, index = VideoWriter(target, video, config.crf), 0
    state: TemporalState | None = None
    count = video.count if max_frames is None or video.count is None else min(max_frames, video.count)
    threshold = config.motion_threshold / 255
    try:
        for part in video:
            if isinstance(part, AudioPacket):
                writer.mux_audio(part)
                continue
            if index == max_frames:
                break
            image = part.image if size is None else resize_short_side(part.image, size)
            state = temporal_smoothing(state, image, stylize_frame(image), threshold, config.blend)
            writer.add(Frame(state.output, part.start, part.duration))
            index += 1
            yield VideoStep(index, count, state.output)
    except (GeneratorExit, KeyboardInterrupt):
        writer.finish()  # the frames so far are worth keeping
        raise
    except BaseException:
        writer.discard()
        raise
    finally:
        video.close()
    if not writer.finish():
        raise VideoError(f"{video.name} has no frames; choose another video.")
