"""Write frames: videos as H.264 with the audio of the source, animations as GIF, WebP or PNG."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from metastyle_hub.errors import VideoError, first_line
from metastyle_hub.images.io import to_pil
from metastyle_hub.video.reader import ANIMATIONS, AudioPacket, Frame, VideoSource, pyav

__all__ = ["VideoWriter", "check_target"]

log = logging.getLogger(__name__)

_CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
_TIME_BASE = Fraction(1, 90_000)  # seconds a tick: exact for every common frame rate
_AUDIO_CODECS = ("aac", "mp3", "ac3", "eac3", "opus", "flac", "alac")  # which these containers hold unchanged
_BT709 = 1  # the number of this color matrix in H.264; without it players differ, and colors shift


def check_target(target: str | os.PathLike[str]) -> Path:
    """Refuse a file that could not be written, before any frame is computed. Nothing is created.

    Raises:
        VideoError: for a suffix of no writable format, a place where no file can be created, or without PyAV.
    """
    path = Path(target)
    if path.suffix.lower() not in (*_CONTAINERS, *ANIMATIONS):
        suffixes = ", ".join((*_CONTAINERS, *ANIMATIONS))
        raise VideoError(f"{path} names no video format to write; end it in one of {suffixes}.")
    folder = next((parent for parent in path.absolute().parents if parent.exists()), Path())
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise VideoError(f"{path} cannot be written there; try another place.")
    if path.suffix.lower() in _CONTAINERS:
        pyav()
    return path


class VideoWriter:
    """Writes frames in order. The file exists after `finish`, and not at all after `discard`.

    Args:
        target: the file.
        source: the video whose frame rate and audio stream are used.
        crf: constant rate factor of H.264: 0 is lossless, 18 visually lossless, 28 small.

    >>> source = open_video("walk.mp4")
    >>> writer = VideoWriter("stylized.mp4", source, crf=18)
    >>> writer.add(next(part for part in source if isinstance(part, Frame)))
    >>> writer.finish()
    True
    """

    def __init__(self, target: str | os.PathLike[str], source: VideoSource, crf: int) -> None:
        self.target, self._source, self._crf = check_target(target), source, crf
        self._partial = self.target.with_name(f".{secrets.token_hex(8)}.tmp")
        self._container: Any = None
        self._video: Any = None
        self._audio: Any = None
        self._early: list[AudioPacket] = []  # audio before the first frame, which opens the file
        self._images: list[Image.Image] = []
        self._starts: list[Fraction] = []
        self._duration: Fraction | None = None  # of the last frame

    def add(self, frame: Frame) -> None:
        """Write the next frame; all have the size of the first.

        Raises:
            VideoError: if it cannot be written.
        """
        self._starts.append(frame.start)
        self._duration = frame.duration
        if self.target.suffix.lower() in ANIMATIONS:
            self._images.append(to_pil(frame.image))
            return
        with self._errors():
            if self._container is None:
                self._open(frame.image)
            array = (frame.image[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().numpy()  # (H, W, 3)
            height, width = self._video.height, self._video.width
            encoded = pyav().VideoFrame.from_ndarray(array[:height, :width].copy(), format="rgb24")
            encoded = encoded.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            encoded.pts, encoded.time_base = round(frame.start / _TIME_BASE), _TIME_BASE
            self._container.mux(self._video.encode(encoded))

    def mux_audio(self, audio: AudioPacket) -> None:
        """Copy an audio packet of the source.

        Raises:
            VideoError: if it cannot be written.
        """
        if self._container is None:
            self._early.append(audio)
        elif self._audio is not None:
            with self._errors():
                audio.packet.stream = self._audio
                self._container.mux(audio.packet)

    def finish(self) -> bool:
        """Complete the file and move it to its place; return False if there is none because there was no frame.

        Raises:
            VideoError: if it cannot be written.
        """
        if not self._starts:
            self.discard()
            return False
        with self._errors():
            if self._container is None:
                self._save_animation()
            else:
                self._container.mux(self._video.encode(None))
                self._container.close()
            self._partial.replace(self.target)
        return True

    def discard(self) -> None:
        """Remove the unfinished file."""
        if self._container is not None:
            with contextlib.suppress(Exception):
                self._container.close()
        with contextlib.suppress(OSError):
            self._partial.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # encoders raise as many kinds as decoders do
            self.discard()
            cause = first_line(error)
            raise VideoError(f"{self.target} cannot be written ({cause}); try another place or format.") from error

    def _open(self, image: Tensor) -> None:
        height, width = (side // 2 * 2 for side in image.shape[-2:])  # even: H.264 stores color at half the size
        if not height or not width:
            raise VideoError("a video is at least 2 pixels high and wide")
        format = _CONTAINERS[self.target.suffix.lower()]
        self.target.parent.mkdir(parents=True, exist_ok=True)
        options = {"movflags": "+faststart"} if format in ("mp4", "mov") else {}
        self._container = pyav().open(str(self._partial), "w", format=format, container_options=options)
        rate, encoder = self._source.rate.limit_denominator(1001), {"crf": str(self._crf), "preset": "medium"}
        self._video = self._container.add_stream("libx264", rate=rate, options=encoder)
        self._video.width, self._video.height, self._video.pix_fmt = width, height, "yuv420p"
        context = self._video.codec_context
        context.time_base = _TIME_BASE
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        audio = self._source.audio
        if audio is not None and audio.codec_context.name in _AUDIO_CODECS:
            self._audio = self._container.add_stream_from_template(audio)
        elif audio is not None:
            log.warning("%s is written without audio: it cannot hold %s.", self.target.name, audio.codec_context.name)
        for packet in self._early:
            self.mux_audio(packet)
        self._early.clear()

    def _save_animation(self) -> None:
        # in 1/100 s, the precision of GIF; times since the beginning are rounded, so that errors do not add up
        ends = [
            round(100 * time) for time in (*self._starts, self._starts[-1] + (self._duration or 1 / self._source.rate))
        ]
        durations = [10 * max(1, end - start) for start, end in pairwise(ends)]  # milliseconds
        self.target.parent.mkdir(parents=True, exist_ok=True)
        first, *rest = self._images
        format = ANIMATIONS[self.target.suffix.lower()]
        options: dict[str, Any] = {"quality": 90} if format == "WEBP" else {}
        with self._partial.open("xb") as file:
            first.save(file, format, save_all=True, append_images=rest, duration=durations, loop=0, **options)
