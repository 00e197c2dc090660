"""Films for tests, written with PyAV alone."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest


def write_video(
    path: Path, pictures: list[np.ndarray], times: list[float] | None = None, sound: str | None = "aac"
) -> Path:
    """A film of pictures (H, W, 3) at 10 frames a second, or at these times, with a tone beside them."""
    av = pytest.importorskip("av", reason="PyAV is not installed: pip install '.[video]'")
    with av.open(str(path), "w") as film:
        video = film.add_stream("libx264", rate=10, options={"crf": "0"})
        video.height, video.width = pictures[0].shape[:2]
        video.pix_fmt, video.codec_context.time_base = "yuv444p", Fraction(1, 1000)
        heard = film.add_stream(sound, rate=44100, layout="mono") if sound else None
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = round(1000 * (times[i] if times else i / 10)), Fraction(1, 1000)
            film.mux(video.encode(frame))
        film.mux(video.encode(None))
        if heard is not None:
            tone = np.sin(np.arange(44100 * len(pictures) // 10) / 20)[None].astype(np.float32)
            piece = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
            piece.sample_rate, piece.pts = 44100, 0
            film.mux(heard.encode(piece))
            film.mux(heard.encode(None))
    return path
