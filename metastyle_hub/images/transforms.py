"""Sizes of picture tensors: resize, crop, pad and crop back; and the photo's colours under a new lightness."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F

from metastyle_hub.images.decoding import DEFAULT_LIMITS
from metastyle_hub.errors import ImageError

__all__ = [
    "Padding",
    "center_crop",
    "check_shape",
    "crop_back",
    "preserve_color",
    "pad_to_multiple",
    "resize_long_side",
    "resize_short_side",
]


class Padding(NamedTuple):
    """Where the original lies in a padded tensor, in pixels: the offset of its corner and its size."""

    top: int
    left: int
    height: int
    width: int


def resize_short_side(tensor: torch.Tensor, size: int) -> torch.Tensor:
    """(B, 3, H, W) or (3, H, W) in [0, 1], scaled so that its shorter side is `size`; the aspect is kept.

    Raises ImageError where a very narrow picture would grow beyond `ImageLimits.max_pixels`.

        >>> resize_short_side(torch.rand(1, 3, 300, 400), 150).shape
        torch.Size([1, 3, 150, 200])
    """
    return _resize(tensor, size, min(tensor.shape[-2:]))


def resize_long_side(tensor: torch.Tensor, size: int) -> torch.Tensor:
    """As `resize_short_side`, but the longer side becomes `size`; no side falls below 1.

    >>> resize_long_side(torch.rand(1, 3, 300, 400), 100).shape
    torch.Size([1, 3, 75, 100])
    """
    return _resize(tensor, size, max(tensor.shape[-2:]))


def center_crop(tensor: torch.Tensor, size: int | tuple[int, int]) -> torch.Tensor:
    """The middle `size` x `size` (or height, width) pixels of (..., H, W), as a view.

    Raises ImageError where the picture is smaller than that.

        >>> center_crop(torch.rand(1, 3, 300, 400), 256).shape
        torch.Size([1, 3, 256, 256])
    """
    height, width = (size, size) if isinstance(size, int) else size
    top, left = (tensor.shape[-2] - height) // 2, (tensor.shape[-1] - width) // 2
    if top < 0 or left < 0 or height < 1 or width < 1:
        raise ImageError(
            f"Cannot cut {width}x{height} pixels out of {tensor.shape[-1]}x{tensor.shape[-2]}; resize the image first."
        )
    return tensor[..., top : top + height, left : left + width]


def pad_to_multiple(tensor: torch.Tensor, multiple: int = 4, minimum: int = 32) -> tuple[torch.Tensor, Padding]:
    """(..., H, W) mirrored outwards until both sides are multiples of `multiple`, and `minimum` or more.

    Works for any size: a picture smaller than its padding is mirrored again and again. Gives back the tensor
    itself where nothing is missing. `crop_back` with the second value undoes it exactly.

        >>> padded, padding = pad_to_multiple(torch.rand(1, 3, 7, 1))
        >>> padded.shape, crop_back(padded, padding).shape
        (torch.Size([1, 3, 32, 32]), torch.Size([1, 3, 7, 1]))
    """
    height, width = int(tensor.shape[-2]), int(tensor.shape[-1])
    extra = [-(-max(side, minimum) // multiple) * multiple - side for side in (height, width)]
    padding = Padding(extra[0] // 2, extra[1] // 2, height, width)
    for dim, side, before, total in ((-2, height, padding.top, extra[0]), (-1, width, padding.left, extra[1])):
        if total:
            # F.pad mirrors once, so it refuses more padding than there are pixels to mirror
            period = max(2 * (side - 1), 1)
            index = torch.arange(-before, side + total - before, device=tensor.device) % period
            index = torch.minimum(index, period - index)  # of a single pixel: period 1, all zeros
            tensor = tensor.index_select(dim, index)
    return tensor, padding


def crop_back(tensor: torch.Tensor, padding: Padding) -> torch.Tensor:
    """The original part of a tensor that `pad_to_multiple` padded, as a view; see there."""
    top, left, height, width = padding
    return tensor[..., top : top + height, left : left + width]


def preserve_color(stylized: torch.Tensor, photo: torch.Tensor) -> torch.Tensor:
    """The lightness of `stylized` with the colours of `photo`: (B, 3, H, W) in [0, 1], like both of them.

    Raises ImageError where the sizes differ.

        >>> preserve_color(torch.rand(1, 3, 48, 64), torch.rand(1, 3, 48, 64)).shape
        torch.Size([1, 3, 48, 64])
    """
    if stylized.shape != photo.shape:
        raise ImageError(
            f"Keeping the photo's colours needs two pictures of one size, not {tuple(stylized.shape)} and "
            f"{tuple(photo.shape)}; resize one first."
        )
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=photo.dtype, device=photo.device).view(3, 1, 1)
    # In YCbCr a pixel is its luminance plus an offset made of chroma alone: to exchange Y is to add to it.
    return (photo + ((stylized - photo) * weights).sum(-3, keepdim=True)).clamp(0, 1)


def check_shape(tensor: torch.Tensor) -> None:
    """Raises ImageError unless this is a float tensor (3, H, W) or (B, 3, H, W).

    >>> check_shape(torch.rand(1, 3, 48, 64))
    """
    if not isinstance(tensor, torch.Tensor):
        raise ImageError(f"Expected an image tensor, not a {type(tensor).__name__}; use load_image first.")
    shape = tuple(tensor.shape)
    if tensor.ndim not in (3, 4) or shape[-3] != 3 or 0 in shape:
        hint = "; move the channels to the front with permute" if shape[-1:] == (3,) else ""
        raise ImageError(f"An image tensor must have the shape (3, H, W) or (B, 3, H, W), not {shape}{hint}.")
    if not tensor.dtype.is_floating_point:
        raise ImageError(f"An image tensor must be float in [0, 1], not {tensor.dtype}; use x.float() / 255.")


def _resize(tensor: torch.Tensor, size: int, side: int) -> torch.Tensor:
    if size < 1:
        raise ImageError(f"Cannot resize an image to {size} pixels; the size must be at least 1.")
    check_shape(tensor)
    height, width = (max(1, round(length * size / side)) for length in tensor.shape[-2:])
    if (height, width) == tuple(tensor.shape[-2:]):
        return tensor
    if height * width > DEFAULT_LIMITS.max_pixels:
        raise ImageError(
            f"Resizing a {tensor.shape[-1]}x{tensor.shape[-2]} image to {size} would make {width}x{height} = "
            f"{width * height / 1e6:,.1f} million pixels of it; choose a smaller size, or crop a narrow picture first."
        )
    batch = tensor if tensor.ndim == 4 else tensor[None]
    # float32: the antialiased kernels do not exist in half precision everywhere
    out = F.interpolate(batch.float(), (height, width), mode="bicubic", align_corners=False, antialias=True)
    return out.clamp(0, 1).to(tensor.dtype).reshape(*tensor.shape[:-2], height, width)
