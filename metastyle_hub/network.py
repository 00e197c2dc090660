"""The image transformation network M(.; w): Johnson et al. 2016 with instance normalisation (MetaStyle, section 4).

    conv 9x9 (32), 3x3/2 (64), 3x3/2 (128), five residual blocks of two 3x3 convs (128),
    twice upsampling by 2 + 3x3 conv (64, 32), conv 9x9 (3), sigmoid.

Reflection padding, and instance normalisation with scale and shift after every convolution but the last.
1,679,235 parameters, of which 3,200 are the scales and shifts that the inner loop of meta-learning moves.

Everything above this module treats the network as a pure function of a parameter dictionary:
`stylized = transform(network, parameters, images)`; no module is ever changed in place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metastyle_hub.devices import at_least_float32
from metastyle_hub.noise import noise_field
from metastyle_hub.padding import ReflectionConv2d
from metastyle_hub.parameters import Parameters
from metastyle_hub.settings import Settings, setting

__all__ = [
    "ImageTransformationNetwork",
    "NetworkConfig",
    "Traced",
    "spike_penalty",
    "to_picture",
    "transform",
    "transform_traced",
]

_SMALL = 2**17  # pixels up to which batch norm's sums over channels-last pictures on a CPU are as good as exact (5e-5)


@dataclass(frozen=True)
class NetworkConfig(Settings):
    """The size of an image transformation network.

    The defaults are those of Johnson et al. 2016 and the paper (Table 1: 1.68M parameters). Tests use narrower ones.
    """

    width: int = setting(32, "channels after the first convolution; the trunk has four times as many", low=1, high=512)
    residual_blocks: int = setting(5, "in the trunk, at a quarter of the resolution", low=0, high=64)
    photo_channels: bool = setting(True, "whether the last norm layer carries the photo's own logits; ours")
    upsampling: str = setting(
        "bilinear",
        "to twice the size; the paper's nearest leaves grids where photos are flat",
        choices=("bilinear", "nearest"),
    )
    noise_channels: bool = setting(
        True, "whether the norms around the trunk carry noise for strokes to begin with; ours"
    )


class InstanceNorm(nn.Module):
    """Instance normalisation with scale and shift: y = scale * (x - mean) / std + shift, per image and channel.

    Always the statistics of the picture at hand: `nn.InstanceNorm2d`'s running statistics are a source of
    checkpoints that break, and nothing here needs them.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, carried: Tensor | None = None) -> Tensor:
        """Normalise `x` (B, C, H, W). With `carried` of that shape, y = scale * (x - mean) / std + shift * carried."""
        if carried is None:
            return _instance_norm(x, self.scale, self.shift)
        return torch.addcmul(_instance_norm(x, self.scale, None), self.shift[..., None, None], carried)


def _instance_norm(x: Tensor, scale: Tensor, shift: Tensor | None) -> Tensor:
    """Instance norm of (B, C, H, W) with a scale and shift of (C,), or of (B, C): every picture has its own style.

    Batch norm of one picture is its instance norm. F.instance_norm itself moves channels to the front and leaves them
    there, for all that follows to move them back; and for one picture alone its gradient is wrong when the one above
    it comes with channels last (torch 2.15, CPU), as is that of any view behind F.batch_norm.
    """
    b, c, height, width = x.shape
    scales, shifts = scale.expand(b, c), None if shift is None else shift.expand(b, c)
    on_cpu, large = x.device.type == "cpu", height * width > _SMALL
    if b > 1 and (large or not on_cpu):
        flat, shift = x.contiguous().view(1, b * c, height, width), None if shifts is None else shifts.reshape(-1)
        return F.batch_norm(flat, None, None, scales.reshape(-1), shift, training=True).view(b, c, height, width)
    if large and on_cpu:
        x = x.contiguous()  # then its sums are more careful
    each = zip(x.split(1), scales.unbind(), b * [None] if shifts is None else shifts.unbind(), strict=True)
    done = [F.batch_norm(one, None, None, s, t, training=True) for one, s, t in each]
    return done[0] if b == 1 else torch.cat(done)


