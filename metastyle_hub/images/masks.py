"""Masks: which part of an image is stylized, with soft edges; which part of a style image is used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image, ImageChops
from torch import Tensor

from metastyle_hub.errors import ImageError
from metastyle_hub.images.io import load_image, to_tensor
from metastyle_hub.images.transparency import fill_hidden

__all__ = ["blend", "load_mask", "masked"]


def load_mask(mask: Any, height: int, width: int) -> Tensor:
    """Load a mask as (1, 1, H, W) in [0, 1]: 1 where an image is white, 0 where it is black or transparent.

    Args:
        mask: anything `load_image` reads, or a tensor (H, W), (1, H, W) or (1, 1, H, W): bool, uint8, or float in
            [0, 1].
        height, width: pixels of the result; a mask of another size is resized.

    Raises:
        ImageError: for a mask that cannot be used.

    >>> load_mask("photo.jpg", 480, 640).shape
    torch.Size([1, 1, 480, 640])
    """
    if isinstance(mask, Tensor):
        if mask.ndim < 2 or mask.ndim > 4 or mask.numel() != mask.shape[-1] * mask.shape[-2] or not mask.numel():
            raise ImageError(f"A mask must be a tensor of shape (H, W) or (1, H, W), got {tuple(mask.shape)}.")
        values = mask.detach().float().reshape(1, 1, *mask.shape[-2:]) / (255 if mask.dtype == torch.uint8 else 1)
        if not bool(((values >= 0) & (values <= 1)).all()):
            raise ImageError("The mask holds values outside [0, 1]; make 1 what is stylized and 0 what is not.")
    else:
        values = to_tensor(_gray(load_image(mask)))[:, :1]
    if values.shape[-2:] != (height, width):
        values = F.interpolate(values, (height, width), mode="bilinear", align_corners=False, antialias=True)
    return values


def blend(content: Tensor, stylized: Sequence[Tensor], masks: Sequence[Tensor], feather: float) -> Tensor:
    """Return content + sum_k m_k (stylized_k - content), with soft edges: (B, 3, H, W) in [0, 1] -> the same.

    Where masks overlap, and their sum exceeds 1, it is divided by the sum.

    Args:
        content: (B, 3, H, W).
        stylized: images of that shape.
        masks: for each one a mask (1, 1, H, W) in [0, 1].
        feather: width of the soft edge, as a share of the short side.
    """
    radius = round(feather * min(content.shape[-2:]) / 2)
    soft = torch.stack([_blurred(mask.to(content), radius) for mask in masks])  # (K, 1, 1, H, W)
    soft = soft / soft.sum(0).clamp_min(1)
    result = content.clone()
    for image, weight in zip(stylized, soft, strict=True):
        result += weight * (image.to(content) - content)
    return result.clamp_(0, 1)


def masked(image: Image.Image, mask: Any) -> Image.Image:
    """Return an image that is transparent where the mask is black; what is hidden there is replaced.

    Raises:
        ImageError: for a mask that cannot be used, or that leaves nothing visible.

    Example::

        base.adapt(masked(load_image("painting_in_its_frame.jpg"), "frame_mask.png"))
    """
    values = load_mask(mask, image.height, image.width)[0, 0]
    alpha = Image.fromarray((values * 255).round().to(torch.uint8).numpy())
    if image.mode == "RGBA":
        alpha = ImageChops.multiply(alpha, image.getchannel("A"))
    if not alpha.getbbox():
        raise ImageError("The mask leaves nothing of the image; make white what is used.")
    result = fill_hidden(image.convert("RGB"), alpha)
    result.putalpha(alpha)
    return result


def _gray(image: Image.Image) -> Image.Image:
    """Lightness times opacity, as "L"."""
    gray = image.convert("L")
    return ImageChops.multiply(gray, image.getchannel("A")) if image.mode == "RGBA" else gray


def _blurred(mask: Tensor, radius: int) -> Tensor:
    """Two box blurs, (1, 1, H, W) -> the same: a smooth edge of 4 * radius pixels."""
    for dim in (0, 1, 0, 1) if radius else ():
        pad = [0, 0, radius, radius] if dim else [radius, radius, 0, 0]
        kernel = (2 * radius + 1, 1) if dim else (1, 2 * radius + 1)
        mask = F.avg_pool2d(F.pad(mask, pad, mode="replicate"), kernel, stride=1)
    return mask
