"""Encode images and write them to files, each whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import ExifTags, Image

from metastyle_hub.config import expanded
from metastyle_hub.errors import ImageError
from metastyle_hub.images.decoding import decode_image, quoted, reason
from metastyle_hub.images.transforms import one_image

__all__ = [
    "WRITABLE", "check_writable", "encode_deep_png", "encode_image", "refusal", "replace_file", "save_image",
    "write_bytes",
]  # fmt: skip

# No subsampling and quality 95: brush strokes are fine colored detail, which 4:2:0 smears visibly.
_FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jfif": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".png": ("PNG", {}),
    ".webp": ("WEBP", {"quality": 95}),
    ".avif": ("AVIF", {"quality": 90}),
    ".tif": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".bmp": ("BMP", {}),
}
WRITABLE = tuple(_FORMATS)
"""The suffixes of the formats that `save_image` writes."""

_NO_ALPHA = ("JPEG", "BMP")
_ENCODER_ROWS = 64  # of a 16-bit PNG at once


def check_writable(path: str | os.PathLike[str]) -> None:
    """Refuse a path that `save_image` could not write, before the image is computed. Nothing is created.

    Raises:
        ImageError: for a suffix of no writable format, a write-protected file, or a place where none can be created.

    >>> check_writable("out/starry.jpg")
    """
    if expanded(path).suffix.lower() not in _FORMATS:
        raise ImageError(f"{quoted(path)} names no image format to write; end it in one of {', '.join(WRITABLE)}.")
    if why := refusal(path):
        raise ImageError(why)


def refusal(path: str | os.PathLike[str]) -> str | None:
    """Return the sentence that says why no file can be written to this path, or None. Nothing is created."""
    name = quoted(path)
    try:
        target = Path(os.path.realpath(expanded(path)))  # a link stays, and its target is written
        folder = next((p for p in target.parents if p.exists()), Path())
        is_free = (target.is_file() or not target.exists()) and folder.is_dir() and os.access(folder, os.W_OK)
        # the rights of root ignore the mode, by which the owner asked for protection
        is_protected = target.is_file() and not (target.stat().st_mode & 0o222 and os.access(target, os.W_OK))
    except (OSError, ValueError) as error:  # a name that is too long; a zero byte
        return f"{name} cannot be written: {reason(error)}; try another place."
    if is_protected:
        return f"{name} is write-protected; choose another name, or allow writing to it."
    return None if is_free else f"{name} cannot be written there; try another place."


def save_image(image: Image.Image, path: str | os.PathLike[str], *, software: str | None = None) -> None:
    """Write an image in the format of the suffix, completely or not at all, and create missing folders.

    Formats without alpha (JPEG, BMP) get a white background. The resolution `image.info["dpi"]` is kept. A link stays,
    and its target is written; a file that is replaced keeps its mode.

    Args:
        image: of any mode.
        path: of the file; the suffix chooses the format.
        software: the EXIF tag Software, in formats that have EXIF (all but BMP).

    Raises:
        ImageError: for a suffix of no writable format, or if the file cannot be written.

    >>> save_image(image, "out/starry.jpg")
    """
    check_writable(path)
    write_bytes(path, encode_image(image, expanded(path).suffix, quoted(path), software=software))


def encode_image(image: Image.Image, suffix: str, name: str = "the image", *, software: str | None = None) -> bytes:
    """Return the file of an image, see `save_image`; `name` is for messages.

    Raises:
        ImageError: if the format cannot hold it.

    >>> encode_image(image, ".png")[1:4]
    b'PNG'
    """
    format, options = _FORMATS[suffix.lower()]
    image = decode_image(image, None)
    if image.mode == "RGBA" and format in _NO_ALPHA:
        white = Image.new("RGBA", image.size, "white")
        white.info = image.info
        image = Image.alpha_composite(white, image).convert("RGB")
    if "dpi" in image.info:
        options = options | {"dpi": image.info["dpi"]}
    if software and format != "BMP":
        exif = Image.Exif()
        exif[ExifTags.Base.Software] = software
        options = options | {"exif": exif}
    file = BytesIO()
    try:
        image.save(file, format=format, **options)
    except Exception as error:  # encoders raise as many kinds as decoders do
        raise ImageError(f"{name} cannot be written: {reason(error)}; try another place or format.") from error
    return file.getvalue()


def encode_deep_png(
    pixels: torch.Tensor, alpha: Image.Image | None = None, dpi: Any = None, *, software: str | None = None
) -> bytes:
    """Return a PNG file of 16 bits a channel, which Pillow does not write.

    Args:
        pixels: (3, H, W) or (1, 3, H, W) in [0, 1].
        alpha: an "L" image of that size.
        dpi: horizontal and vertical resolution.
        software: the EXIF tag Software.

    Raises:
        ImageError: for another shape or dtype, NaN or infinity.

    Example::

        Path("deep.png").write_bytes(encode_deep_png(style.stylize(load_deep("scan.png"))))
    """
    values = one_image(pixels).cpu().permute(1, 2, 0)  # (H, W, 3)
    levels = (values * 65535).round().to(torch.int32).numpy().astype(">u2")
    if alpha is not None:
        levels = np.concatenate([levels, (np.asarray(alpha)[..., None] * np.uint16(257)).astype(">u2")], -1)
    height, width, channels = levels.shape
    rows = levels.reshape(height, -1).view(np.uint8)  # (H, 2 * W * channels)
    above = np.concatenate([np.zeros_like(rows[:1]), rows[:-1]])
    packer, data = zlib.compressobj(6), []
    for start in range(0, height, _ENCODER_ROWS):
        part = slice(start, start + _ENCODER_ROWS)
        difference = rows[part] - above[part]  # filter 2, "up"
        data.append(packer.compress(np.insert(difference, 0, 2, axis=1).tobytes()))
    data.append(packer.flush())
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2 if channels == 3 else 6, 0, 0, 0))]
    if dpi:
        chunks.append((b"pHYs", struct.pack(">IIB", *(round(float(v) / 0.0254) for v in dpi), 1)))
    if software:
        exif = Image.Exif()
        exif[ExifTags.Base.Software] = software
        chunks.append((b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")))
    chunks += [(b"IDAT", b"".join(data)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file completely or not at all, and create missing folders.

    Raises:
        ImageError: if it cannot be written.
    """
    target = Path(os.path.realpath(expanded(path)))
    # not tempfile, whose files other users cannot read after the rename; a short name, because names have a limit
    partial = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("xb") as file:
            file.write(data)
        replace_file(partial, target)
    except (OSError, ValueError) as error:
        raise ImageError(f"{quoted(path)} cannot be written: {reason(error)}; try another place.") from error
    finally:
        with contextlib.suppress(OSError, ValueError):  # without a folder there is nothing to remove
            partial.unlink(missing_ok=True)


def replace_file(partial: Path, target: Path) -> None:
    """Move a finished file to its place, with the mode of the file that it replaces.

    Raises:
        OSError: if it cannot be moved.
    """
    if target.exists():
        partial.chmod(target.stat().st_mode & 0o7777)
    partial.replace(target)
