"""The network and the feature extractor in plain operations, for graphs.

The same functions as `networks.transformer_net` and `networks.feature_extractor`, which tests hold them to. What
differs is what a graph needs: no memory formats, no operation that depends on the size of the image, noise as an input,
every operation one that ONNX has. An optimization of the networks for PyTorch need not care about this module.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from metastyle_hub.networks.feature_extractor import Features, FeatureSpec
from metastyle_hub.networks.transformer_net import LOGIT_RANGE, NetworkConfig

__all__ = ["NoiseInput", "PlainExtractor", "noise_inputs", "plain_logits", "plain_outlier_penalty"]


@dataclass(frozen=True)
class NoiseInput:
    """An input of the graphs: a window of the noise field with so many channels."""

    name: str
    channels: int
    pixels: int  # of the image per sample


def noise_inputs(config: NetworkConfig) -> tuple[NoiseInput, ...]:
    """Return the noise inputs of a network in their order: for the last layer of the encoder, the first of the decoder.

    >>> noise_inputs(NetworkConfig())[0]
    NoiseInput(name='noise_quarter', channels=8, pixels=4)
    """
    if not config.noise_injection:
        return ()
    both = NoiseInput("noise_quarter", config.width // 4, 4), NoiseInput("noise_half", config.width // 8, 2)
    return tuple(noise for noise in both if noise.channels)


def plain_logits(
    config: NetworkConfig,
    parameters: Mapping[str, Tensor],
    images: Tensor,
    noise: Mapping[str, Tensor],
    activations: list[Tensor] | None = None,
) -> Tensor:
    """Return the logits of `TransformerNet`: (B, 3, H, W) in [0, 1] -> (B, 3, H, W).

    Args:
        config: the architecture.
        parameters: of the whole network.
        images: sides are multiples of 4.
        noise: (1, C, H/4, W/4) and (1, C, H/2, W/2) by the names of `noise_inputs`.
        activations: a list that receives the outputs of all residual blocks and of the decoder's convolutions.
    """
    seen = activations if activations is not None else []

    def conv_norm(name: str, x: Tensor, stride: int = 1, bias_map: Tensor | None = None) -> Tensor:
        x = _convolution(x, parameters[f"{name}.conv.weight"], parameters[f"{name}.conv.bias"], stride)
        if name.startswith("decoder."):
            seen.append(x)
        return _norm(x, parameters[f"{name}.norm.weight"], parameters[f"{name}.norm.bias"], bias_map)

    x = F.relu(conv_norm("encoder.0", images))
    x = F.relu(conv_norm("encoder.1", x, stride=2))  # (B, 64, H/2, W/2)
    x = F.relu(conv_norm("encoder.2", x, 2, noise.get("noise_quarter")))  # (B, 128, H/4, W/4)
    for i in range(config.residual_blocks):
        residual = F.relu(conv_norm(f"residual_blocks.{i}.first", x))
        x = x + conv_norm(f"residual_blocks.{i}.second", residual)
        seen.append(x)
    x = F.interpolate(x, scale_factor=2, mode=config.upsampling)
    x = F.relu(conv_norm("decoder.0", x, bias_map=noise.get("noise_half")))  # (B, 64, H/2, W/2)
    x = F.interpolate(x, scale_factor=2, mode=config.upsampling)
    x = F.relu(conv_norm("decoder.1", x, bias_map=_logit_map(images) if config.logit_skip else None))  # (B, 32, H, W)
    return _convolution(x, parameters["to_rgb.weight"], parameters["to_rgb.bias"])


def _convolution(x: Tensor, weight: Tensor, bias: Tensor, stride: int = 1, *, reflect: bool = True) -> Tensor:
    margin = weight.shape[-1] // 2
    return F.conv2d(F.pad(x, (margin,) * 4, mode="reflect" if reflect else "constant"), weight, bias, stride)


def _norm(x: Tensor, weight: Tensor, bias: Tensor, bias_map: Tensor | None) -> Tensor:
    """Instance norm; the biases of the first channels scale a map of as many channels (or more), the others 1."""
    if bias_map is None:
        return F.instance_norm(x, weight=weight, bias=bias)
    x = F.instance_norm(x, weight=weight)
    count = min(bias_map.shape[1], len(bias))
    scaled = x[:, :count] + bias[:count, None, None] * bias_map[:, :count]
    if count == len(bias):
        return scaled
    return torch.cat([scaled, x[:, count:] + bias[count:, None, None]], 1)


def _logit_map(images: Tensor) -> Tensor:
    x = images.clamp(*LOGIT_RANGE)
    logits = (x / (1 - x)).log()
    return torch.cat([logits, -logits], 1)  # (B, 6, H, W)


def plain_outlier_penalty(activations: Iterable[Tensor], limit: float) -> Tensor:
    """Return `losses.outlier_penalty`, without the detours around instance norms of PyTorch."""
    rms = [torch.linalg.vector_norm(F.instance_norm(x), dim=1) / x.shape[1] ** 0.5 for x in activations]
    return torch.stack([(r - limit).relu().square().mean() for r in rms]).mean()


class PlainExtractor:
    """A `FeatureExtractor` with constant weights, as `PerceptualLoss` calls it.

    Args:
        spec: the architecture.
        weights: the `state_dict` of the `FeatureExtractor`.

    Example::

        PlainExtractor(SPECS["compact"], load_file("compact.safetensors"))(torch.rand(1, 3, 64, 64)).keys()
    """

    dtype = torch.float32

    def __init__(self, spec: FeatureSpec, weights: Mapping[str, Tensor]) -> None:
        self.spec, self.weights = spec, weights

    def __call__(self, images: Tensor, taps: Iterable[str] | None = None) -> Features:
        """Return the feature maps at `taps` (default: the content and style taps)."""
        spec, weights = self.spec, self.weights
        wanted = set(taps if taps is not None else (spec.content_tap, *spec.style_taps))
        heads = dict(spec.heads)
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (spec.mean, spec.std))
        x, maps, layer = (images - mean) / std, Features(), 0
        for s, stage in enumerate(spec.stages, 1):
            if s > 1:
                x, layer = F.avg_pool2d(x, 2) if spec.pool == "avg" else F.max_pool2d(x, 2), layer + 1
            for c in range(1, len(stage) + 1):
                if maps.keys() == wanted:
                    return maps
                weight, bias = weights[f"features.{layer}.weight"], weights[f"features.{layer}.bias"]
                x = F.relu(_convolution(x, weight, bias, reflect=spec.padding == "reflect"))
                layer += 2  # as torchvision counts: convolution, ReLU
                if (tap := f"relu{s}_{c}") in wanted:
                    maps[tap] = x
                    if tap in heads:
                        maps[tap] = F.relu(F.conv2d(x, weights[f"heads.{tap}.weight"], weights[f"heads.{tap}.bias"]))
        return maps
