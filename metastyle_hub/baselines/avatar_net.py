"""Sheng et al. 2018, Avatar-Net: whiten, swap patches, color, and decode with the style's statistics at every level.

    z_c, z_s  = whitened features of content and style at relu4_1
    decorated = color(strength * swap(z_c, z_s, 5 x 5) + (1 - strength) z_c)
    x         = decoder(decorated), in which features take the style's mean and deviation at relu3_1, relu2_1, relu1_1

Encoder: VGG-19 to relu4_1, 3,505,728 parameters. Decoder: its mirror, with another 3x3 and a 7x7 convolution at the
end, 3,549,827. Table 1 counts the whole classifier, with its fully connected layers: 147,217,067. Training: to
reconstruct images, with their own statistics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from metastyle_hub.baselines.adain import Statistics, adain, statistics
from metastyle_hub.baselines.style_swap import Patches, patches_of, swap
from metastyle_hub.baselines.system import Baseline, maps_of, mirrored_decoder, vgg19_encoder
from metastyle_hub.baselines.wct import Covariance, color, covariance, reconstruction_loss, whiten
from metastyle_hub.networks.feature_extractor import FeatureExtractor
from metastyle_hub.networks.layers import ReflectionConv2d

__all__ = ["VGG19_CLASSIFIER", "AvatarNet", "AvatarStyle", "decorate"]

VGG19_CLASSIFIER = 143_667_240  # parameters of VGG-19 with its fully connected layers


@dataclass(frozen=True)
class AvatarStyle:
    """A prepared style."""

    covariance: Covariance  # at the deepest level
    patches: Patches  # of the whitened features there
    statistics: list[Statistics]  # at the other levels, the shallowest first


def decorate(features: Tensor, style: AvatarStyle, strength: float = 1.0) -> Tensor:
    """Return content features (1, C, H, W) made of the style's patches.

    At strength 0 they are whitened and colored only, as in WCT.
    """
    whitened = whiten(features)
    swapped = swap(whitened.to(style.patches.values), style.patches).double() if strength else whitened
    return color(torch.lerp(whitened, swapped, strength), style.covariance).to(features)


class AvatarNet(Baseline[AvatarStyle]):
    """The system of Sheng et al.

    Args:
        encoder: its style taps are the levels.
        unused: parameters that Table 1 counts and no image needs.
        tv_weight: of the total variation in training.
    """

    patch_size = 5

    def __init__(self, encoder: FeatureExtractor, unused: int = 0, tv_weight: float = 0.01) -> None:
        super().__init__()
        level = len(encoder.spec.style_taps)
        self.encoder, self.unused, self.tv_weight = encoder, unused, tv_weight
        self.decoder, self.multiple = mirrored_decoder(level), 2 ** (level - 1)
        self.decoder[-1] = nn.Sequential(ReflectionConv2d(64, 64, 3), nn.ReLU())
        self.to_rgb = ReflectionConv2d(64, 3, 7)

    @classmethod
    def published(cls) -> Self:
        """Return the published size with random weights; `parameter_count` includes the classifier."""
        encoder = vgg19_encoder(4)
        return cls(encoder, VGG19_CLASSIFIER - sum(p.numel() for p in encoder.parameters()))

    def parameter_count(self) -> int:
        """Return the number of parameters, with those of the classifier that no image needs."""
        return super().parameter_count() + self.unused

    def prepare(self, style: Tensor) -> AvatarStyle:
        """Return covariance, whitened patches and statistics of the style's features."""
        *others, deepest = maps_of(self.encoder, style)
        patches = patches_of(whiten(deepest).to(deepest), self.patch_size)
        return AvatarStyle(covariance(deepest), patches, [statistics(features) for features in others])

    def transfer(self, content: Tensor, style: AvatarStyle, strength: float = 1.0) -> Tensor:
        """Stylize; the strength is that of the decorator."""
        features = maps_of(self.encoder, content)[-1]
        decorated = torch.cat([decorate(one, style, strength) for one in features.split(1)])
        return self.decode(decorated, style.statistics)

    def decode(self, features: Tensor, style: list[Statistics]) -> Tensor:
        """Decode features at the deepest level; those at relu{k}_1 take a style's statistics, the shallowest first."""
        x, waiting = features, list(style)
        for index, part in enumerate(self.decoder):
            mirrors_first = isinstance(part, nn.Sequential) and isinstance(part[-1], nn.Upsample)
            if index and (mirrors_first or index == len(self.decoder) - 1):
                x = adain(x, waiting.pop())
            x = part(x)
        return self.to_rgb(x)

    def training_loss(self, contents: Tensor, styles: Tensor) -> Tensor:
        """Return the loss of reconstruction of both batches, and the total variation (L1)."""
        images = torch.cat([contents, styles])
        with torch.no_grad():
            *others, deepest = maps_of(self.encoder, images)
        decoded = self.decode(deepest, [statistics(features) for features in others])
        loss = reconstruction_loss(self.encoder, images, decoded, self.encoder.spec.style_taps)
        x = decoded.float()
        tv = (x[..., 1:, :] - x[..., :-1, :]).abs().mean() + (x[..., 1:] - x[..., :-1]).abs().mean()
        return loss + self.tv_weight * tv
