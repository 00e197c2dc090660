"""Tiling of large images, exact: the result is that of the whole image, with the instance-norm statistics of all of it.

A convolution needs only a margin around its tile. Instance norm needs the mean and variance of the whole image, or
tiles would differ in tone. So a pass over all tiles gathers the statistics of a layer before the layer is used:

    three passes           encoder; maps of half and of a quarter of the resolution are kept, those of full size are not
    the residual blocks    on the whole image
    three passes           decoder; the map of half the resolution is kept, the last pass writes the image

Only the two layers of full resolution are computed twice, a sixth of the arithmetic.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from metastyle_hub.config import Config, option
from metastyle_hub.networks.backends import convolution, resolve_backend
from metastyle_hub.networks.inference import (
    center,
    conv_of,
    mirror,
    norm_of,
    normalize,
    phased_to_rgb,
    residual_blocks,
    upsampled_convolution,
)
from metastyle_hub.networks.phases import phases
from metastyle_hub.networks.transformer_net import TransformerNet, logits_to_image

__all__ = ["TilingConfig", "transform_in_tiles"]

# Pixels at full resolution that the layers of a tile need around it: 4 + 1 + 2 in the encoder; in the decoder 4 for the
# last convolution, 1 and 2 for those before it, 2 and 4 for bilinear upsampling: 13, rounded up to a multiple of 4
_MARGIN = 16


@dataclass(frozen=True)
class TilingConfig(Config):
    """When and how images go through the network in tiles. Measurements: docs/performance.md."""

    threshold: int = option(1_500_000, "pixels; an image up to here goes through in one piece", low=0)
    tile: int = option(768, "pixels a side without the margin, a multiple of 4", low=16, multiple=4)


@dataclass(frozen=True)
class _Tile:
    """A rectangle in units of 4 pixels, the resolution of the residual blocks, without and with its margin."""

    inner: tuple[int, int, int, int]  # top, bottom, left, right
    outer: tuple[int, int, int, int]

    def read(self, x: Tensor, scale: int) -> Tensor:
        """Return the rectangle with its margin, of a map with `scale` samples per unit."""
        top, bottom, left, right = (scale * v for v in self.outer)
        return x[..., top:bottom, left:right]

    def without_margin(self, x: Tensor, scale: int) -> Tensor:
        """Return the inner part of something computed from `read`."""
        top, left = (scale * (self.inner[i] - self.outer[i]) for i in (0, 2))
        height, width = (scale * (self.inner[i + 1] - self.inner[i]) for i in (0, 2))
        return x[..., top : top + height, left : left + width]

    def write(self, whole: Tensor, x: Tensor, scale: int) -> None:
        """Write the inner part to its place in the whole map."""
        self.inside(whole, scale).copy_(self.without_margin(x, scale))

    def inside(self, whole: Tensor, scale: int) -> Tensor:
        """Return the inner part of the whole map."""
        top, bottom, left, right = (scale * v for v in self.inner)
        return whole[..., top:bottom, left:right]


class _Moments:
    """Mean and variance per channel over the tiles so far, in float64 (Chan, Golub and LeVeque 1979)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros((), dtype=torch.float64)
        self.squares = torch.zeros((), dtype=torch.float64)  # sum of squared distances from the mean

    def add(self, x: Tensor) -> None:
        """Add a part of a map, as (P, P, C, H, W); see `inference.normalize`."""
        mean, variance = (v.cpu().double() for v in center(x.clone()))
        n = x[:, :, 0].numel()
        total = self.count + n
        difference = mean - self.mean
        self.squares = self.squares + variance * n + difference.square() * self.count * n / total
        self.mean = self.mean + difference * (n / total)
        self.count = total

    def of(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance in the dtype and on the device of x."""
        return self.mean.to(x), (self.squares / self.count).to(x)


@torch.no_grad()
def transform_in_tiles(
    network: TransformerNet,
    parameters: Mapping[str, Tensor],
    image: Tensor,
    config: TilingConfig,
    backend: str = "auto",
) -> Tensor:
    """Return M(image; parameters) as `transform` does, with less memory: (1, 3, H, W) in [0, 1] -> the same.

    Args:
        network: gives the architecture.
        parameters: of the whole network.
        image: sides are multiples of 4.
        config: size of the tiles.
        backend: of the convolutions, see `networks.backends`.

    >>> network = TransformerNet()
    >>> transform_in_tiles(network, network.parameter_dict(), torch.rand(1, 3, 96, 160), TilingConfig(tile=64)).shape
    torch.Size([1, 3, 96, 160])
    """
    height, width = image.shape[-2] // 4, image.shape[-1] // 4  # of the residual blocks
    tiles = list(_tiles(height, width, config.tile // 4))
    n, mode, pixels = network.config.width, network.config.upsampling, image[0]
    convolve = convolution(resolve_backend(backend, image.device, image.dtype))
    moments: defaultdict[str, _Moments] = defaultdict(_Moments)
    conv = partial(conv_of, parameters)

    def normalized(x: Tensor, name: str, target: Tensor | None = None, bias_map: Tensor | None = None) -> Tensor:
        target = x if target is None else target
        normalize(x, *norm_of(parameters, name), target, bias_map, moments=moments[name].of(x))
        return x

    def halved(x: Tensor, name: str) -> Tensor:
        return F.conv2d(_padded(x, 1)[None], *conv(name), stride=2)[0]

    for tile in tiles:
        x = convolve(_padded(tile.read(pixels, 4), 4), *conv("encoder.0"))  # (32, H, W)
        moments["encoder.0"].add(tile.without_margin(x, 4)[None, None])
    half = image.new_empty(2 * n, 2 * height, 2 * width)
    for tile in tiles:
        x = convolve(_padded(tile.read(pixels, 4), 4), *conv("encoder.0"))
        x = halved(normalized(x[None, None], "encoder.0")[0, 0], "encoder.1")  # (64, H/2, W/2)
        moments["encoder.1"].add(tile.without_margin(x, 2)[None, None])
        tile.write(half, x, 2)
    normalized(half[None, None], "encoder.1")
    whole = image.new_empty(4 * n, height + 2, width + 2)
    hidden = whole[:, 1:-1, 1:-1]
    for tile in tiles:
        x = halved(tile.read(half, 2), "encoder.2")  # (128, H/4, W/4)
        moments["encoder.2"].add(tile.without_margin(x, 1)[None, None])
        tile.write(hidden, x, 1)
    del half, x
    normalized(hidden[None, None], "encoder.2", bias_map=network.noise(image, 4 * n, 1))
    residual_blocks(network, parameters, mirror(whole, 1), convolve)

    half = image.new_empty(2 * n, 2 * height, 2 * width)
    for tile in tiles:
        y = upsampled_convolution(_padded(tile.read(hidden, 1), 1, "replicate"), *conv("decoder.0"), mode, convolve)
        y = tile.without_margin(y, 1)  # (2, 2, 64, H/4, W/4)
        moments["decoder.0"].add(y)
        phases(tile.inside(half, 2)).copy_(y)
    del whole, hidden
    normalized(half[None, None], "decoder.0", bias_map=network.noise(image, 2 * n, 2))

    def last(tile: _Tile) -> Tensor:
        x = _padded(tile.read(half, 2), 1, "replicate")
        return upsampled_convolution(x, *conv("decoder.1"), mode, convolve)  # (2, 2, 32, H/2, W/2)

    for tile in tiles:
        moments["decoder.1"].add(tile.without_margin(last(tile), 2))
    stylized = torch.empty_like(image)
    for tile in tiles:
        y = last(tile)
        x = y.new_empty(*y.shape[:3], y.shape[3] + 4, y.shape[4] + 4)
        normalized(y, "decoder.1", x[..., 2:-2, 2:-2], network.content_logits(tile.read(image, 4)))
        logits = phased_to_rgb(x, parameters["to_rgb.weight"], parameters["to_rgb.bias"], convolve)
        tile.write(stylized, logits_to_image(network, logits[None]), 4)
    return stylized


def _padded(x: Tensor, margin: int, mode: str = "reflect") -> Tensor:
    return F.pad(x[None], (margin,) * 4, mode=mode)[0]


def _tiles(height: int, width: int, size: int) -> Iterator[_Tile]:
    margin = _MARGIN // 4
    rows, columns = (
        [(i * side // count, (i + 1) * side // count) for i in range(count)]  # of nearly equal size
        for side in (height, width)
        for count in (-(-side // size),)
    )
    for top, bottom in rows:
        for left, right in columns:
            above, below = max(0, top - margin), min(height, bottom + margin)
            before, after = max(0, left - margin), min(width, right + margin)
            yield _Tile((top, bottom, left, right), (above, below, before, after))
