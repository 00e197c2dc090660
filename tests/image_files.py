"""Image files for tests: an image of four known colors, files that Pillow does not write, and refusals."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, features

from metastyle_hub.errors import ImageError
from metastyle_hub.images.io import ImageLimits, load_image

RED, GREEN, BLUE, WHITE = (250, 10, 20), (10, 240, 30), (20, 30, 230), (245, 245, 245)
CORNERS = (RED, GREEN, BLUE, WHITE)  # top left, top right, bottom left, bottom right

needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF decoder")


def corner_image() -> Image.Image:
    """Four quarters of known colors, 48 wide and 32 high: any rotation, flip or exchange of channels shows."""
    image = Image.new("RGB", (48, 32))
    for index, color in enumerate(CORNERS):
        left, top = index % 2 * 24, index // 2 * 16
        image.paste(color, (left, top, left + 24, top + 16))
    return image


def corners(image: Image.Image) -> list[tuple[int, ...]]:
    width, height = image.size
    points = [(4, 4), (width - 5, 4), (4, height - 5), (width - 5, height - 5)]
    return [image.convert("RGB").getpixel(point) for point in points]  # type: ignore[misc]


def close(got: list[tuple[int, ...]], want: tuple[tuple[int, ...], ...], tolerance: int) -> bool:
    return bool(np.abs(np.array(got) - np.array(want)).max() <= tolerance)


def refusal(source: object, *values: str, limits: ImageLimits | None = None) -> str:
    """The sentence with which `source` is refused; it must be one, and name the given values."""
    with pytest.raises(ImageError) as error:
        load_image(source, limits) if limits else load_image(source)  # type: ignore[arg-type]
    sentence = str(error.value)
    assert "\n" not in sentence and sentence.endswith(".") and ". " not in sentence.replace("...", ""), sentence
    for value in values:
        assert value in sentence, (value, sentence)
    return sentence


def swapped_profile() -> bytes:
    """sRGB with the red and the blue primary exchanged: applying it shows beyond doubt."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"tmp!", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"tmp!", b"bXYZ", 1)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, pixels: bytes, depth: int = 8, kind: int = 0, extra: bytes = b"") -> bytes:
    """A PNG that Pillow does not write: `pixels` are rows without their filter byte."""
    stride = len(pixels) // height
    rows = b"".join(b"\0" + pixels[i * stride : (i + 1) * stride] for i in range(height))
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def bomb(width: int, height: int) -> bytes:
    """A valid all-black gray PNG of any size, made a row at a time."""
    packer, data = zlib.compressobj(9), []
    for _ in range(height):
        data.append(packer.compress(bytes(width + 1)))
    data.append(packer.flush())
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", b"".join(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body
