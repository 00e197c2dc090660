"""Large pictures in tiles, with the result of the whole: exact instance-norm statistics, gathered in passes.

The convolutions of a tile need no more than a margin around it. Instance norm needs the mean and variance of the
whole picture, else tiles would differ in tone; so before a layer is used, one pass over all tiles gathers the
statistics of what it makes, and the layers before it are computed anew, now normalised with theirs:

    three passes   down to a quarter of the resolution, where a picture takes a quarter of the memory: kept
    the trunk      over the whole of it
    three passes   up again, the last of which makes the picture

This costs half as much arithmetic again and a third to a sixth of the memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metastyle_hub.errors import SettingError
from metastyle_hub.network import ConvNorm, ImageTransformationNetwork, to_picture

__all__ = ["TilingConfig", "transform_in_tiles"]

_EPS = 1e-5  # that of F.instance_norm

# Pixels of full resolution around a tile that its layers need: 4 + 1 + 2 on the way down; on the way up 4 for the last
# convolution, 1 and 2 for those before it, 2 and 4 for what bilinear upsampling looks at beside them: 13, rounded up
# to a multiple of 4.
_MARGIN = 16


@dataclass(frozen=True)
class TilingConfig:
    """When and how pictures go through the network in tiles. Measurements: docs/performance.md."""

    threshold: int = 1_500_000  # pixels; a picture up to here goes through in one piece
    tile: int = 768  # pixels a side without the margin, a multiple of 4

    def __post_init__(self) -> None:
        if self.tile < 16 or self.tile % 4:
            raise SettingError(f"tile must be a multiple of 4 and at least 16, got {self.tile}.")


@dataclass(frozen=True)
class _Tile:
    """A rectangle in units of 4 pixels, the trunk's resolution: its inside, and with the margin as far as there is."""

    inner: tuple[int, int, int, int]  # top, bottom, left, right
    outer: tuple[int, int, int, int]

    def read(self, x: Tensor, scale: int) -> Tensor:
        """The rectangle with its margin, of a map that has `scale` pixels a unit."""
        top, bottom, left, right = (scale * v for v in self.outer)
        return x[..., top:bottom, left:right]

    def without_margin(self, x: Tensor, scale: int) -> Tensor:
        """The inside of what was computed from `read`."""
        top, left = (scale * (self.inner[i] - self.outer[i]) for i in (0, 2))
        return x[..., top : top + scale * self.height, left : left + scale * self.width]

    def write(self, whole: Tensor, x: Tensor, scale: int) -> None:
        """Put the inside into its place in the whole."""
        top, bottom, left, right = (scale * v for v in self.inner)
        whole[..., top:bottom, left:right] = self.without_margin(x, scale)

    @property
    def height(self) -> int:
        return self.inner[1] - self.inner[0]

    @property
    def width(self) -> int:
        return self.inner[3] - self.inner[2]


class _Moments:
    """Mean and variance per channel of the tiles seen so far, in float64 (Chan, Golub and LeVeque 1979)."""

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

    def normalize(self, x: Tensor, scale: Tensor, shift: Tensor, carried: Tensor | None = None) -> Tensor:
        """What `InstanceNorm` does, with these statistics instead of those of x."""
        mean, variance = (v.to(x.dtype).to(x.device) for v in (self.mean, self.squares / self.count))
        if carried is None:
            return F.batch_norm(x, mean, variance, scale, shift, eps=_EPS)
        return F.batch_norm(x, mean, variance, scale, eps=_EPS).addcmul_(shift[:, None, None], carried)


@torch.no_grad()
def transform_in_tiles(
    network: ImageTransformationNetwork, parameters: Mapping[str, Tensor], image: Tensor, config: TilingConfig
) -> Tensor:
    """The picture M(image; parameters), as `transform` makes it, with less memory: (1, 3, H, W) in [0, 1].

    >>> transform_in_tiles(network, parameters, photo, TilingConfig(tile=512))
    """
    height, width = image.shape[-2] // 4, image.shape[-1] // 4  # of the trunk
    tiles = list(_tiles(height, width, config.tile // 4))
    image = image.contiguous(memory_format=torch.channels_last)

    down = [_Layer(layer, f"down.{i}", parameters) for i, layer in enumerate(network.down)]
    trunk = image.new_empty(0)
    for depth, layer in enumerate(down):
        for tile in tiles:
            x = tile.read(image, 4)
            for earlier in down[:depth]:
                x = earlier.normalize(earlier.convolve(x))
            x = layer.convolve(x)
            layer.moments.add(tile.without_margin(x, 4 >> depth))
            if layer is down[-1]:
                if not trunk.numel():
                    trunk = x.new_empty(1, x.shape[1], height, width).contiguous(memory_format=torch.channels_last)
                tile.write(trunk, x, 1)
    trunk = down[-1].normalize(trunk, network.carried_noise(image, trunk.shape[1], 1))
    trunk = torch.func.functional_call(network.trunk, _within("trunk", parameters), (trunk,))

    def noise(tile: _Tile) -> Tensor | None:  # carried by the norm of the first layer up
        top, _, left, _ = tile.outer
        return network.carried_noise(tile.read(image, 4), trunk.shape[1] // 2, 2, (top, left))

    up = [_Layer(layer, f"up.{i}", parameters) for i, layer in enumerate(network.up)]
    for depth, layer in enumerate(up):
        for tile in tiles:
            x = tile.read(trunk, 1)
            for earlier in up[:depth]:
                x = earlier.normalize(earlier.convolve(network.upsample(x)), noise(tile))
            layer.moments.add(tile.without_margin(layer.convolve(network.upsample(x)), 2 << depth))
    picture = torch.empty_like(image)
    for tile in tiles:
        x = tile.read(trunk, 1)
        for layer, carried in zip(up, (noise(tile), network.carried_photo(tile.read(image, 4))), strict=True):
            x = layer.normalize(layer.convolve(network.upsample(x)), carried)
        logits = torch.func.functional_call(network.out, _within("out", parameters), (x,))
        tile.write(picture, to_picture(network, logits), 4)
    return picture


class _Layer:
    """A ConvNorm taken apart: the convolution, and the norm with statistics of the whole picture."""

    def __init__(self, layer: nn.Module, name: str, parameters: Mapping[str, Tensor]) -> None:
        assert isinstance(layer, ConvNorm)
        self.layer, self.moments = layer, _Moments()
        self.conv = _within(f"{name}.conv", parameters)
        self.norm = _within(f"{name}.norm", parameters)

    def convolve(self, x: Tensor) -> Tensor:
        return torch.func.functional_call(self.layer.conv, self.conv, (x,))

    def normalize(self, x: Tensor, carried: Tensor | None = None) -> Tensor:
        x = self.moments.normalize(x, self.norm["scale"], self.norm["shift"], carried)
        return F.relu_(x) if self.layer.relu else x


def _within(name: str, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The parameters of a part of the network, by their names in it."""
    return {key.removeprefix(f"{name}."): p for key, p in parameters.items() if key.startswith(f"{name}.")}


def _tiles(height: int, width: int, size: int) -> Iterator[_Tile]:
    margin = _MARGIN // 4
    rows, columns = (
        [(i * side // count, (i + 1) * side // count) for i in range(count)]  # of nearly equal size: no slivers
        for side in (height, width)
        for count in (-(-side // size),)
    )
    for top, bottom in rows:
        for left, right in columns:
            above, below = max(0, top - margin), min(height, bottom + margin)
            before, behind = max(0, left - margin), min(width, right + margin)
            yield _Tile((top, bottom, left, right), (above, below, before, behind))
