"""Huang and Belongie 2017, AdaIN: the content's features take the style's mean and standard deviation per channel.

    t = sigma(s) (c - mu(c)) / sigma(c) + mu(s),     x = decoder(t)

Encoder: VGG-19 to relu4_1, 3,505,728 parameters, frozen. Decoder: its mirror, 3,505,219. One decoder serves all styles.
Training: the features of x against t, and mean and deviation of the features of x against the style's, at all levels.
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from metastyle_hub.baselines.system import Baseline, maps_of, mirrored_decoder, relative_distance, vgg19_encoder
from metastyle_hub.devices import at_least_float32
from metastyle_hub.networks.feature_extractor import FeatureExtractor

__all__ = ["AdaIN", "Statistics", "adain", "statistics"]

_EPS = 1e-5  # inside the root
Statistics = tuple[Tensor, Tensor]
"""Mean and standard deviation over space: (B, C, 1, 1) each."""


def statistics(features: Tensor) -> Statistics:
    """Return mean and standard deviation per image and channel: (B, C, H, W) -> twice (B, C, 1, 1)."""
    x = at_least_float32(features)
    variance, mean = torch.var_mean(x, (2, 3), correction=0, keepdim=True)
    return mean, (variance + _EPS).sqrt()


def adain(features: Tensor, style: Statistics) -> Tensor:
    """Give features (B, C, H, W) the mean and deviation of a style, whose batch is 1 or B.

    >>> adain(torch.rand(1, 8, 16, 16), statistics(torch.rand(1, 8, 24, 24))).shape
    torch.Size([1, 8, 16, 16])
    """
    mean, deviation = statistics(features)
    return (at_least_float32(features) - mean) / deviation * style[1] + style[0]


class AdaIN(Baseline[Statistics]):
    """The system of Huang and Belongie.

    Args:
        encoder: its style taps are the levels of the loss, the deepest is where features are changed.
        style_weight: of the statistics, relative to the features.
    """

    def __init__(self, encoder: FeatureExtractor, style_weight: float = 10.0) -> None:
        super().__init__()
        self.encoder, self.style_weight = encoder, style_weight
        level = len(encoder.spec.style_taps)
        self.decoder, self.multiple = mirrored_decoder(level), 2 ** (level - 1)

    @classmethod
    def published(cls) -> Self:
        """Return the published size, 7,010,947 parameters, with random weights."""
        return cls(vgg19_encoder(4))

    def prepare(self, style: Tensor) -> Statistics:
        """Return the statistics of the style's features."""
        return statistics(maps_of(self.encoder, style)[-1])

    def transfer(self, content: Tensor, style: Statistics, strength: float = 1.0) -> Tensor:
        """Stylize; a strength below 1 blends the changed features with the content's."""
        features = maps_of(self.encoder, content)[-1]
        return self.decoder(torch.lerp(at_least_float32(features), adain(features, style), strength))

    def training_loss(self, contents: Tensor, styles: Tensor) -> Tensor:
        """Return the relative distances of features to t, and of their statistics to the style's."""
        with torch.no_grad():
            targets = [statistics(features) for features in maps_of(self.encoder, styles)]
            t = adain(maps_of(self.encoder, contents)[-1], targets[-1])
        maps = maps_of(self.encoder, self.decoder(t))
        pairs = [pair for own, target in zip(maps, targets, strict=True)
                 for pair in zip(statistics(own), target, strict=True)]  # fmt: skip
        style = torch.stack([relative_distance(own, target) for own, target in pairs]).sum() / len(maps)
        return relative_distance(maps[-1], t) + self.style_weight * style
