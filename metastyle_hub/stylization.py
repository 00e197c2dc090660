"""Stylization, the one path of an image: load, resize, pad, batch, tile, and back to what the image came as.

stylize          images as users have them (files, PIL images, tensors)
coarse_to_fine   tensors (B, 3, H, W) of any size, with strokes as wide as asked for
stylize_tensor   tensors (B, 3, H, W) of any size, with one style for all or one for each
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from metastyle_hub.config import Config, option
from metastyle_hub.devices import memory_errors
from metastyle_hub.errors import SettingError
from metastyle_hub.images.io import load_image, to_pil, to_tensor, with_alpha
from metastyle_hub.images.masks import blend, load_mask
from metastyle_hub.images.transforms import crop_back, pad_to_multiple, preserve_color, resize_short_side
from metastyle_hub.networks.backends import BACKENDS
from metastyle_hub.networks.inference import infer
from metastyle_hub.networks.param_groups import Parameters, trainable_parameters
from metastyle_hub.networks.transformer_net import TransformerNet
from metastyle_hub.tiling import TilingConfig, transform_in_tiles

__all__ = ["StylizationConfig", "coarse_to_fine", "stylize", "stylize_regions", "stylize_tensor"]

_TILING = TilingConfig()
_FULL_SIZE = 512  # pixels of the short side up to which strokes are as wide as the network makes them, by default
_COARSE_SHARE = 0.5  # of the change at a coarser level in the input of the next; 1 costs content, 0 has no effect
_COARSEST = 32  # pixels of the short side


@dataclass(frozen=True)
class StylizationConfig(Config):
    """How images are stylized, apart from the style.

    >>> StylizationConfig(stroke_scale=2).stroke_scale
    2.0
    """

    size: int | None = option(None, "short side of the output in pixels; default: that of the input", low=1)
    stroke_scale: float | None = option(
        None,
        "width of strokes and shapes: 1, that of the network in pixels, to 16; default: 1 up to a short side of 512 "
        "pixels, and relative to the image from there on",
        low=1,
        high=16,
    )
    preserve_color: bool = option(False, "take only the lightness from the stylized image, the color from the input")
    backend: str = option("auto", "of the convolutions, see networks/backends.py", choices=BACKENDS)

    def strokes(self, height: int, width: int) -> float:
        """Return the stroke scale for an output of this size."""
        return self.stroke_scale or max(1.0, min(height, width) / _FULL_SIZE)


@dataclass(frozen=True)
class _Content:
    """A loaded content image: its pixels at the output size, and what it came as."""

    images: Tensor  # (B, 3, H, W)
    source: Image.Image | Tensor
    parameters: Parameters


@torch.no_grad()
def stylize(
    network: TransformerNet,
    styles: Sequence[Parameters],
    contents: Sequence[Any],
    config: StylizationConfig | None = None,
) -> list[Any]:
    """Stylize images as users have them; each comes back as what it came as.

    Args:
        network: gives the architecture.
        styles: the parameters for each image.
        contents: anything `load_image` reads gives a PIL image (alpha is kept); a tensor (3, H, W) or (B, 3, H, W)
            gives such a tensor.
        config: size, stroke scale, color and backend; None for the defaults.

    Raises:
        ImageError: for an image that cannot be used.
        SettingError: for another number of styles than of images, or a backend that this machine does not have.
        DeviceError: if memory runs out.

    >>> network = TransformerNet()
    >>> [stylized] = stylize(network, [network.parameter_dict()], ["photo.jpg"])
    >>> stylized.size
    (64, 48)
    """
    config = config or StylizationConfig()
    if len(styles) != len(contents):
        raise SettingError(f"There are {len(styles)} styles for {len(contents)} images; pass one style for each image.")
    if not contents:
        return []
    device = next(iter(styles[0].values())).device
    results: list[Any] = []
    with memory_errors("stylization", device, "a smaller size or fewer images"):
        loaded = (_load(content, parameters, config.size) for content, parameters in zip(contents, styles, strict=True))
        # on a CPU one image at a time is faster than a batch with a style for each
        for batch in _batches(loaded, 1 if device.type == "cpu" else _TILING.threshold):
            images = torch.cat([content.images for content in batch]).to(device)
            parameters = [content.parameters for content in batch for _ in content.images]
            height, width = images.shape[-2:]
            stylized = coarse_to_fine(network, parameters, images, config.strokes(height, width), config.backend)
            parts = stylized.split([len(content.images) for content in batch])
            pairs = zip(parts, batch, strict=True)
            results += [_restore(part, content, config.preserve_color) for part, content in pairs]
    return results


@torch.no_grad()
def stylize_regions(
    network: TransformerNet,
    styles: Sequence[Parameters],
    content: Any,
    masks: Sequence[Any],
    config: StylizationConfig | None = None,
    *,
    feather: float = 0.02,
) -> Any:
    """Stylize regions of one image, each with its style; the rest stays as it is. It comes back as what it came as.

    Args:
        network, config: as in `stylize`.
        styles: the parameters for each region.
        content: an image, or a tensor (3, H, W) or (B, 3, H, W).
        masks: a mask for each region, see `load_mask`.
        feather: width of the soft edges, as a share of the short side, from 0 to 1.

    Raises:
        ImageError: for an image or mask that cannot be used.
        SettingError: for another number of styles than of masks, or a wrong feather.
        DeviceError: if memory runs out.

    >>> network = TransformerNet()
    >>> stylize_regions(network, [network.parameter_dict()], "photo.jpg", [torch.ones(48, 64)]).size
    (64, 48)
    """
    config = config or StylizationConfig()
    if len(styles) != len(masks) or not masks:
        raise SettingError(f"There are {len(styles)} styles for {len(masks)} masks; pass one style for each mask.")
    if not isinstance(feather, numbers.Real) or not 0 <= feather <= 1:
        raise SettingError(f"feather must be a number from 0 to 1, got {feather!r}.")
    loaded = _load(content, styles[0], config.size)
    chosen = [load_mask(mask, *loaded.images.shape[-2:]) for mask in masks]
    stylized = stylize(network, styles, [loaded.images] * len(styles), config.replace(size=None))
    return _restore(blend(loaded.images, stylized, chosen, float(feather)), loaded, keep_color=False)


@torch.no_grad()
def coarse_to_fine(
    network: TransformerNet,
    parameters: Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]],
    images: Tensor,
    stroke_scale: float,
    backend: str = "auto",
) -> Tensor:
    """Stylize from a smaller image up, so that strokes are `stroke_scale` times as wide as the network makes them.

    The change at a level goes into the input of the next larger one, which adds the finer strokes:

        y_L = M(x_L),    y_l = M(clamp(x_l + a * up(y_{l+1} - x_{l+1}))),    a = 0.5

    where x_l are the images at 1 / s_l of their size, s_L = stroke_scale, ..., s_0 = 1, in steps of at most 2. All
    coarser levels together take at most half as long as the last. Gatys et al. 2017 go from coarse to fine likewise.

    Args:
        network, parameters, backend: see `stylize_tensor`.
        images: (B, 3, H, W) in [0, 1].
        stroke_scale: s_L, at least 1; the coarsest level has at least 32 pixels.

    Returns:
        (B, 3, H, W) in [0, 1].
    """
    short = min(images.shape[-2:])
    coarsest = max(1.0, min(stroke_scale, short / _COARSEST))
    levels = math.ceil(math.log2(coarsest))
    change: Tensor | None = None
    stylized = images
    for level in range(levels, -1, -1):
        x = resize_short_side(images, round(short / coarsest ** (level / levels))) if level else images
        contents = x if change is None else (x + _COARSE_SHARE * _upsampled(change, x)).clamp(0, 1)
        stylized = stylize_tensor(network, parameters, contents, backend=backend)
        change = stylized - x
    return stylized


def _upsampled(change: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(change, size=like.shape[-2:], mode="bilinear", align_corners=False)


@torch.no_grad()
def stylize_tensor(
    network: TransformerNet,
    parameters: Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]],
    images: Tensor,
    tiling: TilingConfig = _TILING,
    backend: str = "auto",
) -> Tensor:
    """Return M(images; parameters) for any size: (B, 3, H, W) in [0, 1] -> the same.

    At most `tiling.threshold` pixels go through the network at once: a large batch in parts, a large image in tiles.

    Args:
        network: gives the architecture.
        parameters: for all images, or one dictionary for each. Images whose styles differ in norms and decoder alone
            share one pass; that others are equal is recognized by identity of the tensors.
        images: in [0, 1].
        tiling: threshold and size of the tiles.
        backend: of the convolutions, see `networks.backends`.
    """
    padded, padding = pad_to_multiple(images)
    at_once = tiling.threshold // (padded.shape[-2] * padded.shape[-1])
    parts = []
    for start in range(0, len(padded), max(1, at_once)):
        part = padded[start : start + max(1, at_once)]
        chosen = parameters if isinstance(parameters, Mapping) else parameters[start : start + len(part)]
        for weights, chunk in _shared(chosen, part):
            if at_once:
                parts.append(infer(network, weights, chunk, backend))
            else:
                parts.append(transform_in_tiles(network, weights, chunk, tiling, backend))
    return torch.cat([crop_back(part, padding) for part in parts]).contiguous()


def _shared(
    parameters: Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]], images: Tensor
) -> Iterator[tuple[Mapping[str, Tensor], Tensor]]:
    """Pairs of parameters and images that can go through the network in one pass."""
    if isinstance(parameters, Mapping):
        yield parameters, images
        return
    first = parameters[0]
    differing = [name for name, p in first.items() if any(style[name] is not p for style in parameters)]
    if not differing:
        yield first, images
    elif set(differing) <= trainable_parameters(first, "decoder").keys():
        yield {**first, **{name: torch.stack([style[name] for style in parameters]) for name in differing}}, images
    else:
        yield from zip(parameters, images.split(1), strict=True)


def _batches(contents: Iterable[_Content], max_pixels: int) -> Iterator[list[_Content]]:
    """Runs of consecutive images of one shape, of at most so many pixels together."""
    batch: list[_Content] = []
    for content in contents:
        if batch:
            pixels = sum(c.images[:, 0].numel() for c in [*batch, content])
            if content.images.shape != batch[0].images.shape or pixels > max_pixels:
                yield batch
                batch = []
        batch.append(content)
    if batch:
        yield batch


def _load(content: Any, parameters: Parameters, size: int | None) -> _Content:
    source = content if isinstance(content, Tensor) else load_image(content)
    images = to_tensor(source)
    return _Content(resize_short_side(images, size) if size else images, source, parameters)


def _restore(stylized: Tensor, content: _Content, keep_color: bool) -> Image.Image | Tensor:
    """Return the stylized image as what the content came as, with its alpha."""
    stylized = stylized.to(content.images.device)
    if keep_color:
        stylized = preserve_color(stylized, content.images)
    if isinstance(content.source, Tensor):
        return stylized[0] if content.source.ndim == 3 else stylized
    image = to_pil(stylized)
    image.info = dict(content.source.info)  # the resolution in dots per inch
    return with_alpha(image, content.source) if content.source.mode == "RGBA" else image
