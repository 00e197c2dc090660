"""Shen et al. 2018, meta networks: a network generates, from the style, the weights of the network that stylizes.

    h = relu(Linear(mean and deviation of the style's features at four levels)),  14 pieces of 128
    w_i = Linear_i(h_i),  one for each 3x3 convolution of Johnson's network,      x = M(c; w)

The first and the last convolution are shared by all styles; instance norms have no parameters. The meta network has
217,640,224 parameters, the network that it fills 1,676,035; VGG-16 is not counted. One pass gives a new style.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metastyle_hub.baselines.adain import Statistics, statistics
from metastyle_hub.baselines.johnson import PAPER_NETWORK
from metastyle_hub.baselines.system import Baseline, maps_of, relative_distance
from metastyle_hub.losses import content_loss
from metastyle_hub.networks.feature_extractor import SPECS, FeatureExtractor
from metastyle_hub.networks.inference import infer
from metastyle_hub.networks.layers import ReflectionConv2d
from metastyle_hub.networks.param_groups import Parameters, is_norm_parameter
from metastyle_hub.networks.transformer_net import thread_network, transform

__all__ = ["MetaNetwork"]

_PIECE = 128  # inputs of the layer that generates one convolution
_MODULATION = 0.3  # initial share of the style in the generated weights
_SHARED = ("encoder.0.conv", "to_rgb")


class MetaNetwork(Baseline[Parameters]):
    """The system of Shen et al.

    Args:
        encoder: its style taps are where statistics are taken; it is frozen and not counted.
        width: channels of the first convolution; 8 is the small variant.
        style_weight: of the statistics in training, relative to the content.
    """

    def __init__(self, encoder: FeatureExtractor, width: int = 32, style_weight: float = 10.0) -> None:
        super().__init__()
        self.encoder, self.style_weight = encoder, style_weight
        self.filled = replace(PAPER_NETWORK, width=width)
        shapes = {name: p.shape for name, p in thread_network(self.filled).named_parameters()}
        self.norms = {name: shape for name, shape in shapes.items() if is_norm_parameter(name)}
        self.generated = {  # weight and bias of each convolution that is not shared
            name.removesuffix(".weight"): shape
            for name, shape in shapes.items()
            if name.endswith(".weight") and name not in self.norms and not name.startswith(_SHARED)
        }
        self.first, self.last = ReflectionConv2d(3, width, 9), ReflectionConv2d(width, 3, 9)
        self.hidden = nn.Linear(2 * sum(encoder.spec.gram_channels), _PIECE * len(self.generated))
        self.heads = nn.ModuleList(nn.Linear(_PIECE, s.numel() + s[0]) for s in self.generated.values())
        for head, shape in zip(self.heads, self.generated.values(), strict=True):
            self._initialize(head, shape)

    @classmethod
    def published(cls) -> Self:
        """Return the published size, 219,316,259 parameters with the network that is filled, with random weights."""
        return cls(FeatureExtractor(SPECS["vgg16"], "vgg16"))

    @staticmethod
    @torch.no_grad()
    def _initialize(head: nn.Module, shape: torch.Size) -> None:
        """Let every style start from the same usual random convolution, and change it by a share."""
        assert isinstance(head, nn.Linear)
        deviation = (2 / shape[1:].numel()) ** 0.5
        head.weight.normal_(std=_MODULATION * deviation / _PIECE**0.5)
        head.bias.normal_(std=deviation)
        head.bias[shape.numel() :] = 0

    def parameter_count(self) -> int:
        """Return the parameters of the meta network, and of the network that it fills."""
        own = sum(p.numel() for name, p in self.named_parameters() if not name.startswith("encoder."))
        return own + sum(shape.numel() + shape[0] for shape in self.generated.values())

    def generate(self, style: list[Statistics]) -> Parameters:
        """Return the parameters of the network for the statistics of B styles; a leading B of 1 is dropped."""
        numbers = torch.cat([value.flatten(1) for level in style for value in level], 1)  # (B, 2 sum C_k)
        pieces = F.relu(self.hidden(numbers)).chunk(len(self.heads), 1)  # (B, 128) each
        weights: Parameters = {}
        for (name, shape), head, piece in zip(self.generated.items(), self.heads, pieces, strict=True):
            kernel, bias = head(piece).split([shape.numel(), shape[0]], 1)
            weights[f"{name}.weight"], weights[f"{name}.bias"] = kernel.unflatten(1, shape), bias
        if len(numbers) == 1:
            weights = {name: value[0] for name, value in weights.items()}
        for name, module in zip(_SHARED, (self.first, self.last), strict=True):
            weights |= {f"{name}.{key}": p for key, p in module.named_parameters()}
        make = {"weight": numbers.new_ones, "bias": numbers.new_zeros}
        return weights | {name: make[name.rpartition(".")[2]](shape) for name, shape in self.norms.items()}

    def prepare(self, style: Tensor) -> Parameters:
        """Generate the network of a style."""
        return self.generate([statistics(features) for features in maps_of(self.encoder, style)])

    def transfer(self, content: Tensor, style: Parameters) -> Tensor:
        """Stylize by the generated network."""
        return infer(thread_network(self.filled), style, content)

    def training_loss(self, contents: Tensor, styles: Tensor) -> Tensor:
        """Return the relative distances of content features, and of means and deviations to those of the styles."""
        with torch.no_grad():
            targets = [statistics(features) for features in maps_of(self.encoder, styles)]
            content = self.encoder(contents, (self.encoder.spec.content_tap,))[self.encoder.spec.content_tap]
        maps = self.encoder(transform(thread_network(self.filled), self.generate(targets), contents))
        found = [statistics(maps[tap]) for tap in self.encoder.spec.style_taps]
        style = sum(
            relative_distance(own, target)
            for level, wanted in zip(found, targets, strict=True)
            for own, target in zip(level, wanted, strict=True)
        ) / len(found)
        return content_loss(maps[self.encoder.spec.content_tap], content).mean() + self.style_weight * style
