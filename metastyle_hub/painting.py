"""Pictures as users have them, through the network, and back as what they came as."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from metastyle_hub.devices import enough_memory
from metastyle_hub.errors import SettingError
from metastyle_hub.geometry import keep_colors, resize_short_side
from metastyle_hub.images import load_image, to_pil, to_tensor, with_alpha
from metastyle_hub.network import ImageTransformationNetwork
from metastyle_hub.parameters import Parameters
from metastyle_hub.stylization import stylize_several, stylize_tensor

__all__ = ["paint", "paint_each", "style_tensor"]


def paint(
    network: ImageTransformationNetwork,
    parameters: Parameters,
    photo: Any,
    *,
    size: int | None = None,
    keep_photo_colors: bool = False,
) -> Any:
    """One photo: what `load_image` reads gives a PIL image, a tensor (3, H, W) or (B, 3, H, W) such a tensor.

    Args:
        size: pixels of the result's short side; None keeps the photo's.

    Raises:
        ImageError: a picture that cannot be used.
        SettingError: a size below 1.
        DeviceError: the picture does not fit into the memory.
    """
    _check_size(size)
    picture = photo if isinstance(photo, Tensor) else load_image(photo)
    device = _device(parameters)
    with enough_memory("painting", device, "a smaller size"):
        images = _sized(picture, size)
        result = stylize_tensor(network, parameters, images.to(device))
        return _finished(result, images, picture, keep_photo_colors)


def paint_each(
    network: ImageTransformationNetwork,
    styles: Sequence[Parameters],
    photos: Any,
    *,
    size: int | None = None,
    keep_photo_colors: bool = False,
) -> Any:
    """A list or batch of photos, each with its own parameters; see `stylization.stylize_several`.

    Raises:
        ImageError: a picture that cannot be used.
        SettingError: a size below 1, one photo alone, or another number of styles than of photos.
        DeviceError: the pictures do not fit into the memory.
    """
    batch = isinstance(photos, Tensor) and photos.ndim == 4
    several = batch or isinstance(photos, list | tuple)
    count = len(photos) if several else 1
    if count != len(styles) or not several:
        raise SettingError(f"styles go with a list or batch of as many photos; got {count} and {len(styles)} styles.")
    _check_size(size)
    pictures = [p if isinstance(p, Tensor) else load_image(p) for p in photos]
    if not styles:
        return []
    device = _device(styles[0])
    with enough_memory("painting", device, "fewer photos at a time or a smaller size"):
        images = [_sized(p, size) for p in pictures]
        results = stylize_several(network, styles, [x.to(device) for x in images])
        done = [_finished(*each, keep_photo_colors) for each in zip(results, images, pictures, strict=True)]
        return torch.stack(done) if batch else done


def style_tensor(picture: Image.Image, size: int) -> Tensor:
    """The style picture at its working size; small or narrow ones are enlarged, so that every tap has features."""
    images = to_tensor(picture)
    height, width = images.shape[-2:]
    # a picture as narrow as a ribbon would grow without bound; its middle tells the style as well
    if max(height, width) > 4 * min(height, width):
        side = 4 * min(height, width)
        top, left = max(0, (height - side) // 2), max(0, (width - side) // 2)
        images = images[..., top : top + side, left : left + side]
    return resize_short_side(images, size)


def _check_size(size: int | None) -> None:
    if size is not None and size < 1:
        raise SettingError(f"size must be at least 1 pixel, got {size}.")


def _device(parameters: Parameters) -> torch.device:
    return next(iter(parameters.values())).device


def _sized(picture: Image.Image | Tensor, size: int | None) -> Tensor:
    images = to_tensor(picture)
    return resize_short_side(images, size) if size else images


def _finished(result: Tensor, images: Tensor, picture: Image.Image | Tensor, keep_photo_colors: bool) -> Any:
    """The result as what the picture came as, with what it keeps of it."""
    result = result.to(images.device)
    result = keep_colors(result, images) if keep_photo_colors else result
    if isinstance(picture, Tensor):
        return result[0] if picture.ndim == 3 else result
    return with_alpha(to_pil(result), picture) if picture.mode == "RGBA" else to_pil(result)
