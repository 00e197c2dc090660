"""Tiling of large images, exact: the result is that of the whole image, with the instance-norm statistics of all of it.

A convolution needs only a margin around its tile. Instance norm needs the mean and variance of the whole image, or
tiles would differ in tone. So before a layer is used, one pass over all tiles gathers the statistics of its output,
while the layers before it are computed again, normalized with theirs:

    three passes           encoder, to a quarter of the resolution, where the activations are kept
    the residual blocks    on the whole image
    three passes           decoder; the last one writes the image

This costs half as much arithmetic again, and takes a third to a sixth of the memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metastyle_hub.config import Config, option
from metastyle_hub.networks.layers import ConvNorm
from metastyle_hub.networks.transformer_net import TransformerNet, logits_to_image

__all__ = ["TilingConfig", "transform_in_tiles"]

_EPS = 1e-5  # of F.instance_norm

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
        top, bottom, left, right = (scale * v for v in self.inner)
        whole[..., top:bottom, left:right] = self.without_margin(x, scale)


class _Moments:
    """Mean and variance per channel over the tiles so far, in float64 (Chan, Golub and LeVeque 1979)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros((), dtype=torch.float64)
        self.squares = torch.zeros((), dtype=torch.float64)  # sum of squared distances from the mean

    def add(self, x: Tensor) -> None:
        variance, mean = (v.cpu().double() for v in torch.var_mean(x, (0, 2, 3), correction=0))
        n, total = x.shape[-2] * x.shape[-1], self.count + x.shape[-2] * x.shape[-1]
        difference = mean - self.mean
        self.squares = self.squares + variance * n + difference.square() * self.count * n / total
        self.mean = self.mean + difference * (n / total)
        self.count = total

    def normalize(self, x: Tensor, weight: Tensor, bias: Tensor, bias_map: Tensor | None = None) -> Tensor:
        """Normalize as `InstanceNorm` does, with these statistics instead of those of x."""
        mean, variance = (v.to(x.dtype).to(x.device) for v in (self.mean, self.squares / self.count))
        if bias_map is None:
            return F.batch_norm(x, mean, variance, weight, bias, eps=_EPS)
        return F.batch_norm(x, mean, variance, weight, eps=_EPS).addcmul_(bias[:, None, None], bias_map)


@torch.no_grad()
def transform_in_tiles(
    network: TransformerNet, parameters: Mapping[str, Tensor], image: Tensor, config: TilingConfig
) -> Tensor:
    """Return M(image; parameters) as `transform` does, with less memory: (1, 3, H, W) in [0, 1] -> the same.

    >>> network = TransformerNet()
    >>> transform_in_tiles(network, network.parameter_dict(), torch.rand(1, 3, 96, 160), TilingConfig(tile=64)).shape
    torch.Size([1, 3, 96, 160])
    """
    height, width = image.shape[-2] // 4, image.shape[-1] // 4  # of the residual blocks
    tiles = list(_tiles(height, width, config.tile // 4))
    image = image.contiguous(memory_format=torch.channels_last)

    encoder = [_Layer(layer, f"encoder.{i}", parameters) for i, layer in enumerate(network.encoder)]
    hidden = image.new_empty(0)
    for depth, layer in enumerate(encoder):
        for tile in tiles:
            x = tile.read(image, 4)
            for earlier in encoder[:depth]:
                x = earlier.normalize(earlier.convolve(x))
            x = layer.convolve(x)
            layer.moments.add(tile.without_margin(x, 4 >> depth))
            if layer is encoder[-1]:
                if not hidden.numel():
                    hidden = x.new_empty(1, x.shape[1], height, width).contiguous(memory_format=torch.channels_last)
                tile.write(hidden, x, 1)  # (1, 128, H/4, W/4)
    hidden = encoder[-1].normalize(hidden, network.noise_bias_map(image, hidden.shape[1], 1))
    blocks = _submodule_parameters("residual_blocks", parameters)
    hidden = torch.func.functional_call(network.residual_blocks, blocks, (hidden,))

    def noise(tile: _Tile) -> Tensor | None:  # of the first decoder norm
        top, _, left, _ = tile.outer
        return network.noise_bias_map(tile.read(image, 4), hidden.shape[1] // 2, 2, (top, left))

    decoder = [_Layer(layer, f"decoder.{i}", parameters) for i, layer in enumerate(network.decoder)]
    for depth, layer in enumerate(decoder):
        for tile in tiles:
            x = tile.read(hidden, 1)
            for earlier in decoder[:depth]:
                x = earlier.normalize(earlier.convolve(network.upsample(x)), noise(tile))
            layer.moments.add(tile.without_margin(layer.convolve(network.upsample(x)), 2 << depth))
    stylized = torch.empty_like(image)
    to_rgb = _submodule_parameters("to_rgb", parameters)
    for tile in tiles:
        x = tile.read(hidden, 1)
        for layer, bias_map in zip(decoder, (noise(tile), network.logit_bias_map(tile.read(image, 4))), strict=True):
            x = layer.normalize(layer.convolve(network.upsample(x)), bias_map)
        logits = torch.func.functional_call(network.to_rgb, to_rgb, (x,))
        tile.write(stylized, logits_to_image(network, logits), 4)
    return stylized


class _Layer:
    """The two halves of a ConvNorm: the convolution, and the norm with the statistics of the whole image."""

    def __init__(self, layer: nn.Module, name: str, parameters: Mapping[str, Tensor]) -> None:
        assert isinstance(layer, ConvNorm)
        self.layer, self.moments = layer, _Moments()
        self.conv = _submodule_parameters(f"{name}.conv", parameters)
        self.norm = _submodule_parameters(f"{name}.norm", parameters)

    def convolve(self, x: Tensor) -> Tensor:
        return torch.func.functional_call(self.layer.conv, self.conv, (x,))

    def normalize(self, x: Tensor, bias_map: Tensor | None = None) -> Tensor:
        x = self.moments.normalize(x, self.norm["weight"], self.norm["bias"], bias_map)
        return F.relu_(x) if self.layer.relu else x


def _submodule_parameters(name: str, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the parameters of a submodule, by their names in it."""
    return {key.removeprefix(f"{name}."): p for key, p in parameters.items() if key.startswith(f"{name}.")}


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
