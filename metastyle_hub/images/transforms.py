"""Resize, crop and pad image tensors; restore the colors of the content image."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F

from metastyle_hub.errors import ImageError
from metastyle_hub.images.decoding import DEFAULT_LIMITS

__all__ = [
    "MIN_SIDE",
    "SIDE_MULTIPLE",
    "Padding",
    "center_crop",
    "check_shape",
    "crop_back",
    "one_image",
    "pad_to_multiple",
    "preserve_color",
    "resize_long_side",
    "resize_short_side",
]

SIDE_MULTIPLE, MIN_SIDE = 4, 32  # pixels: what `pad_to_multiple` makes of an image for the network
_LUMA = (0.299, 0.587, 0.114)  # Y of YCbCr (ITU-R BT.601)


class Padding(NamedTuple):
    """Where the original lies in a padded tensor: the offset of its corner and its size, in pixels."""

    top: int
    left: int
    height: int
    width: int


def resize_short_side(tensor: torch.Tensor, size: int) -> torch.Tensor:
    """Resize to a shorter side of `size` pixels; the aspect ratio is kept.

    Args:
        tensor: (B, 3, H, W) or (3, H, W) in [0, 1], float.
        size: pixels, at least 1.

    Raises:
        ImageError: for another shape or dtype, or if a very narrow image would exceed `ImageLimits.max_pixels`.

    >>> resize_short_side(torch.rand(1, 3, 300, 400), 150).shape
    torch.Size([1, 3, 150, 200])
    """
    return _resize(tensor, size, min(tensor.shape[-2:]))


def resize_long_side(tensor: torch.Tensor, size: int) -> torch.Tensor:
    """Resize to a longer side of `size` pixels, see `resize_short_side`; no side falls below 1.

    >>> resize_long_side(torch.rand(1, 3, 300, 400), 100).shape
    torch.Size([1, 3, 75, 100])
    """
    return _resize(tensor, size, max(tensor.shape[-2:]))


def center_crop(tensor: torch.Tensor, size: int | tuple[int, int]) -> torch.Tensor:
    """Return the central `size` x `size` (or height, width) pixels of (..., H, W), as a view.

    Raises:
        ImageError: if the image is smaller than that.

    >>> center_crop(torch.rand(1, 3, 300, 400), 256).shape
    torch.Size([1, 3, 256, 256])
    """
    height, width = (size, size) if isinstance(size, int) else size
    top, left = (tensor.shape[-2] - height) // 2, (tensor.shape[-1] - width) // 2
    if top < 0 or left < 0 or height < 1 or width < 1:
        raise ImageError(
            f"Cannot crop {width}x{height} pixels from {tensor.shape[-1]}x{tensor.shape[-2]}; resize the image first."
        )
    return tensor[..., top : top + height, left : left + width]


def pad_to_multiple(
    tensor: torch.Tensor, multiple: int = SIDE_MULTIPLE, minimum: int = MIN_SIDE
) -> tuple[torch.Tensor, Padding]:
    """Pad by reflection until both sides are multiples of `multiple` and at least `minimum`.

    Works for any size: an image smaller than its padding is reflected repeatedly. Without padding, the tensor itself is
    returned.

    Args:
        tensor: (..., H, W).
        multiple: of the network's strides.
        minimum: pixels.

    Returns:
        The padded tensor, and what `crop_back` needs to undo it exactly.

    >>> padded, padding = pad_to_multiple(torch.rand(1, 3, 7, 1))
    >>> padded.shape, crop_back(padded, padding).shape
    (torch.Size([1, 3, 32, 32]), torch.Size([1, 3, 7, 1]))
    """
    height, width = int(tensor.shape[-2]), int(tensor.shape[-1])
    extra = [-(-max(side, minimum) // multiple) * multiple - side for side in (height, width)]
    padding = Padding(extra[0] // 2, extra[1] // 2, height, width)
    for dim, side, before, total in ((-2, height, padding.top, extra[0]), (-1, width, padding.left, extra[1])):
        if total:
            # F.pad reflects once, so it refuses more padding than there are pixels to reflect
            period = max(2 * (side - 1), 1)
            index = torch.arange(-before, side + total - before, device=tensor.device) % period
            index = torch.minimum(index, period - index)  # of a single pixel: period 1, all zeros
            tensor = tensor.index_select(dim, index)
    return tensor, padding


def crop_back(tensor: torch.Tensor, padding: Padding) -> torch.Tensor:
    """Return the original part of a tensor that `pad_to_multiple` padded, as a view."""
    top, left, height, width = padding
    return tensor[..., top : top + height, left : left + width]


def preserve_color(stylized: torch.Tensor, content: torch.Tensor) -> torch.Tensor:
    """Return the luminance of `stylized` with the chroma of `content` (Gatys et al. 2016, luminance-only transfer).

    Args:
        stylized: (B, 3, H, W) in [0, 1].
        content: of the same shape.

    Raises:
        ImageError: if the shapes differ.

    >>> preserve_color(torch.rand(1, 3, 48, 64), torch.rand(1, 3, 48, 64)).shape
    torch.Size([1, 3, 48, 64])
    """
    if stylized.shape != content.shape:
        raise ImageError(
            f"Colors cannot be preserved between images of shapes {tuple(stylized.shape)} and {tuple(content.shape)}; "
            "resize one first."
        )
    luma = torch.tensor(_LUMA, dtype=content.dtype, device=content.device).view(3, 1, 1)
    # in YCbCr a pixel is its luminance plus an offset of chroma alone: replacing Y adds the difference of Y
    return (content + ((stylized - content) * luma).sum(-3, keepdim=True)).clamp(0, 1)


def check_shape(tensor: torch.Tensor) -> None:
    """Refuse anything but a float tensor (3, H, W) or (B, 3, H, W).

    Raises:
        ImageError: with the type, shape or dtype.

    >>> check_shape(torch.rand(1, 3, 48, 64))
    """
    if not isinstance(tensor, torch.Tensor):
        raise ImageError(f"Expected an image tensor, got a {type(tensor).__name__}; use load_image first.")
    shape = tuple(tensor.shape)
    if tensor.ndim not in (3, 4) or shape[-3] != 3 or 0 in shape:
        hint = "permute the channels to the front" if shape[-1:] == (3,) else "reshape it"
        raise ImageError(f"An image tensor must have the shape (3, H, W) or (B, 3, H, W), got {shape}; {hint}.")
    if not tensor.dtype.is_floating_point:
        raise ImageError(f"An image tensor must be float in [0, 1], got {tensor.dtype}; use x.float() / 255.")


def one_image(tensor: torch.Tensor) -> torch.Tensor:
    """Return an image as float32 (3, H, W), clamped to [0, 1].

    Args:
        tensor: (3, H, W) or (1, 3, H, W), float.

    Raises:
        ImageError: for another shape or dtype, NaN or infinity.

    >>> one_image(torch.full((1, 3, 48, 64), 1.5)).shape
    torch.Size([3, 48, 64])
    """
    check_shape(tensor)
    if tensor.ndim == 4:
        if len(tensor) != 1:
            raise ImageError(f"A batch of {len(tensor)} is not one image; convert them one at a time.")
        tensor = tensor[0]
    # float32 first: half precision cannot represent all 256 levels
    values = tensor.detach().to(torch.float32)
    if not bool(torch.isfinite(values).all()):
        raise ImageError("The image tensor holds NaN or infinite values; make every value a number in [0, 1].")
    return values.clamp(0, 1)


def _resize(tensor: torch.Tensor, size: int, side: int) -> torch.Tensor:
    if size < 1:
        raise ImageError(f"Cannot resize an image to {size} pixels; choose at least 1.")
    check_shape(tensor)
    height, width = (max(1, round(length * size / side)) for length in tensor.shape[-2:])
    if (height, width) == tuple(tensor.shape[-2:]):
        return tensor
    if height * width > DEFAULT_LIMITS.max_pixels:
        raise ImageError(
            f"Resizing {tensor.shape[-1]}x{tensor.shape[-2]} pixels to {size} would give {width}x{height} = "
            f"{width * height / 1e6:,.1f} million pixels; choose a smaller size, or crop a narrow image first."
        )
    batch = tensor if tensor.ndim == 4 else tensor[None]
    # float32: the antialiased kernels do not exist in half precision everywhere
    resized = F.interpolate(batch.float(), (height, width), mode="bicubic", align_corners=False, antialias=True)
    return resized.clamp(0, 1).to(tensor.dtype).reshape(*tensor.shape[:-2], height, width)
