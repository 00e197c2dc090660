"""Noise for strokes to begin with: the same at the same place of every picture, whole or in tiles, on every device."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

__all__ = ["PERIOD", "noise_field", "random_corner"]

PERIOD = 256  # samples after which it repeats; at a quarter of a picture's resolution, 1024 pixels


def noise_field(channels: int, height: int, width: int, corner: tuple[int, int] = (0, 0)) -> Tensor:
    """A window of an endless field of white noise: (1, channels, height, width), mean 0, variance 1, uniform.

    Args:
        corner: row and column of the window's upper left sample in the field, any integers.

    >>> torch.equal(noise_field(8, 4, 4, (2, 3)), noise_field(8, 6, 7)[..., 2:, 3:])
    True
    """
    rows, columns = ((start + torch.arange(n)) % PERIOD for start, n in zip(corner, (height, width), strict=True))
    return _period(channels)[:, rows[:, None], columns][None]


def random_corner(rng: np.random.Generator) -> tuple[int, int]:
    """A place in the field: whatever learns draws one for every batch, or it would learn one window by heart."""
    top, left = rng.integers(PERIOD, size=2)
    return int(top), int(left)


@cache
def _period(channels: int) -> Tensor:
    # raw bits, because numpy promises these for ever, but not what its distributions make of them
    bits = np.random.PCG64(channels).random_raw(channels * PERIOD**2)
    values = ((bits >> np.uint64(40)) + 0.5) / 2**24 - 0.5  # uniform, variance 1/12
    return torch.from_numpy((values * 12**0.5).astype(np.float32)).view(channels, PERIOD, PERIOD)
