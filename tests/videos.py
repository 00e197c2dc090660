"""Videos for tests, written with PyAV alone."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


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


def mux(
    path: Path,
    images: Sequence[np.ndarray],
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    rate: int = 10,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    audio: Sequence[tuple[str, str]] = (),
    cover: bool = False,
    seconds: float | None = None,
    format: str | None = None,
    **attributes: object,
) -> Path:
    """Write a video at a constant rate into any container.

    Args:
        path: the file.
        images: the frames (H, W, 3), uint8, or uint16 for more than 8 bits.
        codec: of the images.
        pix_fmt: in which they are encoded.
        rate: frames a second.
        options: of the encoder.
        container_options: of the muxer.
        audio: codec and language of each track of audio, a tone; the second track is the default one.
        cover: write a cover image: as attachment of Matroska, else as an attached image.
        seconds: of the audio; None for the length of the images.
        format: of the container; None for that of the suffix.
        attributes: of the codec context, such as color_trc.
    """
    av = pytest.importorskip("av", reason="PyAV is not installed: pip install '.[video]'")
    with av.open(str(path), "w", format=format, container_options=container_options or {}) as container:
        still = av.VideoFrame.from_ndarray(np.full((16, 16, 3), 200, np.uint8), format="rgb24")
        attached = cover and container.format.name != "matroska"
        if cover and not attached:
            container.add_attachment("cover.jpg", "image/jpeg", _jpeg())
        if attached:
            image = container.add_stream("mjpeg", rate=1)
            image.width = image.height = 16
            image.pix_fmt, image.disposition = "yuvj420p", int(av.stream.Disposition.attached_pic)
        video = (
            container.add_stream(codec, rate=rate, options={"crf": "0"} if options is None else options)
            if len(images)
            else None
        )
        if video is not None:
            video.height, video.width = images[0].shape[:2]
            video.pix_fmt = pix_fmt
            for name, value in attributes.items():
                setattr(video.codec_context, name, value)
        tracks = []
        for i, (name, language) in enumerate(audio):
            track = container.add_stream(name, rate=48_000, layout="stereo")
            track.metadata["language"], track.bit_rate = language, 128_000
            track.disposition = int(av.stream.Disposition.default) if i == min(1, len(audio) - 1) else 0
            tracks.append(track)
        if attached:
            container.mux(image.encode(still))
            container.mux(image.encode(None))
        length = seconds if seconds is not None else len(images) / rate
        tone = (0.3 * np.sin(np.arange(round(48_000 * length)) / 20)).astype(np.float32)
        for i, pixels in enumerate(images):
            rgb = "rgb48le" if pixels.dtype == np.uint16 else "rgb24"
            frame = av.VideoFrame.from_ndarray(pixels, format=rgb)
            frame = frame.reformat(format=pix_fmt, dst_colorspace=attributes.get("colorspace"))
            frame.pts, frame.time_base = i, Fraction(1, rate)
            container.mux(video.encode(frame))
            for track in tracks:
                _encode_tone(av, container, track, tone, 48_000 * i // rate, 48_000 * (i + 1) // rate)
        for track in tracks:
            _encode_tone(av, container, track, tone, 48_000 * len(images) // rate, len(tone))
            container.mux(track.encode(None))
        if video is not None:
            container.mux(video.encode(None))
    return path


def cover_first(path: Path) -> Path:
    """Move the tags of an MP4, which hold its cover, before its tracks, as programs that edit tags do."""
    data = path.read_bytes()
    at = data.index(b"moov") - 4
    size = int.from_bytes(data[at : at + 4])
    boxes, position = [], at + 8
    while position < at + size:
        length = int.from_bytes(data[position : position + 4])
        boxes.append(data[position : position + length])
        position += length
    boxes.sort(key=lambda box: (box[4:8] != b"mvhd", box[4:8] != b"udta"))
    path.write_bytes(data[: at + 8] + b"".join(boxes) + data[at + size :])
    return path


def _jpeg() -> bytes:
    file = BytesIO()
    Image.new("RGB", (16, 16), "white").save(file, "JPEG")
    return file.getvalue()


def _encode_tone(av, container, track, tone: np.ndarray, first: int, last: int) -> None:
    part = tone[first:last]
    if len(part):
        samples = av.AudioFrame.from_ndarray(np.stack([part, part]), format="fltp", layout="stereo")
        samples.sample_rate, samples.pts, samples.time_base = 48_000, first, Fraction(1, 48_000)
        container.mux(track.encode(samples))
