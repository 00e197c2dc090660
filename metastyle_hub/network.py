"""The image transformation network M(.; w): Johnson et al. 2016 with instance normalisation (MetaStyle, section 4).

    conv 9x9 (32), 3x3/2 (64), 3x3/2 (128), five residual blocks of two 3x3 convs (128),
    twice nearest upsampling by 2 + 3x3 conv (64, 32), conv 9x9 (3), sigmoid.

Reflection padding, and instance normalisation with scale and shift after every convolution but the last.
1,679,235 parameters, of which 3,200 are the scales and shifts that the inner loop of meta-learning moves.

Everything above this module treats the network as a pure function of a parameter dictionary:
`stylized = transform(network, parameters, images)`; no module is ever changed in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metastyle_hub.settings import Settings, setting

__all__ = [
    "ImageTransformationNetwork",
    "NetworkConfig",
    "Parameters",
    "is_norm_parameter",
    "norm_parameters",
    "transform",
    "transform_with_logits",
]

Parameters = dict[str, Tensor]
"""Parameters by name, as in `dict(network.named_parameters())`: the value that is adapted, mixed, saved."""


@dataclass(frozen=True)
class NetworkConfig(Settings):
    """The size of an image transformation network.

    The defaults are those of Johnson et al. 2016 and the paper (Table 1: 1.68M parameters). Tests use narrower ones.
    """

    width: int = setting(32, "channels after the first convolution; the trunk has four times as many", low=1)
    residual_blocks: int = setting(5, "in the trunk, at a quarter of the resolution", low=0)


class InstanceNorm(nn.Module):
    """Instance normalisation with scale and shift: y = scale * (x - mean) / std + shift, per image and channel.

    Always the statistics of the picture at hand: `nn.InstanceNorm2d`'s running statistics are a source of
    checkpoints that break, and nothing here needs them.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.instance_norm(x, weight=self.scale, bias=self.shift)


class ConvNorm(nn.Module):
    """Reflection-padded convolution, instance norm, and ReLU unless told otherwise."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, relu: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, padding_mode="reflect")
        self.norm = InstanceNorm(outputs)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        return F.relu(x) if self.relu else x


class ResidualBlock(nn.Module):
    """x + norm(conv(relu(norm(conv(x)))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels, 3)
        self.second = ConvNorm(channels, channels, 3, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.first(x))


class ImageTransformationNetwork(nn.Module):
    """M(.; w): content images (B, 3, H, W) in [0, 1] -> logits (B, 3, H, W); the sigmoid of which is the picture.

    H and W must be multiples of 4 and at least 16; `images.pad_to_multiple` takes care of any other size.
    The logits are returned, not the picture, because meta-training keeps them out of the sigmoid's flat ends.
    """

    def __init__(self, config: NetworkConfig | None = None) -> None:
        super().__init__()
        self.config = config or NetworkConfig()
        n = self.config.width
        self.down = nn.Sequential(
            ConvNorm(3, n, 9), ConvNorm(n, 2 * n, 3, stride=2), ConvNorm(2 * n, 4 * n, 3, stride=2)
        )
        self.trunk = nn.Sequential(*(ResidualBlock(4 * n) for _ in range(self.config.residual_blocks)))
        self.up = nn.Sequential(ConvNorm(4 * n, 2 * n, 3), ConvNorm(2 * n, n, 3))
        self.out = nn.Conv2d(n, 3, 9, padding=4, padding_mode="reflect")

    def forward(self, images: Tensor) -> Tensor:
        x = self.trunk(self.down(images))  # (B, 128, H/4, W/4)
        for layer in self.up:  # nearest upsampling before the convolution leaves no checkerboard
            x = layer(F.interpolate(x, scale_factor=2, mode="nearest"))
        return self.out(x)  # (B, 3, H, W), logits

    def parameters_dict(self) -> Parameters:
        """The parameters by name, detached: a value to adapt, mix or save; changing it leaves the network alone."""
        return {name: p.detach().clone() for name, p in self.named_parameters()}


def transform_with_logits(
    network: nn.Module, parameters: Mapping[str, Tensor], images: Tensor, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """The picture M(images; parameters) and the logits behind it, both (B, 3, H, W), never less than float32.

    Args:
        images: (B, 3, H, W) in [0, 1], sides multiples of 4.
        dtype: of the arithmetic. bfloat16 halves the time of training on most machines; pictures for people
            are made in float32. The sigmoid is always float32, where eight bits would band.
    """
    cast = {name: p.to(dtype) for name, p in parameters.items()}
    x = images.to(dtype).contiguous(memory_format=torch.channels_last)
    logits = torch.func.functional_call(network, cast, (x,))
    logits = logits.float() if dtype in (torch.bfloat16, torch.float16) else logits
    return torch.sigmoid(logits), logits


def transform(
    network: nn.Module, parameters: Mapping[str, Tensor], images: Tensor, dtype: torch.dtype = torch.float32
) -> Tensor:
    """The picture M(images; parameters): (B, 3, H, W) in [0, 1] -> (B, 3, H, W) in [0, 1], float32."""
    return transform_with_logits(network, parameters, images, dtype)[0]


def is_norm_parameter(name: str) -> bool:
    """Whether a parameter is an instance-norm scale or shift: what the inner loop of meta-learning moves."""
    return name.endswith((".scale", ".shift"))


def norm_parameters(parameters: Mapping[str, Tensor]) -> Parameters:
    """The instance-norm scales and shifts among the parameters: 3,200 values in the paper's network."""
    return {name: p for name, p in parameters.items() if is_norm_parameter(name)}
