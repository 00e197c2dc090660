"""Videos for tests, written with PyAV alone."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest


def write_video(
    path: Path,
    images: list[np.ndarray],
    times: Sequence[float | Fraction] | None = None,
    audio: str | None = "aac",
    ticks: int = 1000,
) -> Path:
    """Write a lossless video of images (H, W, 3), with a tone as its audio.

    Args:
        path: the file.
        images: the frames.
        times: seconds at which they are shown; None for 10 frames per second.
        audio: the codec, or None for a video without audio.
        ticks: of the time base, per second.
    """
    av = pytest.importorskip("av", reason="PyAV is not installed: pip install '.[video]'")
    times = times or [Fraction(i, 10) for i in range(len(images))]
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=10, options={"crf": "0"})
        video.height, video.width = images[0].shape[:2]
        video.pix_fmt, video.codec_context.time_base = "yuv444p", Fraction(1, ticks)
        sound = container.add_stream(audio, rate=44100, layout="mono") if audio else None
        for image, time in zip(images, times, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round(ticks * time), Fraction(1, ticks)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if sound is not None:
            tone = np.sin(np.arange(44100 * len(images) // 10) / 20)[None].astype(np.float32)
            samples = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
            samples.sample_rate, samples.pts = 44100, 0
            container.mux(sound.encode(samples))
            container.mux(sound.encode(None))
    return path
