"""Animated GIF, WebP, PNG and AVIF through Pillow, in both directions."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from io import BytesIO
from itertools import count, pairwise
from pathlib import Path
from typing import IO, Any

from PIL import Image
from torch import Tensor

from metastyle_hub.errors import ImageError
from metastyle_hub.images.decoding import ImageLimits, decode, decode_image, open_image, quoted, reason
from metastyle_hub.images.files import read_bytes
from metastyle_hub.images.io import to_pil, to_tensor
from metastyle_hub.video.frames import AudioPacket, Frame

__all__ = ["ANIMATIONS", "Animation", "AnimationSource", "is_animation"]

log = logging.getLogger(__name__)

ANIMATIONS = {".gif": "GIF", ".webp": "WEBP", ".png": "PNG", ".apng": "PNG", ".avif": "AVIF"}
"""Formats that Pillow reads and writes, by suffix."""

_DEFAULT_DURATION = Fraction(1, 10)  # seconds of a frame that states none or at most 10 ms, as in browsers
_SHORTEST = Fraction(11, 1000)
_WEBP_ALPHA = 0x10  # flag in the extended header


def is_animation(head: bytes) -> bool:
    """Return whether a file that begins so is of a format of `ANIMATIONS`.

    >>> is_animation(b"GIF89a")
    True
    """
    is_avif = head[4:8] == b"ftyp" and any(head[i : i + 4] in (b"avif", b"avis") for i in range(8, len(head), 4))
    return head[:4] == b"GIF8" or head[:8] == b"\x89PNG\r\n\x1a\n" or head[:4] + head[8:12] == b"RIFFWEBP" or is_avif


class AnimationSource:
    """An open animation. Iterate over it once, for its frames in order; then close it.

    Args:
        path: of the file.
        limits: for the pixels of a frame.

    Attributes:
        count: of the frames.
        rate: frames per second, of the first one.
        audio: none.
        loop: how often it is shown; 0 for without end.

    Raises:
        ImageError: if the first frame is damaged or has too many pixels.
    """

    def __init__(self, path: Path, limits: ImageLimits) -> None:
        self.name, self._limits, self.audio, data = quoted(path), limits, list[Any](), read_bytes(path, limits)
        decode(data, quoted(path), limits)  # raises ImageError for a damaged file
        self._image = open_image(data)
        self._image.load()
        self.count: int | None = None
        with contextlib.suppress(Exception):  # cut off
            self.count = int(getattr(self._image, "n_frames", 1)) - bool(self._image.info.get("default_image"))
        self.rate = 1 / _duration(self._image)
        loop = self._image.info.get("loop")
        # a GIF that states nothing is shown once; a number in it is that of the repetitions
        is_gif = self._image.format == "GIF"
        self.loop = (1 if loop is None else loop + 1 if loop else 0) if is_gif else int(loop or 0)

    def __iter__(self) -> Iterator[Frame | AudioPacket]:
        start = Fraction(0)
        # a PNG may hold another image for programs that show no animations
        for index in count(1 if self._image.info.get("default_image") else 0):
            try:
                self._image.seek(index)
                self._image.load()  # the duration of a WebP frame is known only then
                image = self._image.convert("RGBA")  # a copy: the next frame is drawn over this one
            except EOFError:
                return
            except Exception as error:  # a malformed file makes plugins raise nearly anything
                if not start:
                    raise ImageError(f"{self.name} cannot be decoded: {reason(error)}; export it again.") from error
                log.warning("%s is broken after frame %d (%s); it ends there.", self.name, index, reason(error))
                return
            image, duration = decode_image(image, self._limits), _duration(self._image)
            alpha = None
            if image.mode == "RGBA":
                alpha = to_tensor(image.getchannel("A"))[:, :1]  # (1, 1, H, W)
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
            yield Frame(to_tensor(image), start, duration, alpha)
            start += duration

    def audio_until(self, end: Fraction) -> Iterator[AudioPacket]:
        """Yield nothing: animations have no audio."""
        return iter(())

    def close(self) -> None:
        """Close the file."""
        self._image.close()


@dataclass
class Animation:
    """The frames of an animation to be written, all in memory.

    Example::

        animation = Animation(loop=0)
        animation.add(Frame(image, Fraction(0), Fraction(1, 10)))
        animation.save(file, "GIF", last=Fraction(1, 10))
    """

    loop: int  # how often it is shown; 0 for without end
    _images: list[Image.Image] = field(default_factory=list)
    _starts: list[Fraction] = field(default_factory=list)

    def add(self, frame: Frame) -> None:
        """Append a frame."""
        self._images.append(_to_image(frame.image, frame.alpha))
        self._starts.append(frame.start)

    def save(self, file: IO[bytes], format: str, last: Fraction) -> None:
        """Write the file.

        Args:
            file: open for writing.
            format: one of `ANIMATIONS`.
            last: duration of the last frame in seconds.
        """
        # in 1/100 s, the precision of GIF; times since the beginning are rounded, so that errors do not add up
        ends = [round(100 * time) for time in (*self._starts, self._starts[-1] + last)]
        durations = [10 * max(1, end - start) for start, end in pairwise(ends)]  # milliseconds
        options: dict[str, Any] = {"WEBP": {"quality": 90}, "AVIF": {"quality": 90}}.get(format, {})
        if format != "GIF":
            options["loop"] = self.loop
        elif self.loop != 1:  # a GIF that states nothing is shown once
            options["loop"] = max(self.loop - 1, 0)
        is_clear = any(image.mode == "RGBA" for image in self._images)
        if is_clear and format in ("GIF", "PNG"):
            options["disposal"] = 2 if format == "GIF" else 1  # clear: what was opaque may be transparent now
        first, *rest = self._images
        buffer = BytesIO()
        first.save(buffer, format, save_all=True, append_images=rest, duration=durations, **options)
        data = buffer.getbuffer()
        if is_clear and format == "WEBP" and bytes(data[12:16]) == b"VP8X":
            # libwebp crops frames to what is opaque, and then states that nothing is transparent
            data[20] |= _WEBP_ALPHA
        file.write(data)


def _to_image(image: Tensor, alpha: Tensor | None) -> Image.Image:
    """Convert a frame (1, 3, H, W) to an "RGB" image, or with its alpha (1, 1, H, W) to "RGBA"."""
    rgb = to_pil(image)
    if alpha is not None:
        rgb.putalpha(to_pil(alpha.expand(1, 3, -1, -1)).getchannel("R"))
    return rgb


def _duration(image: Image.Image) -> Fraction:
    try:
        duration = Fraction(round(float(image.info.get("duration") or 0)), 1000)
    except (TypeError, ValueError, OverflowError):
        return _DEFAULT_DURATION
    return duration if duration >= _SHORTEST else _DEFAULT_DURATION
