"""Frames into a file: films as H.264 with the sound of the original, animations as GIF, WebP or PNG."""

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
from metastyle_hub.video.reader import ANIMATIONS, VideoSource, Frame, AudioPacket, pyav

__all__ = ["VideoWriter", "check_target"]

log = logging.getLogger(__name__)

_FILMS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
_TICKS = 90_000  # a second: fine enough for every rate in use
_SOUNDS = ("aac", "mp3", "ac3", "eac3", "opus", "flac", "alac")  # that these containers take as they are
_BT709 = 1  # the number of that matrix in H.264; without it players guess, and colours shift


def check_target(target: str | os.PathLike[str]) -> Path:
    """Refuse a file that could not be written, before the work. Touches nothing.

    Raises:
        VideoError: a suffix that names no kind of film, or a place that is no file's or not yours.
    """
    path = Path(target)
    if path.suffix.lower() not in (*_FILMS, *ANIMATIONS):
        kinds = ", ".join((*_FILMS, *ANIMATIONS))
        raise VideoError(f"{path} names no kind of film to write; end it in one of {kinds}.")
    folder = next((parent for parent in path.absolute().parents if parent.exists()), Path())
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise VideoError(f"{path} cannot be written there; try another place.")
    if path.suffix.lower() in _FILMS:
        pyav()
    return path


class VideoWriter:
    """Takes frames in order; the file is there after `finish`, and not at all after `discard`.

    Args:
        like: the film whose rate and sound it gets.
        crf: constant rate factor of H.264: 0 loses nothing, 18 nothing that is seen, 28 is small.
    """

    def __init__(self, target: str | os.PathLike[str], source: VideoSource, crf: int) -> None:
        self.target, self._source, self._crf = check_target(target), source, crf
        self._aside = self.target.with_name(f".{secrets.token_hex(8)}.tmp")
        self._film: Any = None
        self._video: Any = None
        self._sound: Any = None
        self._early: list[AudioPacket] = []  # sound that comes before the first picture, and so before the file is open
        self._pictures: list[Image.Image] = []
        self._starts: list[Fraction] = []
        self._lasts: Fraction | None = None

    def add(self, frame: Frame) -> None:
        """The next frame; all have the size of the first.

        Raises:
            VideoError: it cannot be written.
        """
        self._starts.append(frame.start)
        self._lasts = frame.duration
        if self.target.suffix.lower() in ANIMATIONS:
            self._pictures.append(to_pil(frame.image))
            return
        with self._told():
            if self._film is None:
                self._open(frame.image)
            array = (frame.image[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
            height, width = self._video.height, self._video.width  # even, as H.264 stores colour at half the size
            made = pyav().VideoFrame.from_ndarray(array[:height, :width].copy(), format="rgb24")
            made = made.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            made.pts, made.time_base = round(frame.start * _TICKS), Fraction(1, _TICKS)
            self._film.mux(self._video.encode(made))

    def mux_audio(self, sound: AudioPacket) -> None:
        """A piece of the original's sound, written as it is."""
        if self._film is None:
            self._early.append(sound)
        elif self._sound is not None:
            with self._told():
                sound.packet.stream = self._sound
                self._film.mux(sound.packet)

    def finish(self) -> bool:
        """Complete the file and put it in its place. Whether there is one: without a frame there is none.

        Raises:
            VideoError: it cannot be written.
        """
        if not self._starts:
            self.discard()
            return False
        with self._told():
            if self._film is None:
                self._save_animation()
            else:
                self._film.mux(self._video.encode(None))
                self._film.close()
            self._aside.replace(self.target)
        return True

    def discard(self) -> None:
        """Leave nothing behind."""
        if self._film is not None:
            with contextlib.suppress(Exception):
                self._film.close()
        with contextlib.suppress(OSError):
            self._aside.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # encoders raise as many kinds as decoders do
            self.discard()
            why = first_line(error)
            raise VideoError(f"{self.target} cannot be written ({why}); try another place or format.") from error

    def _open(self, picture: Tensor) -> None:
        height, width = (side // 2 * 2 for side in picture.shape[-2:])
        if not height or not width:
            raise VideoError("a film is at least 2 pixels high and wide")
        kind = _FILMS[self.target.suffix.lower()]
        self.target.parent.mkdir(parents=True, exist_ok=True)
        options = {"movflags": "+faststart"} if kind in ("mp4", "mov") else {}
        self._film = pyav().open(str(self._aside), "w", format=kind, container_options=options)
        rate = self._source.rate.limit_denominator(1001)
        self._video = self._film.add_stream("libx264", rate=rate, options={"crf": str(self._crf), "preset": "medium"})
        self._video.width, self._video.height, self._video.pix_fmt = width, height, "yuv420p"
        context = self._video.codec_context
        context.time_base = Fraction(1, _TICKS)
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        heard = self._source.sound
        if heard is not None and heard.codec_context.name in _SOUNDS:
            self._sound = self._film.add_stream_from_template(heard)
        elif heard is not None:
            log.warning("The sound (%s) is left out: %s cannot hold it.", heard.codec_context.name, self.target.name)
        for sound in self._early:
            self.mux_audio(sound)
        self._early.clear()

    def _save_animation(self) -> None:
        # in hundredths of a second, which is all that a GIF has; rounded from the beginning, so that nothing adds up
        ends = [round(100 * end) for end in (*self._starts, self._starts[-1] + (self._lasts or 1 / self._source.rate))]
        times = [10 * max(1, end - start) for start, end in pairwise(ends)]
        self.target.parent.mkdir(parents=True, exist_ok=True)
        first, *rest = self._pictures
        kind = ANIMATIONS[self.target.suffix.lower()]
        options: dict[str, Any] = {"quality": 90} if kind == "WEBP" else {}
        with self._aside.open("xb") as file:
            first.save(file, kind, save_all=True, append_images=rest, duration=times, loop=0, **options)
