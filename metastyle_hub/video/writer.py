"""Write frames: videos as H.264 with the audio of the source, animations, and yuv4mpeg for pipes."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from metastyle_hub.config import expanded
from metastyle_hub.errors import VideoError
from metastyle_hub.images.decoding import quoted
from metastyle_hub.images.output import refusal, replace_file
from metastyle_hub.signals import interrupts_held
from metastyle_hub.video.animation import ANIMATIONS, Animation
from metastyle_hub.video.audio import AudioTrack
from metastyle_hub.video.frames import AudioPacket, Frame, cause_of, pyav
from metastyle_hub.video.reader import VideoSource, is_pipe

__all__ = ["VideoWriter", "check_target"]

log = logging.getLogger(__name__)

_CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
_TIME_BASE = Fraction(1, 90_000)  # seconds a tick: exact for every common frame rate
_BT709 = 1  # the number of this color matrix in H.264; without it players differ, and colors shift
_HD_HEIGHT = 720  # yuv4mpeg states no matrix; readers take that of BT.709 from 720 lines on


def check_target(target: str | os.PathLike[str]) -> Path:
    """Refuse a file that could not be written, before any frame is computed. Nothing is created.

    Raises:
        VideoError: for a suffix of no writable format, a place where no file can be created, a write-protected file, or
            without PyAV.
    """
    path = expanded(target)
    if is_pipe(target):
        pyav()
        return path
    suffix = path.suffix.lower()
    if suffix not in (*_CONTAINERS, *ANIMATIONS):
        suffixes = ", ".join((*_CONTAINERS, *ANIMATIONS))
        raise VideoError(f"{quoted(path)} names no video format to write; end it in one of {suffixes}.")
    if why := refusal(path):
        raise VideoError(why)
    if suffix in _CONTAINERS:
        pyav()
    else:
        Image.init()
        if ANIMATIONS[suffix] not in Image.SAVE_ALL:
            raise VideoError(f"This build of Pillow does not write animated {suffix} files; name a .webp or .gif.")
    return path


class VideoWriter:
    """Writes frames in order. The file exists after `finish`, and not at all after `discard`.

    Args:
        target: the file, or "-" for yuv4mpeg to the standard output.
        source: the video whose frame rate, audio and number of loops are used.
        crf: constant rate factor of H.264: 0 is lossless, 18 visually lossless, 28 small.

    >>> source = open_video("walk.mp4")
    >>> writer = VideoWriter("stylized.mp4", source, crf=18)
    >>> writer.add(next(part for part in source if isinstance(part, Frame)))
    >>> writer.finish()
    True
    """

    def __init__(self, target: str | os.PathLike[str], source: VideoSource, crf: int) -> None:
        self.target, self._source, self._crf = check_target(target), source, crf
        self._is_pipe = is_pipe(target)
        self._place = Path(os.path.realpath(self.target))  # a link stays, and its target is written
        self._partial = self._place.with_name(f".{secrets.token_hex(8)}.tmp")
        self._container: Any = None
        self._video: Any = None
        self._tracks: list[AudioTrack] = []
        self._early: list[AudioPacket] = []  # audio before the first frame, which opens the file
        self._animation = Animation(source.loop) if self._place.suffix.lower() in ANIMATIONS else None
        self._last: Frame | None = None
        self._ticks = -1  # of the last frame
        self._is_finished = False

    def add(self, frame: Frame) -> None:
        """Write the next frame; all have the size of the first.

        Raises:
            VideoError: if it cannot be written.
            BrokenPipeError: if no one reads the standard output any more.
        """
        # a packet lost between encoder and file would spoil the frames after it
        with self._errors(), interrupts_held():
            if self._animation is not None:
                self._animation.add(frame)
            else:
                if self._container is None:
                    self._open(frame.image)
                self._encode(frame)
            self._last = frame

    def mux_audio(self, audio: AudioPacket) -> None:
        """Take an audio packet of the source; it is written when the images have come as far.

        Raises:
            VideoError: if it cannot be written.
        """
        if self._animation is not None or self._is_pipe:
            return
        if self._container is None:
            self._early.append(audio)
        else:
            self._tracks[audio.track].add(audio)

    def finish(self) -> bool:
        """Complete the file and move it to its place; return False if there is none because there was no frame.

        A second call does nothing.

        Raises:
            VideoError: if it cannot be written.
        """
        if self._is_finished:
            return True
        if self._last is None:
            self.discard()
            return False
        duration = self._last.duration or 1 / self._source.rate
        with self._errors(), interrupts_held():
            if self._animation is not None:
                self._place.parent.mkdir(parents=True, exist_ok=True)
                with self._partial.open("xb") as file:
                    self._animation.save(file, ANIMATIONS[self._place.suffix.lower()], duration)
            else:
                self._finish_audio(self._last.start + duration)
                for packet in self._video.encode(None):
                    if packet.pts == self._ticks:  # encoders know the durations of all frames but the last
                        packet.duration = max(1, round(duration / packet.time_base))
                    self._container.mux(packet)
                self._container.close()
            if not self._is_pipe:
                replace_file(self._partial, self._place)
            self._is_finished = True
        return True

    def discard(self) -> None:
        """Remove the unfinished file; after `finish` there is none."""
        if self._is_finished:
            return
        if self._container is not None:
            with contextlib.suppress(Exception):
                self._container.close()
        if not self._is_pipe:
            with contextlib.suppress(OSError):
                self._partial.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # encoders raise as many kinds as decoders do
            self.discard()
            if self._is_pipe and isinstance(error, BrokenPipeError):
                raise BrokenPipeError(*error.args) from error
            raise VideoError(
                f"{quoted(self.target)} cannot be written ({cause_of(error)}); try another place or format."
            ) from error

    def _open(self, image: Tensor) -> None:
        height, width = image.shape[-2:]
        rate = self._source.rate.limit_denominator(1001)
        if self._is_pipe:
            options = {"flush_packets": "1"}  # programs that show the frames do not wait
            self._container = pyav().open("pipe:1", "w", format="yuv4mpegpipe", container_options=options)
            self._video = self._container.add_stream("wrapped_avframe", rate=rate)
            self._video.width, self._video.height, self._video.pix_fmt = width, height, "yuv420p"
            self._video.codec_context.time_base = 1 / rate
            return
        height, width = height // 2 * 2, width // 2 * 2  # even: H.264 stores color at half the size
        if not height or not width:
            raise VideoError("a video is at least 2 pixels high and wide")
        format = _CONTAINERS[self._place.suffix.lower()]
        self._place.parent.mkdir(parents=True, exist_ok=True)
        options = {"movflags": "+faststart"} if format in ("mp4", "mov") else {}
        # with the protocol: the path may hold a colon
        self._container = pyav().open(f"file:{self._partial}", "w", format=format, container_options=options)
        encoder = {"crf": str(self._crf), "preset": "medium"}
        self._video = self._container.add_stream("libx264", rate=rate, options=encoder)
        self._video.width, self._video.height, self._video.pix_fmt = width, height, "yuv420p"
        context = self._video.codec_context
        context.time_base = _TIME_BASE
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        self._tracks = [AudioTrack(self._container, stream, self.target.name) for stream in self._source.audio]
        for packet in self._early:
            self._tracks[packet.track].add(packet)
        self._early.clear()

    def _encode(self, frame: Frame) -> None:
        array = (frame.image[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().numpy()  # (H, W, 3)
        height, width = self._video.height, self._video.width
        encoded = pyav().VideoFrame.from_ndarray(array[:height, :width].copy(), format="rgb24")
        matrix = "ITU601" if self._is_pipe and height < _HD_HEIGHT else "ITU709"
        encoded = encoded.reformat(format="yuv420p", dst_colorspace=matrix, dst_color_range="MPEG")
        if self._is_pipe:
            # a constant rate: frames are repeated and left out, so that times are right to half a frame
            slot = max(round(frame.start * self._source.rate.limit_denominator(1001)), 0)
            for ticks in range(self._ticks + 1, slot + 1):
                encoded.pts, encoded.time_base = ticks, self._video.codec_context.time_base
                self._container.mux(self._video.encode(encoded))
            self._ticks = max(self._ticks, slot)
            return
        self._ticks = max(round(frame.start / _TIME_BASE), self._ticks + 1)
        encoded.pts, encoded.time_base = self._ticks, _TIME_BASE
        self._container.mux(self._video.encode(encoded))
        for track in self._tracks:
            track.release(frame.start)

    def _finish_audio(self, end: Fraction) -> None:
        if self._tracks:
            with contextlib.suppress(VideoError):  # no audio is worth the images
                for audio in self._source.audio_until(end):
                    self._tracks[audio.track].add(audio)
        for track in self._tracks:
            track.release(end)
            track.finish()
