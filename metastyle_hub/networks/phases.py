"""Maps as phases: the samples of even and odd rows and columns, four maps of half the resolution.

    bilinear or nearest upsampling, 3x3 convolution      = 3x3 convolution with four times the outputs
    9x9 convolution to RGB                               = 5x5 convolution from phases to phases

The first holds except on the outermost ring of pixels, since upsampling clamps where the convolution reflects. It needs
no upsampled map, and transform convolutions gain from more channels of less resolution. The second has a quarter more
arithmetic, but twelve outputs, where three leave most of a vector register empty. The kernels are linear in the
network's and take less than a millisecond to make.
"""

from __future__ import annotations

from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from metastyle_hub.networks.backends import differentiable_convolution

__all__ = ["convolve_in_phases", "phase_kernel", "phases", "upsampling_kernel"]

_PHASES = tuple(product((0, 1), repeat=2))  # (row, column)


def phases(x: Tensor) -> Tensor:
    """Return a view of the samples of even and odd rows and columns: (C, 2 H, 2 W) -> (2, 2, C, H, W)."""
    return x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).permute(2, 4, 0, 1, 3)


def upsampling_kernel(weight: Tensor, mode: str = "bilinear") -> Tensor:
    """Return the kernel whose outputs are the phases of the 3x3 convolution of an upsampled map.

    Args:
        weight: (D, C, 3, 3).
        mode: of the upsampling, "bilinear" or "nearest".

    Returns:
        (4 D, C, 3, 3), phase by phase.
    """
    line = torch.eye(5, dtype=weight.dtype, device=weight.device)[None]  # five unit impulses
    doubled = F.interpolate(line, scale_factor=2, mode="linear" if mode == "bilinear" else mode)[0]  # (5, 10)
    # what the taps at 2 i + p - 1, 2 i + p, 2 i + p + 1 of the upsampled line are of its samples i - 1, i, i + 1
    taps = torch.stack([doubled[1:4, 3 + p : 6 + p] for p in (0, 1)])  # (2, 3 samples, 3 taps)
    return torch.einsum("dcij,pki,qlj->pqdckl", weight, taps, taps).flatten(0, 2).contiguous()


def phase_kernel(weight: Tensor) -> Tensor:
    """Return the kernel of a 9x9 convolution from phases to phases: (D, C, 9, 9) -> (4 D, 4 C, 5, 5)."""
    # padded to 10 taps from the even sample on, which are five of each phase
    taps = [F.pad(weight, (q, 1 - q, p, 1 - p)).unflatten(3, (5, 2)).unflatten(2, (5, 2)) for p, q in _PHASES]
    return torch.stack(taps).permute(0, 1, 4, 6, 2, 3, 5).flatten(2, 4).flatten(0, 1).contiguous()


def convolve_in_phases(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return the 9x9 convolution of (B, C, 2 H + 8, 2 W + 8), without padding: (B, D, 2 H, 2 W). Differentiable.

    >>> convolve_in_phases(torch.rand(1, 32, 24, 24), torch.rand(3, 32, 9, 9), torch.rand(3)).shape
    torch.Size([1, 3, 16, 16])
    """
    rows = x.permute(0, 2, 3, 1).unflatten(2, (-1, 2)).unflatten(1, (-1, 2))  # (B, H + 4, 2, W + 4, 2, C)
    parts = rows.transpose(2, 3).flatten(3).permute(0, 3, 1, 2)  # (B, 4 C, H + 4, W + 4), channels-last as x is
    y = differentiable_convolution(parts, phase_kernel(weight), bias.repeat(4)).unflatten(1, (2, 2, -1))
    return y.permute(0, 3, 4, 1, 5, 2).flatten(4).flatten(2, 3)
