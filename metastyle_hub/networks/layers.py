"""Layers of the image transformation network: convolution, instance norm, residual block, injected noise.

The convolutions pad by reflection. Padding is linear, and its adjoint folds the border back onto the pixels that it
mirrors, so each is the backward of the other. On a CPU torch's own backward of reflection padding took 6% of an
adaptation step; folding four thin strips takes 2%.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metastyle_hub.networks.backends import differentiable_convolution

__all__ = [
    "NOISE_PERIOD",
    "ConvNorm",
    "InstanceNorm",
    "ReflectionConv2d",
    "ResidualBlock",
    "binomial_filter",
    "instance_norm",
    "noise_field",
    "random_noise_offset",
    "reflection_pad",
]

NOISE_PERIOD = 256  # samples; at a quarter of the resolution the noise repeats every 1024 pixels
_EXACT_PIXELS = 2**17  # up to here, sums of batch norm over channels-last maps on a CPU are accurate to 5e-5


class ReflectionConv2d(nn.Conv2d):
    """Convolution with reflection padding of `kernel // 2`; a stride of 1 keeps the size.

    Under `torch.func.functional_call`, weight and bias may have a leading batch dimension: one kernel for each image.

    >>> ReflectionConv2d(3, 32, 9)(torch.rand(1, 3, 64, 64)).shape
    torch.Size([1, 32, 64, 64])
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel, stride)
        self.margin = kernel // 2

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, C, H, W)."""
        x = reflection_pad(x, self.margin)
        if self.weight.ndim == 4:
            if self.stride == (1, 1):
                return differentiable_convolution(x, self.weight, self.bias)
            return F.conv2d(x, self.weight, self.bias, self.stride)
        assert self.bias is not None
        each = zip(x.split(1), self.weight.unbind(), self.bias.unbind(), strict=True)
        return torch.cat([F.conv2d(one, weight, bias, self.stride) for one, weight, bias in each])


class InstanceNorm(nn.Module):
    """Instance normalization: y = weight * (x - mean) / std + bias, per image and channel (Ulyanov et al. 2016).

    The statistics are always those of the input. `nn.InstanceNorm2d` can also keep running statistics, which break
    checkpoints between versions of torch; nothing here needs them.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, bias_map: Tensor | None = None) -> Tensor:
        """Normalize (B, C, H, W).

        Args:
            x: the input.
            bias_map: of the shape of x, or one that broadcasts to it. The bias then scales this map instead of 1:
                y = weight * (x - mean) / std + bias * bias_map.
        """
        if bias_map is None:
            return instance_norm(x, self.weight, self.bias)
        return torch.addcmul(instance_norm(x, self.weight, None), self.bias[..., None, None], bias_map)


