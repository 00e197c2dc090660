"""Load, convert and save images: files, URLs, PIL images and arrays to float tensors in [0, 1], and back.

    anything users have  -- load_image -->  PIL image  -- to_tensor -->  (1, 3, H, W)  -- to_pil -->  PIL image

Every image is read and decoded once: `to_tensor` converts what `load_image` returns directly, and
`load_image_with_sha256` hashes the bytes that it decodes.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from metastyle_hub.errors import ImageError
from metastyle_hub.images.decoding import (
    DEFAULT_LIMITS,
    ImageLimits,
    check_pixels,
    check_range,
    decode,
    decode_array,
    decode_deep,
    decode_image,
    is_decoded,
    quoted,
)
from metastyle_hub.images.files import list_images, read_bytes
from metastyle_hub.images.output import check_writable, save_image
from metastyle_hub.images.transforms import check_shape, one_image

__all__ = [
    "ImageLike",
    "ImageLimits",
    "check_writable",
    "combined_sha256",
    "image_sha256",
    "list_images",
    "load_deep",
    "load_image",
    "load_image_with_deep",
    "load_image_with_sha256",
    "save_image",
    "to_pil",
    "to_tensor",
    "with_alpha",
]

ImageLike: TypeAlias = Image.Image | str | os.PathLike[str] | torch.Tensor | npt.NDArray[Any]
"""A PIL image; the path or the http(s) URL of an image file; a tensor (3, H, W) or (1, 3, H, W), float in [0, 1] or
uint8; or an array (H, W), (H, W, 3) or (H, W, 4), float in [0, 1] or uint8."""


def load_image(source: ImageLike, limits: ImageLimits = DEFAULT_LIMITS) -> Image.Image:
    """Load an image as an upright 8-bit sRGB PIL image that shares no memory with `source`.

    EXIF orientation is applied, an embedded color profile is converted to sRGB, and 16-bit, 32-bit and float samples
    are scaled to 8 bits. Of an animation the first frame is loaded.

    Args:
        source: a path, URL, PIL image, tensor or array, see `ImageLike`.
        limits: for pixels, bytes and the time of a download.

    Returns:
        "RGBA" if a pixel is not opaque, otherwise "RGB".

    Raises:
        ImageError: for an image that cannot be used.

    >>> load_image("photo.jpg").mode
    'RGB'
    """
    if isinstance(source, str | os.PathLike):
        return decode(read_bytes(source, limits), quoted(source), limits)
    if isinstance(source, Image.Image):
        return decode_image(source, limits)
    if isinstance(source, np.ndarray):
        return decode_array(source, limits)
    if isinstance(source, torch.Tensor):
        if source.ndim >= 2:
            check_pixels("the image tensor", source.shape[-1], source.shape[-2], limits)
        return to_pil(to_tensor(source))
    raise ImageError(
        f"A {type(source).__name__} is no image; pass a path, a URL, a PIL image, a tensor (3, H, W) or an array "
        "(H, W, 3)."
    )


def load_image_with_sha256(source: ImageLike, limits: ImageLimits = DEFAULT_LIMITS) -> tuple[Image.Image, str]:
    """Load an image and return its `image_sha256` as well. A file is read once, so both are of the same bytes.

    Args:
        source: as in `load_image`.
        limits: as in `load_image`.

    Raises:
        ImageError: for an image that cannot be used.
    """
    if isinstance(source, str | os.PathLike):
        data = read_bytes(source, limits)
        return decode(data, quoted(source), limits), hashlib.sha256(data).hexdigest()
    image = load_image(source, limits)
    digest = hashlib.sha256(f"{image.width}x{image.height} {image.mode}\n".encode())
    digest.update(image.tobytes())
    return image, digest.hexdigest()


def load_deep(source: ImageLike, limits: ImageLimits = DEFAULT_LIMITS) -> torch.Tensor:
    """Load an image as a float tensor (1, 3, H, W) in [0, 1], with all 16 bits of a PNG or TIFF that has them.

    Other images, and those with a color profile, transparency or an orientation, have the 8 bits of `load_image`.

    Raises:
        ImageError: for an image that cannot be used.

    >>> load_deep("photo.jpg").shape
    torch.Size([1, 3, 48, 64])
    """
    return to_tensor(source) if isinstance(source, torch.Tensor) else load_image_with_deep(source, limits)[1]


def load_image_with_deep(source: ImageLike, limits: ImageLimits = DEFAULT_LIMITS) -> tuple[Image.Image, torch.Tensor]:
    """Load an image as `load_image` and as `load_deep` do. A file is read once, so both are of the same bytes.

    Raises:
        ImageError: for an image that cannot be used.
    """
    if not isinstance(source, str | os.PathLike):
        image = load_image(source, limits)
        return image, to_tensor(image)
    data = read_bytes(source, limits)
    image = decode(data, quoted(source), limits)
    deep = decode_deep(data) if image.mode == "RGB" else None
    if deep is None or deep.shape[:2] != image.size[::-1]:
        return image, to_tensor(image)
    return image, torch.from_numpy(deep).permute(2, 0, 1)[None].contiguous()  # (1, 3, H, W)


def image_sha256(source: ImageLike) -> str:
    """Return the hex SHA-256 of a file's bytes, or of the size, mode and pixels of an image in memory.

    Raises:
        ImageError: for an image that cannot be used.

    >>> len(image_sha256("starry_night.jpg"))
    64
    """
    if isinstance(source, str | os.PathLike):
        return hashlib.sha256(read_bytes(source)).hexdigest()
    return load_image_with_sha256(source)[1]


def combined_sha256(hashes: list[str]) -> str:
    """Return one SHA-256 for a list: that of a single image itself, else that of all of them joined."""
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def to_tensor(image: Image.Image | torch.Tensor) -> torch.Tensor:
    """Convert an image to a float32 tensor in [0, 1], sRGB, without alpha.

    Args:
        image: a PIL image of any mode and size; or a tensor (3, H, W) or (B, 3, H, W), float in [0, 1] or uint8, which
            keeps its device.

    Returns:
        (B, 3, H, W); B = 1 for a PIL image.

    Raises:
        ImageError: for another shape or dtype, NaN or infinity, or values outside [0, 1] by more than 0.001.

    >>> to_tensor(Image.new("RGB", (64, 48))).shape
    torch.Size([1, 3, 48, 64])
    """
    if isinstance(image, Image.Image):
        rgb = image if is_decoded(image) else decode_image(image, None)
        pixels = torch.from_numpy(np.array(rgb)[..., :3])  # (H, W, 3)
        return pixels.permute(2, 0, 1)[None].contiguous().to(torch.float32).div_(255)  # (1, 3, H, W)
    if isinstance(image, torch.Tensor) and image.dtype == torch.uint8:
        image = image.to(torch.float32) / 255
    check_shape(image)
    low, high = (float(value) for value in torch.aminmax(image.detach()))
    check_range("image tensor", low, high)
    batch = (image if image.ndim == 4 else image[None]).to(torch.float32)  # (B, 3, H, W)
    return batch.clamp(0, 1) if low < 0 or high > 1 else batch


def to_pil(tensor: torch.Tensor) -> Image.Image:
    """Convert a float tensor (3, H, W) or (1, 3, H, W) to an "RGB" image: clamped to [0, 1], rounded to nearest.

    Raises:
        ImageError: for another shape or dtype, NaN or infinity.

    >>> to_pil(torch.rand(3, 48, 64)).size
    (64, 48)
    """
    pixels = one_image(tensor).mul(255).round().to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().cpu().numpy())  # (H, W, 3)


def with_alpha(rgb: Image.Image, like: Image.Image) -> Image.Image:
    """Return `rgb` with the transparency of `like`, resized to fit; `rgb` itself if `like` has none.

    >>> with_alpha(image, load_image("logo.png")).mode
    'RGBA'
    """
    if not like.has_transparency_data:
        return rgb
    alpha = like.convert("RGBA").getchannel("A")
    if alpha.size != rgb.size:
        alpha = alpha.resize(rgb.size, Image.Resampling.BICUBIC)
    rgba = rgb.convert("RGB")
    rgba.putalpha(alpha)
    return rgba
