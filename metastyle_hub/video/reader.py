"""Frames of a film, upright, with their times: films through PyAV, animations through Pillow."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageSequence
from torch import Tensor

from metastyle_hub.images.decoding import DEFAULT_LIMITS, ImageLimits, check_pixels
from metastyle_hub.errors import ImageError, VideoError, first_line
from metastyle_hub.images.io import load_image, to_tensor

__all__ = ["ANIMATIONS", "VideoSource", "Frame", "AudioPacket", "open_video", "pyav"]

log = logging.getLogger(__name__)

ANIMATIONS = {".gif": "GIF", ".webp": "WEBP", ".png": "PNG", ".apng": "PNG"}
"""What Pillow reads and writes, by suffix."""

_UNTOLD, _HIGH_DEFINITION = 2, 720  # colours of a matrix that is not told are BT.709's from 720 lines on, as in players
_STILL = Fraction(1, 10)  # seconds of an animation's frame that does not say how long it lasts, as browsers have it


@dataclass(frozen=True)
class Frame:
    """One picture of a film."""

    image: Tensor  # (1, 3, H, W) in [0, 1], upright
    start: Fraction  # seconds from the beginning
    duration: Fraction | None = None  # seconds, where the file says so


@dataclass(frozen=True)
class AudioPacket:
    """A piece of the sound as it is in the file, to be handed on."""

    packet: Any  # av.Packet


@dataclass
class VideoSource:
    """A film that is open. Iterate it once: frames in order, and pieces of sound between them. Close it after.

    Attributes:
        count: of the frames, as far as the file tells.
        rate: frames a second on average.
        sound: the audio stream, or None.
    """

    name: str
    count: int | None
    rate: Fraction
    sound: Any
    _opened: Any

    def __iter__(self) -> Iterator[Frame | AudioPacket]:
        return self._animated() if isinstance(self._opened, Image.Image) else self._film()

    def close(self) -> None:
        """Let go of the file."""
        self._opened.close()

    def _animated(self) -> Iterator[Frame]:
        start = Fraction(0)
        for shown in ImageSequence.Iterator(self._opened):
            shown.load()  # a WebP knows only then how long its frame lasts
            lasts = Fraction(round(shown.info.get("duration", 0)), 1000) or _STILL
            picture = load_image(shown.convert("RGBA"))  # a copy: the next frame is drawn over this one
            white = Image.new("RGBA", picture.size, "white")
            yield Frame(to_tensor(Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB")), start, lasts)
            start += lasts

    def _film(self) -> Iterator[Frame | AudioPacket]:
        av, seen = pyav(), 0
        begin = Fraction(self._opened.start_time or 0, av.time_base)  # of pictures or sound, whichever comes first
        streams = [self._opened.streams.video[0], *([self.sound] if self.sound else [])]
        try:
            for packet in self._opened.demux(streams):
                if packet.stream.type == "audio":
                    if packet.dts is not None and packet.pts is not None:  # the last one is empty
                        shift = round(begin / packet.time_base)
                        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                        yield AudioPacket(packet)
                    continue
                for decoded in packet.decode():
                    at = Fraction(decoded.pts or 0) * (decoded.time_base or 1 / self.rate)
                    seen += 1
                    yield Frame(_upright(decoded), at - begin)
        except av.FFmpegError as error:
            if not seen:
                raise VideoError(f"{self.name} cannot be decoded ({first_line(error)}); convert it first.") from error
            # a download that broke off, as a rule: what is there is worth having
            log.warning("%s is broken after frame %d (%s); it ends there.", self.name, seen, first_line(error))


def open_video(source: str | os.PathLike[str], limits: ImageLimits = DEFAULT_LIMITS) -> VideoSource:
    """A film or an animation, opened.

    Raises:
        VideoError: there is none, or it cannot be read.
        ImageError: an animation that is broken, or frames with more pixels than a picture may have.

    >>> clip = open_video("walk.mp4")
    >>> clip.count, clip.rate
    (240, Fraction(24, 1))
    """
    path = Path(source)
    if not path.is_file():
        raise VideoError(f"There is no file {path}; check its name.")
    if path.suffix.lower() in ANIMATIONS:
        load_image(path, limits)  # all that is wrong with pictures has its sentence there
        image = Image.open(path)
        image.load()
        count = int(getattr(image, "n_frames", 1))
        return VideoSource(path.name, count, 1 / (Fraction(image.info.get("duration") or 0) / 1000 or _STILL), None, image)
    av = pyav()
    try:
        film = av.open(str(path))
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"{path} is no film that can be read ({first_line(error)}); convert it first.") from error
    if not film.streams.video:
        film.close()
        raise VideoError(f"{path} has no pictures in it; name a film.")
    stream = film.streams.video[0]
    try:
        check_pixels(str(path), stream.width, stream.height, limits)
    except ImageError:
        film.close()
        raise
    stream.thread_type = "AUTO"
    rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
    told: int | None = stream.frames or None
    if told is None and film.duration:
        told = round(Fraction(film.duration, av.time_base) * rate)
    return VideoSource(path.name, told, rate, film.streams.audio[0] if film.streams.audio else None, film)


def pyav() -> Any:
    """The module `av`, which reads and writes films.

    Raises:
        VideoError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise VideoError(
            "Films need PyAV, which is not installed; run: pip install 'metastyle-hub[video]' (animations, .gif and "
            ".webp, do without)."
        ) from error
    return av


def _upright(decoded: Any) -> Tensor:
    """A frame as (1, 3, H, W) in [0, 1], turned as the file says: phones write films lying on their side."""
    untold = int(decoded.colorspace) == _UNTOLD and decoded.height >= _HIGH_DEFINITION
    rgb = decoded.reformat(format="rgb24", src_colorspace="ITU709" if untold else None)
    array = torch.from_numpy(rgb.to_ndarray())  # (H, W, 3)
    array = torch.rot90(array, round(decoded.rotation / 90) % 4)
    return array.permute(2, 0, 1)[None].contiguous().float().div_(255)
