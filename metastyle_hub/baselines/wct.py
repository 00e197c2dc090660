"""Li et al. 2017, WCT: whitening and coloring of features, level by level, from the deepest to the shallowest.

    f   = E(c) - m_c,     C_c = f f^T / (H W - 1) = V_c D_c V_c^T
    f_w = V_c D_c^(-1/2) V_c^T f                                      whitened: covariance I
    g   = V_s D_s^(1/2) V_s^T f_w + m_s                               colored: covariance and mean of the style
    x   = decoder(strength g + (1 - strength) E(c))

Five encoders, VGG-19 to relu5_1 ... relu1_1, 17,120,384 parameters, and five decoders, 17,118,927. The image of a level
is the content of the next. Decoders are trained to reconstruct images; no style is seen in training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from metastyle_hub.baselines.system import Baseline, mirrored_decoder, relative_distance, vgg19_encoder
from metastyle_hub.networks.feature_extractor import FeatureExtractor

__all__ = ["WCT", "Covariance", "color", "covariance", "reconstruction_loss", "whiten"]

_EPS = 1e-5  # eigenvalues below are dropped


@dataclass(frozen=True)
class Covariance:
    """Mean and covariance of the features of one image, the latter as its eigenvalues and eigenvectors in float64."""

    mean: Tensor  # (C, 1)
    values: Tensor  # (K,), those above 1e-5
    vectors: Tensor  # (C, K)

    def power(self, exponent: float) -> Tensor:
        """Return a power of the covariance: (C, C)."""
        return self.vectors * self.values**exponent @ self.vectors.mT


def covariance(features: Tensor) -> Covariance:
    """Return mean and covariance of features (1, C, H, W) over space."""
    x = features[0].flatten(1).double()  # (C, N)
    mean = x.mean(1, keepdim=True)
    x = x - mean
    values, vectors = torch.linalg.eigh(x @ x.mT / (x.shape[1] - 1))
    kept = values > _EPS
    return Covariance(mean, values[kept], vectors[:, kept])


def whiten(features: Tensor) -> Tensor:
    """Return features (1, C, H, W) with mean 0 and covariance I (in the space that they span), in float64."""
    own = covariance(features)
    return (own.power(-0.5) @ (features[0].flatten(1).double() - own.mean)).view_as(features)


def color(whitened: Tensor, style: Covariance) -> Tensor:
    """Give whitened features (1, C, H, W) the mean and covariance of a style."""
    return (style.power(0.5) @ whitened[0].flatten(1) + style.mean).view_as(whitened)


def reconstruction_loss(
    encoder: FeatureExtractor, images: Tensor, reconstructed: Tensor, taps: Sequence[str]
) -> Tensor:
    """Return 10 times the relative distance of images, and that of their features, averaged over taps: a scalar."""
    with torch.no_grad():
        targets = encoder(images, taps)
    maps = encoder(reconstructed, taps)
    features = torch.stack([relative_distance(maps[tap], targets[tap]) for tap in taps]).mean()
    return 10 * relative_distance(reconstructed, images) + features


class WCT(Baseline[list[Covariance]]):
    """The system of Li et al.

    Args:
        encoders: one for each level, the shallowest first; `[compact] * 3` shares one.
    """

    def __init__(self, encoders: Sequence[FeatureExtractor]) -> None:
        super().__init__()
        levels = range(1, len(encoders) + 1)
        self.encoders = nn.ModuleList(encoders)
        self.taps = [encoder.spec.style_taps[k - 1] for encoder, k in zip(encoders, levels, strict=True)]
        self.decoders = nn.ModuleList(mirrored_decoder(level) for level in levels)
        self.multiple = 2 ** (len(encoders) - 1)

    @classmethod
    def published(cls) -> Self:
        """Return the published size, 34,239,311 parameters (34.23M in the paper, cut off), with random weights."""
        return cls([vgg19_encoder(level) for level in range(1, 6)])

    def features(self, images: Tensor, index: int) -> Tensor:
        """Return the features at a level, counted from 0."""
        tap = self.taps[index]
        return self.encoders[index](images, (tap,))[tap]

    def prepare(self, style: Tensor) -> list[Covariance]:
        """Return the covariances of the style's features, the shallowest first."""
        return [covariance(self.features(style, index)) for index in range(len(self.taps))]

    def transfer(self, content: Tensor, style: list[Covariance], strength: float = 1.0) -> Tensor:
        """Stylize; a strength below 1 blends with the content's features at every level (0.6 in the authors' own)."""
        return torch.cat([self._transfer_one(image, style, strength) for image in content.split(1)])

    def _transfer_one(self, image: Tensor, style: list[Covariance], strength: float) -> Tensor:
        for index in reversed(range(len(self.taps))):
            features = self.features(image, index)
            colored = color(whiten(features), style[index]).to(features)
            image = self.decoders[index](torch.lerp(features, colored, strength).contiguous())
        return image

    def training_loss(self, contents: Tensor, styles: Tensor) -> Tensor:
        """Return the losses of reconstruction of both batches, summed over levels."""
        images, total = torch.cat([contents, styles]), contents.new_zeros(())
        for index, (encoder, decoder, tap) in enumerate(zip(self.encoders, self.decoders, self.taps, strict=True)):
            assert isinstance(encoder, FeatureExtractor)
            with torch.no_grad():
                features = self.features(images, index)
            total = total + reconstruction_loss(encoder, images, decoder(features), (tap,))
        return total
