"""Chen and Schmidt 2016, style swap: every patch of content features becomes the nearest patch of style features.

    k(p) = argmax_k <c_p, s_k / |s_k|>,     swapped = mean over the patches p that cover a position of s_k(p)

Patches are 3 x 3, with stride 1. Encoder: VGG-19 to relu3_1, 555,328 parameters. Inverse network: its mirror with
instance norms, 555,075. Comparisons grow with the square of the number of pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from metastyle_hub.baselines.system import Baseline, maps_of, mirrored_decoder, relative_distance, vgg19_encoder
from metastyle_hub.losses import total_variation
from metastyle_hub.networks.feature_extractor import FeatureExtractor

__all__ = ["Patches", "StyleSwap", "patches_of", "swap"]

_EPS = 1e-8
_CHUNK = 2**25  # scores that are held at once: 128 MB


@dataclass(frozen=True)
class Patches:
    """All patches of a feature map, with stride 1."""

    values: Tensor  # (N, C * size * size)
    directions: Tensor  # the same, each divided by its norm
    size: int


def patches_of(features: Tensor, size: int) -> Patches:
    """Return all size x size patches of features (1, C, H, W)."""
    values = F.unfold(features, size)[0].T.contiguous()  # (N, C * size * size)
    return Patches(values, values / (values.norm(dim=1, keepdim=True) + _EPS), size)


def swap(features: Tensor, style: Patches) -> Tensor:
    """Replace every patch of features (1, C, H, W) by the style's patch of the largest correlation; average overlaps.

    >>> swap(torch.rand(1, 8, 16, 16), patches_of(torch.rand(1, 8, 24, 24), size=3)).shape
    torch.Size([1, 8, 16, 16])
    """
    queries = F.unfold(features, style.size)[0].T  # (M, C * size * size)
    rows = max(1, _CHUNK // len(style.directions))
    nearest = torch.cat([(part @ style.directions.T).argmax(1) for part in queries.split(rows)])  # (M,)
    pasted = style.values[nearest].T[None]  # (1, C * size * size, M)
    height, width = features.shape[-2:]
    total = F.fold(pasted, (height, width), style.size)
    positions = torch.ones_like(pasted[:, : style.size**2])
    return total / F.fold(positions, (height, width), style.size)


class StyleSwap(Baseline[Patches]):
    """The system of Chen and Schmidt; the deepest style tap of the encoder is where patches are swapped.

    The published count of 1.48M is not explained by the layers of the paper, which have 1,110,403 parameters.
    """

    patch_size = 3

    def __init__(self, encoder: FeatureExtractor) -> None:
        super().__init__()
        level = len(encoder.spec.style_taps)
        self.encoder, self.decoder, self.multiple = encoder, mirrored_decoder(level, norm=True), 2 ** (level - 1)

    @classmethod
    def published(cls) -> Self:
        """Return the published size, 1,110,403 parameters, with random weights."""
        return cls(vgg19_encoder(3))

    def prepare(self, style: Tensor) -> Patches:
        """Return all patches of the style's features."""
        return patches_of(maps_of(self.encoder, style)[-1], self.patch_size)

    def transfer(self, content: Tensor, style: Patches) -> Tensor:
        """Stylize."""
        features = maps_of(self.encoder, content)[-1]
        return self.decoder(torch.cat([swap(one, style) for one in features.split(1)]))

    def training_loss(self, contents: Tensor, styles: Tensor) -> Tensor:
        """Return |E(D(f)) - f|^2, relative, for features f of contents, styles and their swaps, and total variation."""
        with torch.no_grad():
            c, s = maps_of(self.encoder, contents)[-1], maps_of(self.encoder, styles)[-1]
            pairs = zip(c.split(1), s.split(1), strict=True)
            swapped = torch.cat([swap(one.float(), patches_of(other.float(), self.patch_size)) for one, other in pairs])
            features = torch.cat([c, s, swapped.to(c)])
        images = self.decoder(features)
        tv = total_variation(images.float()).mean()
        return relative_distance(maps_of(self.encoder, images)[-1], features) + 1e-6 * tv
