"""The image transformation network M(.; w) of Johnson et al. 2016 with instance norm (MetaStyle, section 4).

    conv 9x9 (32), 3x3/2 (64), 3x3/2 (128), five residual blocks of two 3x3 convs (128),
    twice upsampling by 2 + 3x3 conv (64, 32), conv 9x9 (3), sigmoid

Every convolution pads by reflection, and every one but the last has an instance norm. Of the 1,679,235 parameters
3,200 are the weights and biases of the norms, which the inner loop of meta-training adapts.

All other modules use the network as a pure function of a parameter dictionary,
`images = transform(network, parameters, content)`. No module is changed in place, and since all values come from the
dictionary, the module itself lives on the meta device (`meta_network`).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metastyle_hub.config import Config, option
from metastyle_hub.devices import at_least_float32
from metastyle_hub.networks.backends import gradients_are_fast
from metastyle_hub.networks.layers import ConvNorm, ReflectionConv2d, ResidualBlock, noise_field, reflection_pad
from metastyle_hub.networks.param_groups import Parameters
from metastyle_hub.networks.phases import convolve_in_phases

__all__ = [
    "LOGIT_RANGE",
    "NetworkConfig",
    "TransformOutput",
    "TransformerNet",
    "logits_to_image",
    "meta_network",
    "thread_network",
    "transform",
    "transform_with_activations",
]

_THREAD = threading.local()
LOGIT_RANGE = (0.05, 0.95)  # few photos have values beyond, so a style would extrapolate there


@dataclass(frozen=True)
class NetworkConfig(Config):
    """Architecture of a `TransformerNet`.

    The default sizes are those of Johnson et al. 2016 and the paper (Table 1: 1.68M parameters).
    """

    width: int = option(
        32, "channels of the first convolution; residual blocks have four times as many", low=1, high=512
    )
    residual_blocks: int = option(5, "at a quarter of the resolution", low=0, high=64)
    logit_skip: bool = option(True, "whether the last norm adds the logits of the content image; not in the paper")
    upsampling: str = option(
        "bilinear",
        "by a factor of 2; the paper's nearest leaves checkerboard artifacts in flat regions",
        choices=("bilinear", "nearest"),
    )
    noise_injection: bool = option(True, "whether two norms add fixed noise, as seeds of strokes; not in the paper")


class TransformerNet(nn.Module):
    """M(.; w): content images (B, 3, H, W) in [0, 1] -> logits (B, 3, H, W), whose sigmoid is the image.

    H and W must be multiples of 4 and at least 16; `images.transforms.pad_to_multiple` handles any other size.
    It returns logits, because meta-training penalizes saturated ones.

    Departure from the paper: instance norm removes the brightness and contrast of the input, so the paper's network
    has to predict them from the rest of the image (at best 18.8 dB, docs/experiments.md), and where it fails it
    produces blobs. With `logit_skip`, the biases of six of the last 32 channels scale the logits of the content image,
    with both signs, instead of a constant. No parameter is added. A new network is then the identity, and adaptation
    decides per channel how much of the input's tone to keep.

    Args:
        config: the architecture.
        output_activation: what maps logits to the image: "sigmoid", or "clamp" in converted networks.

    >>> TransformerNet()(torch.rand(1, 3, 64, 64)).shape
    torch.Size([1, 3, 64, 64])
    """

    def __init__(self, config: NetworkConfig | None = None, output_activation: str = "sigmoid") -> None:
        super().__init__()
        self.config, self.output_activation = config or NetworkConfig(), output_activation
        n = self.config.width
        self.encoder = nn.Sequential(
            ConvNorm(3, n, 9), ConvNorm(n, 2 * n, 3, stride=2), ConvNorm(2 * n, 4 * n, 3, stride=2)
        )
        self.residual_blocks = nn.Sequential(*(ResidualBlock(4 * n) for _ in range(self.config.residual_blocks)))
        self.decoder = nn.Sequential(ConvNorm(4 * n, 2 * n, 3), ConvNorm(2 * n, n, 3))
        self.to_rgb = ReflectionConv2d(n, 3, 9)
        if self.config.logit_skip and n >= 6:
            self._initialize_identity()

    def forward(
        self,
        images: Tensor,
        activations: list[Tensor] | None = None,
        noise_offset: tuple[int, int] = (0, 0),
        decoder_only: bool = False,
    ) -> Tensor:
        """Return the logits.

        Args:
            images: (B, 3, H, W) in [0, 1].
            activations: a list that receives the outputs of all residual blocks and of the decoder's convolutions.
            noise_offset: position of the images in the noise field, in units of 4 pixels.
            decoder_only: whether no graph is kept of the layers before the decoder.
        """
        n = self.config.width
        with torch.set_grad_enabled(torch.is_grad_enabled() and not decoder_only):
            x = self.encoder[1](self.encoder[0](images))  # (B, 64, H/2, W/2)
            x = self.encoder[2](x, self.noise_bias_map(images, 4 * n, 1, noise_offset))  # (B, 128, H/4, W/4)
            for block in self.residual_blocks:
                x = block(x)
                if activations is not None:
                    activations.append(x)
        noise = self.noise_bias_map(images, 2 * n, 2, noise_offset)
        x = self.decoder[0](self.upsample(x), noise, activations)  # (B, 64, H/2, W/2)
        x = self.decoder[1](self.upsample(x), self.logit_bias_map(images), activations)  # (B, 32, H, W)
        if gradients_are_fast() and self.to_rgb.weight.ndim == 4:
            assert self.to_rgb.bias is not None
            return convolve_in_phases(reflection_pad(x, 4), self.to_rgb.weight, self.to_rgb.bias)
        return self.to_rgb(x)  # (B, 3, H, W)

    def upsample(self, x: Tensor) -> Tensor:
        """Double the resolution: (B, C, H, W) -> (B, C, 2H, 2W)."""
        return F.interpolate(x, scale_factor=2, mode=self.config.upsampling)

    def noise_bias_map(
        self, images: Tensor, channels: int, scale: int, noise_offset: tuple[int, int] = (0, 0)
    ) -> Tensor | None:
        """Return the map that the biases of a norm scale: noise in a sixteenth of the channels, ones in the others.

        Args:
            images: (B, 3, H, W), for size, dtype and device.
            channels: of the layer.
            scale: samples of the layer per 4 pixels.
            noise_offset: position of the images in the noise field, in units of 4 pixels.

        Returns:
            (1, channels, H * scale / 4, W * scale / 4), or None without noise injection.
        """
        return _with_ones(self.noise(images, channels, scale, noise_offset), channels)

    def noise(self, images: Tensor, channels: int, scale: int, noise_offset: tuple[int, int] = (0, 0)) -> Tensor | None:
        """Return the first channels of `noise_bias_map`, those with noise: (1, channels // 16, ...), or None.

        Noise injection goes back to StyleGAN (Karras et al. 2019); here the field is fixed, so tiles agree.
        """
        noisy = channels // 16 if self.config.noise_injection else 0
        if not noisy:
            return None
        height, width = (side // 4 * scale for side in images.shape[-2:])
        return noise_field(noisy, height, width, (noise_offset[0] * scale, noise_offset[1] * scale)).to(images)

    def logit_bias_map(self, images: Tensor) -> Tensor | None:
        """Return the map that the biases of the last norm scale: logits z, -z, and ones: (B, 32, H, W)."""
        return _with_ones(self.content_logits(images), self.config.width)

    def content_logits(self, images: Tensor) -> Tensor | None:
        """Return the first channels of `logit_bias_map`, z and -z: (B, 6, H, W), or None without logit skip.

        The values are clamped to [0.05, 0.95]: the logits of 0 and 1 are infinite.
        """
        if not self.config.logit_skip:
            return None
        z = torch.logit(images.clamp(*LOGIT_RANGE))
        return torch.cat([z, -z], 1)[:, : self.config.width]

    @torch.no_grad()
    def _initialize_identity(self) -> None:
        """Make M the identity: relu(z) - relu(-z) = z passes straight through the last convolution."""
        last = self.decoder[1]
        assert isinstance(last, ConvNorm)
        last.norm.weight[:6] = 0
        last.norm.bias[:6] = 1
        self.to_rgb.weight.mul_(0.1)  # small but not zero: the other channels need a gradient
        self.to_rgb.weight[:, :6] = 0
        for c in range(3):
            self.to_rgb.weight[c, c, 4, 4] = 1
            self.to_rgb.weight[c, c + 3, 4, 4] = -1
        self.to_rgb.bias.zero_()  # type: ignore[union-attr]

    def parameter_dict(self) -> Parameters:
        """Return copies of the parameters by name, detached."""
        return {name: p.detach().clone() for name, p in self.named_parameters()}


def _with_ones(bias_map: Tensor | None, channels: int) -> Tensor | None:
    """Add channels of ones up to `channels`: (B, C, H, W) -> (B, channels, H, W), channels-last."""
    if bias_map is None:
        return None
    ones = bias_map.new_ones(1, 1, 1, 1).expand(len(bias_map), channels - bias_map.shape[1], *bias_map.shape[-2:])
    return torch.cat([bias_map, ones], 1).contiguous(memory_format=torch.channels_last)


def transform(
    network: nn.Module,
    parameters: Mapping[str, Tensor],
    images: Tensor,
    dtype: torch.dtype = torch.float32,
    noise_offset: tuple[int, int] = (0, 0),
) -> Tensor:
    """Return M(images; parameters): (B, 3, H, W) in [0, 1] -> the same, in float32 at least.

    Args:
        network: gives the architecture.
        parameters: of the whole network. Those of norms and decoder may have a leading batch dimension: one style for
            each image.
        images: sides are multiples of 4.
        dtype: of the arithmetic. The sigmoid is always float32, since eight bits would show as banding.
        noise_offset: position of the images in the noise field, in units of 4 pixels.

    >>> net = TransformerNet()
    >>> transform(net, net.parameter_dict(), torch.rand(1, 3, 64, 64)).shape
    torch.Size([1, 3, 64, 64])
    """
    return logits_to_image(network, _logits(network, parameters, images, dtype, noise_offset=noise_offset))


@dataclass(frozen=True)
class TransformOutput:
    """The stylized images, with the intermediate values that training penalizes."""

    images: Tensor  # (B, 3, H, W) in [0, 1]
    logits: Tensor  # (B, 3, H, W)
    activations: tuple[Tensor, ...]  # of residual blocks, (B, 128, H/4, W/4), and of the decoder's two convolutions


def transform_with_activations(
    network: nn.Module,
    parameters: Mapping[str, Tensor],
    images: Tensor,
    dtype: torch.dtype = torch.float32,
    noise_offset: tuple[int, int] = (0, 0),
    *,
    decoder_only: bool = False,
) -> TransformOutput:
    """Return M(images; parameters) with logits and activations; arguments as in `transform`.

    With `decoder_only` nothing before the decoder has a gradient.
    """
    activations: list[Tensor] = []
    keywords: dict[str, object] = {"activations": activations, "noise_offset": noise_offset}
    if decoder_only:
        keywords["decoder_only"] = True
    logits = _logits(network, parameters, images, dtype, **keywords)
    return TransformOutput(logits_to_image(network, logits), logits, tuple(activations))


def _logits(
    network: nn.Module, parameters: Mapping[str, Tensor], images: Tensor, dtype: torch.dtype, **keywords: object
) -> Tensor:
    cast = {name: p.to(dtype) for name, p in parameters.items()}
    x = images.to(dtype).contiguous(memory_format=torch.channels_last)
    return at_least_float32(torch.func.functional_call(network, cast, (x,), keywords))


def logits_to_image(network: nn.Module, logits: Tensor) -> Tensor:
    """Map logits to an image in [0, 1] by the network's output activation."""
    clamp = getattr(network, "output_activation", "sigmoid") == "clamp"
    return logits.clamp(0, 1) if clamp else torch.sigmoid(logits)


def meta_network(
    config: NetworkConfig, output_activation: str | None = None, dtype: torch.dtype = torch.float32
) -> TransformerNet:
    """Return a network on the meta device, without values; they come as a parameter dictionary.

    Args:
        config: the architecture.
        output_activation: as in `config.json`; None for a sigmoid.
        dtype: of the convolutions in `forward`.
    """
    output_activation = output_activation or "sigmoid"
    with torch.device("meta"):
        if dtype == torch.float32:
            return TransformerNet(config, output_activation).eval()
        return _HalfPrecisionNet(config, output_activation, dtype).eval()


def thread_network(
    config: NetworkConfig, output_activation: str | None = None, dtype: torch.dtype = torch.float32
) -> TransformerNet:
    """Return this thread's `meta_network` of that kind.

    `functional_call` lends the module its parameters for the time of the call, so two threads must not share one.
    """
    networks: dict[object, TransformerNet] = _THREAD.__dict__.setdefault("networks", {})
    key = config, output_activation or "sigmoid", dtype
    if key not in networks:
        networks[key] = meta_network(*key)
    return networks[key]


class _HalfPrecisionNet(TransformerNet):
    """Convolutions in half precision; parameters and logits stay float32.

    Images in tiles (`tiling.py`) stay in float32, where the statistics of large images are exact.
    """

    def __init__(self, config: NetworkConfig, output_activation: str, dtype: torch.dtype) -> None:
        super().__init__(config, output_activation)
        self.dtype = dtype

    def forward(
        self,
        images: Tensor,
        activations: list[Tensor] | None = None,
        noise_offset: tuple[int, int] = (0, 0),
        decoder_only: bool = False,
    ) -> Tensor:
        with torch.autocast(images.device.type, self.dtype):
            return super().forward(images, activations, noise_offset, decoder_only).float()
