"""Open videos and animations by their content: videos through PyAV, animations through Pillow."""

from __future__ import annotations

import contextlib
import os
import stat

from metastyle_hub.config import expanded
from metastyle_hub.errors import VideoError
from metastyle_hub.images.decoding import DEFAULT_LIMITS, ImageLimits, quoted
from metastyle_hub.video.animation import AnimationSource, is_animation
from metastyle_hub.video.demuxer import StreamSource
from metastyle_hub.video.frames import cause_of

__all__ = ["VideoSource", "is_pipe", "open_video"]

VideoSource = StreamSource | AnimationSource


def open_video(source: str | os.PathLike[str], limits: ImageLimits = DEFAULT_LIMITS) -> VideoSource:
    """Open a video or an animation. What it is, its content says, not its name.

    Args:
        source: anything PyAV reads (the extra `video`); an animated GIF, WebP, PNG or AVIF; or "-" for a video from
            the standard input, such as yuv4mpeg, Matroska or MPEG-TS.
        limits: for the pixels of a frame.

    Raises:
        VideoError: if the file does not exist or cannot be read.
        ImageError: for a damaged animation, or frames with too many pixels.

    >>> video = open_video("walk.mp4")
    >>> video.count, video.rate
    (12, Fraction(10, 1))
    """
    if is_pipe(source):
        return StreamSource(0, "the standard input", limits)
    path = expanded(source)
    try:
        if not path.is_file() and not stat.S_ISFIFO(path.stat().st_mode):
            raise VideoError(f"{quoted(path)} is not a file; name a video.")
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError as error:
        raise VideoError(f"There is no file {quoted(path)}; check its name.") from error
    except (OSError, ValueError) as error:  # no permission, too long a name, or a null byte in it
        raise VideoError(f"{quoted(path)} cannot be opened ({cause_of(error)}); check its name and rights.") from error
    try:
        head = b""
        with contextlib.suppress(OSError):  # a named pipe
            head = os.pread(descriptor, 64, 0)
        if is_animation(head):
            return AnimationSource(path, limits)
        return StreamSource(descriptor, quoted(path), limits)
    finally:
        os.close(descriptor)


def is_pipe(name: str | os.PathLike[str]) -> bool:
    """Return whether a name means the standard input or output.

    >>> is_pipe("-"), is_pipe("./-")
    (True, False)
    """
    return os.fspath(name) == "-"
