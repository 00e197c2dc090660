"""Stylising pictures of any size: padded to what the network needs, and in tiles when they are large."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from metastyle_hub.geometry import crop_back, pad_to_multiple
from metastyle_hub.network import ImageTransformationNetwork, transform
from metastyle_hub.parameters import Parameters, moving_parameters
from metastyle_hub.tiling import TilingConfig, transform_in_tiles

__all__ = ["stylize_each", "stylize_several", "stylize_tensor"]


_TILING = TilingConfig()


@torch.no_grad()
def stylize_tensor(
    network: ImageTransformationNetwork,
    parameters: Mapping[str, Tensor],
    images: Tensor,
    tiling: TilingConfig = _TILING,
) -> Tensor:
    """M(images; parameters) for any size: (B, 3, H, W) in [0, 1] -> the same shape and range.

    Never more pixels at once than `tiling.threshold`: a large batch goes through in parts, a large picture in tiles.
    """
    padded, padding = pad_to_multiple(images)
    at_once = tiling.threshold // (padded.shape[-2] * padded.shape[-1])
    if at_once:
        parts = [
            transform(network, _rows(network, parameters, slice(i, i + at_once)), padded[i : i + at_once])
            for i in range(0, len(padded), at_once)
        ]
    else:
        parts = [
            transform_in_tiles(network, _rows(network, parameters, i), image[None], tiling)
            for i, image in enumerate(padded)
        ]
    return torch.cat([crop_back(part, padding) for part in parts]).contiguous()


def _rows(network: ImageTransformationNetwork, parameters: Mapping[str, Tensor], rows: int | slice) -> Parameters:
    """The parameters of some pictures of a batch, where each has its own of some."""
    plain = dict(network.named_parameters())
    return {name: p[rows] if p.ndim > plain[name].ndim else p for name, p in parameters.items()}


@torch.no_grad()
def stylize_each(network: ImageTransformationNetwork, styles: Sequence[Mapping[str, Tensor]], images: Tensor) -> Tensor:
    """Every picture of a batch with its own parameters; in one pass if only norms and decoder differ between them.

    Args:
        styles: one for each picture. What they share is known by being the same tensor, not by comparing numbers.
    """
    first = styles[0]
    own = [name for name, p in first.items() if any(style[name] is not p for style in styles)]
    if not set(own) <= moving_parameters(first, "decoder").keys():
        return torch.cat([stylize_tensor(network, p, image[None]) for p, image in zip(styles, images, strict=True)])
    return stylize_tensor(network, {**first, **{n: torch.stack([s[n] for s in styles]) for n in own}}, images)


def stylize_several(
    network: ImageTransformationNetwork, styles: Sequence[Mapping[str, Tensor]], images: Sequence[Tensor]
) -> list[Tensor]:
    """Pictures (B, 3, H, W) of any sizes, each with its own parameters; those of one size go together."""
    sizes: dict[torch.Size, list[int]] = {}
    for i, image in enumerate(images):
        sizes.setdefault(image.shape, []).append(i)
    results: dict[int, Tensor] = {}
    for size, group in sizes.items():
        own = [styles[i] for i in group for _ in range(size[0])]
        made = stylize_each(network, own, torch.cat([images[i] for i in group]))
        results |= dict(zip(group, made.split(size[0]), strict=True))
    return [results[i] for i in range(len(images))]
