"""Read frames and audio packets with their times: videos through PyAV, animations through Pillow."""

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

from metastyle_hub.errors import ImageError, VideoError, first_line
from metastyle_hub.images.decoding import DEFAULT_LIMITS, ImageLimits, check_pixels, open_image
from metastyle_hub.images.io import load_image, to_tensor

__all__ = ["ANIMATIONS", "AudioPacket", "Frame", "VideoSource", "open_video", "pyav"]

log = logging.getLogger(__name__)

ANIMATIONS = {".gif": "GIF", ".webp": "WEBP", ".png": "PNG", ".apng": "PNG"}
"""Formats that Pillow reads and writes, by suffix."""

_UNSPECIFIED, _HD_HEIGHT = 2, 720  # as in players, an unspecified color matrix is BT.709 from 720 lines on
_DEFAULT_DURATION = Fraction(1, 10)  # seconds of an animation's frame that states none, as in browsers


@dataclass(frozen=True)
class Frame:
    """A frame of a video."""

    image: Tensor  # (1, 3, H, W) in [0, 1], upright
    start: Fraction  # seconds from the beginning
    duration: Fraction | None = None  # seconds, if the file states them


@dataclass(frozen=True)
class AudioPacket:
    """A packet of encoded audio, to be copied."""

    packet: Any  # av.Packet


@dataclass
class VideoSource:
    """An open video. Iterate over it once, for frames in order and audio packets between them; then close it.

    Attributes:
        name: of the file.
        count: of the frames, as far as the file states it.
        rate: average frames per second.
        audio: the audio stream, or None.
    """

    name: str
    count: int | None
    rate: Fraction
    audio: Any
    _container: Any  # av.container.InputContainer, or the Image of an animation

    def __iter__(self) -> Iterator[Frame | AudioPacket]:
        return self._animation() if isinstance(self._container, Image.Image) else self._video()

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def _animation(self) -> Iterator[Frame]:
        start = Fraction(0)
        for page in ImageSequence.Iterator(self._container):
            page.load()  # the duration of a WebP frame is known only then
            duration = Fraction(round(page.info.get("duration", 0)), 1000) or _DEFAULT_DURATION
            image = load_image(page.convert("RGBA"))  # a copy: the next frame is drawn over this one
            white = Image.new("RGBA", image.size, "white")
            opaque = Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
            yield Frame(to_tensor(opaque), start, duration)
            start += duration

    def _video(self) -> Iterator[Frame | AudioPacket]:
        av, count = pyav(), 0
        begin = Fraction(self._container.start_time or 0, av.time_base)  # of video or audio, the earlier one
        streams = [self._container.streams.video[0], *([self.audio] if self.audio else [])]
        try:
            for packet in self._container.demux(streams):
                if packet.stream.type == "audio":
                    if packet.dts is not None and packet.pts is not None:  # the last one is empty
                        shift = round(begin / packet.time_base)
                        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                        yield AudioPacket(packet)
                    continue
                for decoded in packet.decode():
                    time = Fraction(decoded.pts or 0) * (decoded.time_base or 1 / self.rate)
                    count += 1
                    yield Frame(_upright(decoded), time - begin)
        except av.FFmpegError as error:
            if not count:
                raise VideoError(f"{self.name} cannot be decoded ({first_line(error)}); convert it first.") from error
            # usually an interrupted download, whose frames so far are usable
            log.warning("%s is broken after frame %d (%s); it ends there.", self.name, count, first_line(error))


def open_video(source: str | os.PathLike[str], limits: ImageLimits = DEFAULT_LIMITS) -> VideoSource:
    """Open a video or an animation.

    Args:
        source: anything PyAV reads (the extra `video`), or .gif, .webp, .png.
        limits: for the pixels of a frame.

    Raises:
        VideoError: if the file does not exist or cannot be read.
        ImageError: for a damaged animation, or frames with too many pixels.

    >>> video = open_video("walk.mp4")
    >>> video.count, video.rate
    (12, Fraction(10, 1))
    """
    path = Path(source)
    if not path.is_file():
        raise VideoError(f"There is no file {path}; check its name.")
    if path.suffix.lower() in ANIMATIONS:
        load_image(path, limits)  # raises ImageError for a damaged file
        image = open_image(path.read_bytes())
        image.load()
        duration = Fraction(image.info.get("duration") or 0) / 1000 or _DEFAULT_DURATION
        return VideoSource(path.name, int(getattr(image, "n_frames", 1)), 1 / duration, None, image)
    av = pyav()
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"{path} is no video that can be read ({first_line(error)}); convert it first.") from error
    if not container.streams.video:
        container.close()
        raise VideoError(f"{path} has no video stream; choose another file.")
    stream = container.streams.video[0]
    try:
        check_pixels(str(path), stream.width, stream.height, limits)
    except ImageError:
        container.close()
        raise
    stream.thread_type = "AUTO"
    rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
    count: int | None = stream.frames or None
    if count is None and container.duration:
        count = round(Fraction(container.duration, av.time_base) * rate)
    return VideoSource(
        path.name, count, rate, container.streams.audio[0] if container.streams.audio else None, container
    )


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


def _upright(decoded: Any) -> Tensor:
    """Convert an av.VideoFrame to (1, 3, H, W) in [0, 1], rotated as the file states: phones store videos rotated."""
    is_hd = int(decoded.colorspace) == _UNSPECIFIED and decoded.height >= _HD_HEIGHT
    rgb = decoded.reformat(format="rgb24", src_colorspace="ITU709" if is_hd else None)
    array = torch.from_numpy(rgb.to_ndarray())  # (H, W, 3)
    array = torch.rot90(array, round(decoded.rotation / 90) % 4)
    return array.permute(2, 0, 1)[None].contiguous().float().div_(255)  # (1, 3, H, W)
