"""Stylization of a video, frame by frame: a stream of frames, and a file that appears whole at its end."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from metastyle_hub.config import Config, expanded, option
from metastyle_hub.errors import SettingError, VideoError
from metastyle_hub.images.decoding import quoted
from metastyle_hub.images.transforms import resize_short_side
from metastyle_hub.video.flow import has_optical_flow, warp_state
from metastyle_hub.video.frames import AudioPacket, Frame
from metastyle_hub.video.reader import VideoSource, is_pipe, open_video
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
    optical_flow: bool = option(True, "also smooth moving regions, along the optical flow (needs OpenCV)")
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

    Audio is copied, or encoded anew where the target cannot hold its codec. Memory is bounded for videos; all frames of
    an animation are kept until it is written.

    Args:
        stylize_frame: (1, 3, H, W) in [0, 1] -> the same.
        source: anything PyAV reads (the extra `video`), an animated GIF, WebP, PNG or AVIF; or "-", see `open_video`.
        target: .mp4, .m4v, .mov, .mkv (H.264), .gif, .webp, .png, .avif; or "-" for yuv4mpeg to the standard output.
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
    with contextlib.suppress(OSError):  # one of them does not exist
        if not is_pipe(source) and path.samefile(expanded(source)):
            raise VideoError(f"{quoted(path)} is the source itself; name another target.")
    return _stylize(stylize_frame, open_video(source), target, config or VideoConfig(), size, max_frames)


def _stylize(
    stylize_frame: Callable[[Tensor], Tensor],
    video: VideoSource,
    target: str | os.PathLike[str],
    config: VideoConfig,
    size: int | None,
    max_frames: int | None,
) -> Iterator[VideoStep]:
    writer, index = VideoWriter(target, video, config.crf), 0
    canvas: tuple[int, int] | None = None  # height and width of the first frame, and so of the output
    state: TemporalState | None = None
    count = video.count if max_frames is None or video.count is None else min(max_frames, video.count)
    threshold, follows = config.motion_threshold / 255, config.optical_flow and has_optical_flow()
    try:
        for part in video:
            if isinstance(part, AudioPacket):
                writer.mux_audio(part)
                continue
            image = part.image if size is None else resize_short_side(part.image, size)
            canvas = canvas or (image.shape[-2], image.shape[-1])
            image = _resize_to_fit(image, canvas)  # a broadcast may go on in another size
            alpha = None if part.alpha is None else _resize_to_fit(part.alpha, (image.shape[-2], image.shape[-1]))
            if state is not None and threshold and follows:
                state = warp_state(state, image)
            state = temporal_smoothing(state, image, stylize_frame(image), threshold, config.blend)
            output = _pad_to(state.output, canvas)
            writer.add(Frame(output, part.start, part.duration, None if alpha is None else _pad_to(alpha, canvas)))
            index += 1
            yield VideoStep(index, count, output)
            if index == max_frames:
                break
        if not writer.finish():
            raise VideoError(f"{video.name} has no frames; choose another video.")
    except (GeneratorExit, KeyboardInterrupt):
        writer.finish()  # the frames so far are worth keeping
        raise
    finally:
        writer.discard()
        video.close()


def _resize_to_fit(image: Tensor, canvas: tuple[int, int]) -> Tensor:
    """Resize (1, C, H, W) to the largest size within the canvas (height, width); the aspect ratio is kept."""
    height, width = image.shape[-2:]
    if (height, width) == canvas:
        return image
    scale = min(canvas[0] / height, canvas[1] / width)
    size = tuple(min(most, max(1, round(side * scale))) for side, most in zip((height, width), canvas, strict=True))
    return F.interpolate(image, size, mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)


def _pad_to(image: Tensor, canvas: tuple[int, int]) -> Tensor:
    """Center (1, C, H, W) on a black canvas (height, width)."""
    height, width = image.shape[-2:]
    if (height, width) == canvas:
        return image
    top, left = (canvas[0] - height) // 2, (canvas[1] - width) // 2
    return F.pad(image, (left, canvas[1] - width - left, top, canvas[0] - height - top))
