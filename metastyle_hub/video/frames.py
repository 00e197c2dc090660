"""What readers yield and writers take: frames, and packets of audio, with their times; PyAV and its errors."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from torch import Tensor

from metastyle_hub.errors import VideoError, first_line

__all__ = ["AudioPacket", "Frame", "cause_of", "pyav"]


@dataclass(frozen=True)
class Frame:
    """A frame of a video."""

    image: Tensor  # (1, 3, H, W) in [0, 1], upright, with square pixels
    start: Fraction  # seconds from the beginning; greater than that of the frame before
    duration: Fraction | None = None  # seconds, if the file states them
    alpha: Tensor | None = None  # (1, 1, H, W) in [0, 1] of an animation's frame that is not opaque


@dataclass(frozen=True)
class AudioPacket:
    """A packet of encoded audio."""

    packet: Any  # av.Packet
    track: int  # index into the audio streams of its source
    start: Fraction  # seconds from the beginning of the video


def pyav() -> Any:
    """Return the module `av`, which reads and writes videos.

    Raises:
        VideoError: if it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise VideoError(
            "Videos need PyAV, which is not installed; run pip install 'metastyle-hub[video]', or use animations "
            "(.gif, .webp), which do not need it."
        ) from error
    return av


def cause_of(error: Exception) -> str:
    """Return what an error of PyAV or the system means, without its number and file name."""
    return first_line(getattr(error, "strerror", None) or error)