class ConvNorm(nn.Module):
    """Reflection-padded convolution, instance norm, and ReLU unless told otherwise."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, relu: bool = True) -> None:
        super().__init__()
        self.conv = ReflectionConv2d(inputs, outputs, kernel, stride)
        self.norm = InstanceNorm(outputs)
        self.relu = relu

    def forward(self, x: Tensor, carried: Tensor | None = None, streams: list[Tensor] | None = None) -> Tensor:
        x = self.conv(x)
        if streams is not None:
            streams.append(x)
        x = self.norm(x, carried)
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

    H and W must be multiples of 4 and at least 16; `geometry.pad_to_multiple` takes care of any other size.
    The logits are returned, not the picture, because meta-training keeps them out of the sigmoid's flat ends.

    Departure from the paper, without a parameter more: instance normalisation takes brightness and contrast out of
    the picture, so the paper's network can at best guess them (a perfect guesser of all else returns photos with
    18.8 dB, docs/decisions.md), and paints blobs where it guesses wrong. With `photo_channels`, the shifts of six
    of the last 32 channels scale the photo's own logits, both signs, instead of a constant. A new network starts
    as the identity, and adaptation decides channel by channel how much of the photo's tones to keep.

    Args:
        output: how logits become the picture: "sigmoid" here, "clamp" to [0, 1] in converted networks of others.
    """

    def __init__(self, config: NetworkConfig | None = None, output: str = "sigmoid") -> None:
        super().__init__()
        self.config, self.output = config or NetworkConfig(), output
        n = self.config.width
        self.down = nn.Sequential(
            ConvNorm(3, n, 9), ConvNorm(n, 2 * n, 3, stride=2), ConvNorm(2 * n, 4 * n, 3, stride=2)
        )
        self.trunk = nn.Sequential(*(ResidualBlock(4 * n) for _ in range(self.config.residual_blocks)))
        self.up = nn.Sequential(ConvNorm(4 * n, 2 * n, 3), ConvNorm(2 * n, n, 3))
        self.out = ReflectionConv2d(n, 3, 9)
        if self.config.photo_channels and n >= 6:
            self._start_as_identity()

    def forward(self, images: Tensor, streams: list[Tensor] | None = None, corner: tuple[int, int] = (0, 0)) -> Tensor:
        """The logits.

        Args:
            streams: takes up what every residual block and the decoder's convolutions return, for `spike_penalty`.
            corner: where in the field of noise the picture lies, in units of 4 pixels.
        """
        n = self.config.width
        x = self.down[1](self.down[0](images))  # (B, 64, H/2, W/2)
        x = self.down[2](x, self.carried_noise(images, 4 * n, 1, corner))  # (B, 128, H/4, W/4)
        for block in self.trunk:
            x = block(x)
            if streams is not None:
                streams.append(x)
        x = self.up[0](self.upsample(x), self.carried_noise(images, 2 * n, 2, corner), streams)  # (B, 64, H/2, W/2)
        x = self.up[1](self.upsample(x), self.carried_photo(images), streams)  # (B, 32, H, W)
        return self.out(x)  # (B, 3, H, W), logits

    def upsample(self, x: Tensor) -> Tensor:
        """Twice as high and wide: (B, C, H, W) -> (B, C, 2H, 2W)."""
        return F.interpolate(x, scale_factor=2, mode=self.config.upsampling)

    def carried_noise(
        self, images: Tensor, outputs: int, scale: int, corner: tuple[int, int] = (0, 0)
    ) -> Tensor | None:
        """What the shifts around the trunk scale: noise in the first sixteenth of the channels, and ones.

        Args:
            images: (B, 3, H, W), of which size and kind count.
            outputs: channels of the layer.
            scale: samples of the layer in 4 pixels.
            corner: of the picture in the field of noise, in units of 4 pixels.

        Returns:
            (1, outputs, H * scale / 4, W * scale / 4), or None where there is no noise.
        """
        noisy = outputs // 16 if self.config.noise_channels else 0
        if not noisy:
            return None
        height, width = (side // 4 * scale for side in images.shape[-2:])
        noise = noise_field(noisy, height, width, (corner[0] * scale, corner[1] * scale)).to(images)
        carried = torch.cat([noise, noise.new_ones(1, outputs - noisy, height, width)], 1)
        return carried.contiguous(memory_format=torch.channels_last)

    def carried_photo(self, images: Tensor) -> Tensor | None:
        """What the last shifts scale: the photo's logits z, -z, and ones for the other channels: (B, 32, H, W)."""
        if not self.config.photo_channels:
            return None
        # eight-bit black and white would be infinite; and few photos have much beyond 0.05, so that a style does what
        # it likes with the rest of the line
        z = torch.logit(images.clamp(0.05, 0.95))
        width = self.config.width
        ones = torch.ones_like(images[:, :1]).expand(-1, max(0, width - 6), -1, -1)
        return torch.cat([z, -z, ones], 1)[:, :width].contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def _start_as_identity(self) -> None:
        """relu(z) - relu(-z) = z: the photo's channels pass alone, straight through the last convolution."""
        last = self.up[1]
        assert isinstance(last, ConvNorm)
        last.norm.scale[:6] = 0
        last.norm.shift[:6] = 1
        self.out.weight.mul_(0.1)  # the other channels start as a whisper rather than as silence, so that they learn
        self.out.weight[:, :6] = 0
        for c in range(3):
            self.out.weight[c, c, 4, 4] = 1
            self.out.weight[c, c + 3, 4, 4] = -1
        self.out.bias.zero_()  # type: ignore[union-attr]

    def parameters_dict(self) -> Parameters:
        """The parameters by name, detached: a value to adapt, mix or save; changing it leaves the network alone."""
        return {name: p.detach().clone() for name, p in self.named_parameters()}


def transform(
    network: nn.Module,
    parameters: Mapping[str, Tensor],
    images: Tensor,
    dtype: torch.dtype = torch.float32,
    corner: tuple[int, int] = (0, 0),
) -> Tensor:
    """The picture M(images; parameters): (B, 3, H, W) in [0, 1] -> (B, 3, H, W) in [0, 1], never less than float32.

    Args:
        parameters: those of norms and of the decoder may have a dimension (B, ...) in front: each picture has its own.
        images: sides are multiples of 4.
        dtype: of the arithmetic. bfloat16 halves the time of training on most machines; pictures for people
            are made in float32. The sigmoid is always float32, where eight bits would band.
        corner: where in the field of noise the pictures lie, in units of 4 pixels.
    """
    return to_picture(network, _logits(network, parameters, images, dtype, corner=corner))


@dataclass(frozen=True)
class Traced:
    """A picture, and what training looks at on the way to it."""

    images: Tensor  # (B, 3, H, W) in [0, 1]
    logits: Tensor  # (B, 3, H, W)
    streams: tuple[Tensor, ...]  # behind every residual block, (B, 128, H/4, W/4), and before the decoder's two norms


def transform_traced(
    network: nn.Module,
    parameters: Mapping[str, Tensor],
    images: Tensor,
    dtype: torch.dtype = torch.float32,
    corner: tuple[int, int] = (0, 0),
) -> Traced:
    """The same with what training looks at."""
    streams: list[Tensor] = []
    logits = _logits(network, parameters, images, dtype, streams=streams, corner=corner)
    return Traced(to_picture(network, logits), logits, tuple(streams))


def _logits(
    network: nn.Module, parameters: Mapping[str, Tensor], images: Tensor, dtype: torch.dtype, **also: object
) -> Tensor:
    cast = {name: p.to(dtype) for name, p in parameters.items()}
    x = images.to(dtype).contiguous(memory_format=torch.channels_last)
    return at_least_float32(torch.func.functional_call(network, cast, (x,), also))


def spike_penalty(streams: Sequence[Tensor], limit: float) -> Tensor:
    """Mean of relu(r - limit)^2, r the root mean square over the channels of z, the streams (B, C, H, W) in standard
    deviations of their channel. The mean square of r is 1, whatever the picture.

    Residual blocks, and convolutions between norms, like to feed a spike: a spot, somewhere flat and dark, where all
    channels are far out (16 standard deviations behind the fifth block of a base trained without this). It tilts the
    statistics of the whole picture, and shows as a blob. Karras et al. 2020 (StyleGAN 2, section 2) found the same in
    generators. One channel far out is no spike: features are rare.
    """
    excess = [(_loudness(x) - limit).relu().square().mean() for x in streams]
    return torch.stack(excess).mean()


def _loudness(x: Tensor) -> Tensor:
    """Root mean squares over the channels, each in its own standard deviations: (B, C, H, W) -> (B, H, W)."""
    z = _instance_norm(x, x.new_ones(x.shape[1]), None)
    # where all is 0 the norm has a gradient, 0; the root of a mean of squares has none
    return torch.linalg.vector_norm(z, dim=1, dtype=torch.promote_types(z.dtype, torch.float32)) / z.shape[1] ** 0.5


def to_picture(network: nn.Module, logits: Tensor) -> Tensor:
    """Logits as the picture in [0, 1], in the network's own way: sigmoid, or clamp (see there)."""
    clamp = getattr(network, "output", "sigmoid") == "clamp"
    return logits.clamp(0, 1) if clamp else torch.sigmoid(logits)