def instance_norm(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Instance norm of (B, C, H, W) with weight and bias of (C,), or of (B, C) for a style per image.

    It is computed as batch norm of a batch of one, which keeps the memory format. `F.instance_norm` converts to
    channels first, and every following layer converts back. For a batch of one its gradient is wrong if the incoming
    gradient is channels-last (torch 2.15, CPU), as is the gradient of any view after `F.batch_norm`.
    """
    b, c, height, width = x.shape
    weights, biases = weight.expand(b, c), None if bias is None else bias.expand(b, c)
    on_cpu, large = x.device.type == "cpu", height * width > _EXACT_PIXELS
    if b > 1 and (large or not on_cpu):
        flat, bias = x.contiguous().view(1, b * c, height, width), None if biases is None else biases.reshape(-1)
        return F.batch_norm(flat, None, None, weights.reshape(-1), bias, training=True).view(b, c, height, width)
    if large and on_cpu:
        x = x.contiguous()  # channels first, where the sums are pairwise and so more accurate
    each = zip(x.split(1), weights.unbind(), b * [None] if biases is None else biases.unbind(), strict=True)
    normalized = [F.batch_norm(one, None, None, w, b, training=True) for one, w, b in each]
    return normalized[0] if b == 1 else torch.cat(normalized)


class ConvNorm(nn.Module):
    """Reflection-padded convolution, instance norm, and a ReLU unless `relu=False`."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, relu: bool = True) -> None:
        super().__init__()
        self.conv = ReflectionConv2d(in_channels, out_channels, kernel, stride)
        self.norm = InstanceNorm(out_channels)
        self.relu = relu

    def forward(self, x: Tensor, bias_map: Tensor | None = None, activations: list[Tensor] | None = None) -> Tensor:
        """Apply the block; append the output of the convolution to `activations`, if given."""
        x = self.conv(x)
        if activations is not None:
            activations.append(x)
        x = self.norm(x, bias_map)
        return F.relu(x) if self.relu else x


class ResidualBlock(nn.Module):
    """x + norm(conv(relu(norm(conv(x)))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels, 3)
        self.second = ConvNorm(channels, channels, 3, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to (B, C, H, W)."""
        return x + self.second(self.first(x))


def noise_field(channels: int, height: int, width: int, offset: tuple[int, int] = (0, 0)) -> Tensor:
    """Return a window of a fixed, periodic field of white noise: (1, channels, height, width), mean 0, variance 1.

    The same offset gives the same values on every device, so a tile sees the noise of the whole image.

    Args:
        channels: number of independent fields.
        height: of the window, in samples.
        width: of the window, in samples.
        offset: row and column of the window in the field, any integers.

    >>> torch.equal(noise_field(8, 4, 4, (2, 3)), noise_field(8, 6, 7)[..., 2:, 3:])
    True
    """
    rows, columns = ((start + torch.arange(n)) % NOISE_PERIOD for start, n in zip(offset, (height, width), strict=True))
    return _noise_period(channels)[:, rows[:, None], columns][None]


def random_noise_offset(rng: np.random.Generator) -> tuple[int, int]:
    """Draw an offset for `noise_field`. Training draws one per batch, so that it cannot fit one window."""
    top, left = rng.integers(NOISE_PERIOD, size=2)
    return int(top), int(left)


@cache
def _noise_period(channels: int) -> Tensor:
    # raw bits: NumPy guarantees them across versions, but not what its distributions make of them
    bits = np.random.PCG64(channels).random_raw(channels * NOISE_PERIOD**2)
    values = ((bits >> np.uint64(40)) + 0.5) / 2**24 - 0.5  # uniform, variance 1/12
    return torch.from_numpy((values * 12**0.5).astype(np.float32)).view(channels, NOISE_PERIOD, NOISE_PERIOD)


def reflection_pad(x: Tensor, margin: int) -> Tensor:
    """Pad by reflection: (B, C, H, W) -> (B, C, H + 2 margin, W + 2 margin), for margin < H, W."""
    padded: Tensor = _ReflectionPad.apply(x, margin) if margin else x  # type: ignore[no-untyped-call]
    return padded


def binomial_filter(x: Tensor) -> Tensor:
    """Filter every channel of (B, C, H, W) with 1 2 1 in both directions, which removes the Nyquist frequency."""
    line = x.new_tensor([1, 2, 1]) / 4
    kernel = (line[:, None] * line).expand(x.shape[1], 1, 3, 3)
    x = x.contiguous(memory_format=torch.channels_last)  # ten times as fast on a CPU
    return F.conv2d(reflection_pad(x, 1), kernel, groups=x.shape[1])


class _ReflectionPad(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, margin: int) -> Tensor:
        ctx.margin = margin
        return F.pad(x, (margin,) * 4, mode="reflect")

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:  # type: ignore[override]
        return _ReflectionFold.apply(gradient, ctx.margin), None  # type: ignore[no-untyped-call]


class _ReflectionFold(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, margin: int) -> Tensor:
        ctx.margin = margin
        folded = _fold_columns(x[..., margin:-margin, :], margin)
        # row -k of the border mirrors row k of the image
        folded[..., 1 : margin + 1, :] += _fold_columns(x[..., :margin, :], margin).flip(-2)
        folded[..., -margin - 1 : -1, :] += _fold_columns(x[..., -margin:, :], margin).flip(-2)
        return folded

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:  # type: ignore[override]
        return _ReflectionPad.apply(gradient, ctx.margin), None  # type: ignore[no-untyped-call]


def _fold_columns(x: Tensor, margin: int) -> Tensor:
    folded = x[..., margin:-margin].clone()
    folded[..., 1 : margin + 1] += x[..., :margin].flip(-1)
    folded[..., -margin - 1 : -1] += x[..., -margin:].flip(-1)
    return folded
