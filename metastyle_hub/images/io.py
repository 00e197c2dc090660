"""Pictures in, pictures out: files and PIL images to float tensors in [0, 1] and back.

Whatever a file holds, `load_image` gives an upright 8-bit sRGB picture or one sentence (`ImageError`) that
says why not.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from metastyle_hub.images.decoding import (
    DEFAULT_LIMITS,
    ImageLimits,
    check_pixels,
    decode_array,
    decode_file,
    decode_object,
    file_sha256,
    list_images,
    quoted,
    reason,
)
from metastyle_hub.errors import ImageError
from metastyle_hub.images.transforms import check_shape

__all__ = [
    "ImageLike",
    "ImageLimits",
    "check_writable",
    "image_sha256",
    "list_images",
    "load_image",
    "save_image",
    "to_pil",
    "to_tensor",
    "with_alpha",
]

ImageLike: TypeAlias = Image.Image | str | os.PathLike[str] | torch.Tensor | npt.NDArray[Any]
"""A PIL image, the path of an image file, a float tensor (3, H, W) or (1, 3, H, W) in [0, 1], or a uint8
array (H, W), (H, W, 3) or (H, W, 4)."""

# No subsampling and quality 95: brush strokes are fine coloured detail, which 4:2:0 smears visibly.
_WRITABLE: dict[str, tuple[str, dict[str, Any]]] = {
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".png": ("PNG", {}),
    ".webp": ("WEBP", {"quality": 95}),
    ".avif": ("AVIF", {"quality": 90}),
    ".tif": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".bmp": ("BMP", {}),
}
_NO_ALPHA = ("JPEG", "BMP")
_NOT_FINITE = "The image tensor holds NaN or infinite values; every value must be a number in [0, 1]."


def load_image(source: ImageLike, limits: ImageLimits = DEFAULT_LIMITS) -> Image.Image:
    """Any picture as an upright 8-bit sRGB PIL image that shares nothing with `source`.

    The mode is "RGBA" where some pixel is not opaque, otherwise "RGB". EXIF orientation is applied, an
    embedded colour profile is converted to sRGB, 16-bit, 32-bit and float samples are scaled to 8 bits and
    not clipped, and of an animated file the first frame is taken. Raises ImageError for all that is unusable.

        >>> load_image("holiday.jpg").mode
        'RGB'
    """
    if isinstance(source, Image.Image):
        return decode_object(source, limits)
    if isinstance(source, torch.Tensor):
        if source.ndim >= 2:
            check_pixels("the image tensor", source.shape[-1], source.shape[-2], limits)
        return to_pil(to_tensor(source))
    if isinstance(source, np.ndarray):
        return decode_array(source, limits)
    if not isinstance(source, (str, os.PathLike)):
        raise ImageError(
            f"Cannot read an image from a {type(source).__name__}; pass a path, a PIL image, a float tensor "
            "(3, H, W) or a uint8 array (H, W, 3)."
        )
    return decode_file(source, limits)


def to_tensor(image: Image.Image | torch.Tensor) -> torch.Tensor:
    """A picture as float32 tensor (B, 3, H, W) in [0, 1], sRGB; alpha is dropped.

    A PIL image gives B = 1 (upright, as `load_image` makes it, whatever its size). A float tensor (3, H, W)
    or (B, 3, H, W) is checked and keeps its device. Raises ImageError for other shapes, integer tensors, NaN
    or infinity, and values outside [0, 1] by more than 0.001 (less is taken for rounding, and clamped).

        >>> to_tensor(Image.new("RGB", (64, 48))).shape
        torch.Size([1, 3, 48, 64])
    """
    if isinstance(image, Image.Image):
        rgb = np.array(decode_object(image, None).convert("RGB"))
        return torch.from_numpy(rgb).permute(2, 0, 1)[None].contiguous().to(torch.float32).div_(255)
    check_shape(image)
    low, high = (float(value) for value in torch.aminmax(image.detach()))
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageError(_NOT_FINITE)
    if low < -1e-3 or high > 1 + 1e-3:
        raise ImageError(
            f"The image tensor holds values from {low:.4g} to {high:.4g}, which must lie in [0, 1]; divide "
            "8-bit values by 255 and undo any normalisation."
        )
    batch = (image if image.ndim == 4 else image[None]).to(torch.float32)
    return batch.clamp(0, 1) if low < 0 or high > 1 else batch


def to_pil(tensor: torch.Tensor) -> Image.Image:
    """A float tensor (3, H, W) or (1, 3, H, W) as "RGB" PIL image: clamped to [0, 1], rounded to nearest.

    Raises ImageError for other shapes, integer tensors, and NaN or infinity.

        >>> to_pil(torch.rand(3, 48, 64)).size
        (64, 48)
    """
    check_shape(tensor)
    if tensor.ndim == 4:
        if tensor.shape[0] != 1:
            raise ImageError(f"Cannot make one picture of {len(tensor)}; convert them one at a time.")
        tensor = tensor[0]
    tensor = tensor.detach()
    if not bool(torch.isfinite(tensor).all()):
        raise ImageError(_NOT_FINITE)
    # float32 first: half precision cannot tell all 256 levels apart once they are multiplied out
    pixels = tensor.to(torch.float32).clamp(0, 1).mul(255).round().to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().cpu().numpy())


def with_alpha(rgb: Image.Image, like: Image.Image) -> Image.Image:
    """`rgb` with the transparency of `like`, resized to fit; `rgb` itself where `like` has none.

    >>> with_alpha(stylised, load_image("logo.png")).mode
    'RGBA'
    """
    if not like.has_transparency_data:
        return rgb
    alpha = like.convert("RGBA").getchannel("A")
    if alpha.size != rgb.size:
        alpha = alpha.resize(rgb.size, Image.Resampling.BICUBIC)
    out = rgb.convert("RGB")
    out.putalpha(alpha)
    return out


def image_sha256(source: ImageLike) -> str:
    """Hex SHA-256 of a file's bytes for a path, otherwise of the size, mode and pixels of the picture.

    Raises ImageError where the file or the picture cannot be read.

        >>> len(image_sha256("starry_night.jpg"))
        64
    """
    if isinstance(source, (str, os.PathLike)):
        return file_sha256(source)
    image = load_image(source)
    digest = hashlib.sha256(f"{image.width}x{image.height} {image.mode}\n".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def load_image_with_sha256(source: ImageLike, limits: ImageLimits = DEFAULT_LIMITS) -> tuple[Image.Image, str]:
    image = load_image(source, limits)
    return image, image_sha256(source)


def combined_sha256(hashes: list[str]) -> str:
    if len(hashes) == 1:
        return hashes[0]
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def check_writable(path: str | os.PathLike[str]) -> None:
    """Refuse what `save_image` could not write, before the work of making a picture. Touches nothing.

    Raises ImageError for a suffix that names no format, and for a place that is no file's or not yours.

        >>> check_writable("out/starry.jpg")
    """
    target, name = Path(path), quoted(path)
    if target.suffix.lower() not in _WRITABLE:
        raise ImageError(f"{name} names no image format to write; end it in one of {', '.join(_WRITABLE)}.")
    try:
        folder = next((p for p in target.parents if p.exists()), Path())
        free = not target.is_dir() and folder.is_dir() and os.access(folder, os.W_OK)
    except OSError as error:  # a name that is too long
        raise ImageError(f"{name} cannot be written: {reason(error)}; try another place.") from error
    if not free:
        raise ImageError(f"{name} cannot be written there; try another place.")


def save_image(image: Image.Image, path: str | os.PathLike[str]) -> None:
    """Write a picture in the format that the suffix names, whole or not at all, making its folders.

    For formats without transparency (JPEG, BMP) it is laid over white. Raises ImageError for an unknown
    suffix and where the file cannot be written.

        >>> save_image(picture, "out/starry.jpg")
    """
    target, name = Path(path), quoted(path)
    check_writable(path)
    format, options = _WRITABLE[target.suffix.lower()]
    image = decode_object(image, None)
    if image.mode == "RGBA" and format in _NO_ALPHA:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image).convert("RGB")
    # No tempfile, which would stay unreadable to other users after the rename; short, as names have a limit.
    aside = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("xb") as file:
            image.save(file, format=format, **options)
        aside.replace(target)
    except Exception as error:  # encoders raise as many kinds as decoders do
        raise ImageError(f"{name} cannot be written: {reason(error)}; try another place or format.") from error
    finally:
        with contextlib.suppress(OSError):  # no folder, so nothing to tidy up: the error above says why
            aside.unlink(missing_ok=True)
