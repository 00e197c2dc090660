"""The perceptual loss and its regularizers (MetaStyle, equations 1 to 4; Johnson et al. 2016).

    content(c, x)      = |phi(c) - phi(x)|^2 / |phi(c)|^2                                   at the content tap
    G(f)               = psi(f) psi(f)^T / (C H W),  psi reshapes (C, H, W) to (C, H W)
    style_k(s, x)      = mean_i |G(phi_i(s_k)) - G(phi_i(x_k))|_F^2 / |G(phi_i(s_k))|_F^2   at the style taps, scale k
    style(s, x)        = style_0 + coarse_weight * (style_1 + ...)                          scale k is 1 / 2^k
    tone(c, x)         = 1 - R^2 of the best quadratic map from c's tones to x's, both means over 16 x 16 pixels
    checkerboard(x)    = the share of x's fine detail that repeats every 4 pixels
    loss(c, s, x)      = content_weight * content + style_weight * style + tone_weight * tone + tv_weight * tv
                         + checkerboard_weight * checkerboard

The paper divides by the number of features where this divides by the energy of the target. For one pair that only
changes the weights. Across styles Gram energies differ by orders of magnitude, and one set of weights, one learning
rate and one meta-batch have to serve them all. An error of 1 means "as wrong as a black image".

The receptive field at relu3 is some forty pixels, the width of a brush stroke. Gram matrices of downscaled images
compare larger shapes (a pyramid, Snelgrove 2017).

The tone loss is ours. Content features hardly see flat regions, so the cheapest way to a style's palette is to fill
them with blobs of color. The tone loss accepts any palette, as long as equal tones stay equal. The checkerboard loss
is ours too: layers at a quarter and half of the resolution leave their sampling grid in the image (Odena et al. 2016),
which Gram matrices mistake for texture; brush strokes do not repeat every 4 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from metastyle_hub.config import Config, option
from metastyle_hub.devices import at_least_float32
from metastyle_hub.errors import SettingError
from metastyle_hub.networks.feature_extractor import FeatureExtractor, Features
from metastyle_hub.networks.layers import instance_norm
from metastyle_hub.networks.style_predictor import MAX_STYLE_SCALES

__all__ = [
    "MAX_STYLE_SCALES",
    "LossTargets",
    "LossWeights",
    "PerceptualLoss",
    "ToneFit",
    "checkerboard_loss",
    "coarse_tones",
    "content_loss",
    "gram_matrix",
    "outlier_penalty",
    "style_loss",
    "tone_fit",
    "tone_loss",
    "total_variation",
]

_TONE_PIXELS = 16
_CHECKERBOARD_PIXELS = 4  # pixels of the image per sample of the coarsest layers
_CHUNK = 1024  # rows of a bfloat16 product
_EPS = 1e-8  # keeps the quotients finite for black images, whose features may all be zero


def gram_matrix(features: Tensor) -> Tensor:
    """Return G(f) = psi(f) psi(f)^T / (C H W): (B, C, H, W) -> (B, C, C), in float32 at least.

    >>> gram_matrix(torch.ones(1, 2, 4, 4))
    tensor([[[0.5000, 0.5000],
             [0.5000, 0.5000]]])
    """
    return _Gram.apply(features) / features[0].numel()  # type: ignore[no-untyped-call]  # (B, C, C)


class _Gram(torch.autograd.Function):
    """X^T X of features (B, C, H, W) as X (B, H W, C), with a backward of one product, X (D + D^T), instead of two.

    Pixels are rows because that is the layout of channels_last: nothing is copied, and the gradient has the layout of
    the layers before. The backward consists of differentiable operations, so second derivatives work.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        ctx.save_for_backward(features)
        with torch.autocast(features.device.type, enabled=False):
            return _product(_rows(features))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        (features,) = ctx.saved_tensors
        both, rows = gradient + gradient.mT, _rows(features)
        with torch.autocast(features.device.type, enabled=False):
            if rows.dtype == torch.bfloat16:  # sums over channels, rounded to bfloat16 anyway: twice as fast
                flat = rows @ both.to(rows.dtype)
            else:
                flat = (at_least_float32(rows) @ both).to(rows.dtype)
        b, c, h, w = features.shape
        return flat.view(b, h, w, c).permute(0, 3, 1, 2)


def _rows(features: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H W, C), a view in either memory format."""
    return features.permute(0, 2, 3, 1).flatten(1, 2)


def _product(rows: Tensor) -> Tensor:
    """X^T X, (B, N, C) -> (B, C, C), in float32 at least."""
    b, n, c = rows.shape
    whole = n - n % _CHUNK
    if rows.dtype != torch.bfloat16 or rows.device.type != "cpu" or not whole:
        rows = at_least_float32(rows)
        return rows.mT @ rows
    # a bfloat16 product is rounded to three digits at its end; many short ones, added in float32, give four digits and
    # are three times as fast as float32
    chunks = rows[:, :whole].unflatten(1, (-1, _CHUNK)).flatten(0, 1)  # (B * whole / 1024, 1024, C)
    product = (chunks.mT @ chunks).view(b, -1, c, c).float().sum(1)
    return product + _product(rows[:, whole:]) if whole < n else product


def content_loss(features: Tensor, target: Tensor) -> Tensor:
    """Return the relative squared distance of two feature maps per image: (B, C, H, W) twice -> (B,)."""
    distance: Tensor = _Energy.apply(features - target)  # type: ignore[no-untyped-call]
    energy: Tensor = _Energy.apply(target)  # type: ignore[no-untyped-call]
    return distance / (energy + _EPS)


class _Energy(torch.autograd.Function):
    """|x|^2 per image: (B, C, H, W) -> (B,). The sum is in float32, its millions of terms are not.

    Autograd's own backward would first write the gradient of the sum to every pixel; this is one product.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        half = x.dtype in (torch.bfloat16, torch.float16)
        return x.square().sum((1, 2, 3), dtype=torch.float32 if half else x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return x * (2 * gradient).to(x.dtype)[:, None, None, None]


def style_loss(grams: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """Return the relative squared distance of Gram matrices, mean over taps: lists of (B, C_i, C_i) -> (B,).

    A target may have a batch of 1, which serves all images.
    """
    losses = [
        (gram - target).square().flatten(1).sum(1) / (target.square().flatten(1).sum(1) + _EPS)
        for gram, target in zip(grams, targets, strict=True)
    ]
    return torch.stack(losses).mean(0)


def total_variation(images: Tensor) -> Tensor:
    """Return the mean squared difference of neighboring pixels: (B, 3, H, W) -> (B,). Johnson et al. 2016."""
    down = (images[..., 1:, :] - images[..., :-1, :]).square().flatten(1).mean(1)
    right = (images[..., :, 1:] - images[..., :, :-1]).square().flatten(1).mean(1)
    return down + right


@dataclass(frozen=True)
class ToneFit:
    """The least-squares fit of any coarse tones by 1, r, g, b, r^2, g^2, b^2 of N tones of a content image."""

    basis: Tensor  # (B, N, 7)
    solve: Tensor  # (B, 7, N): coefficients = solve @ tones


@torch.no_grad()
def tone_fit(contents: Tensor) -> ToneFit:
    """Return the fit for content images (B, 3, H, W). It depends on them alone and carries no graph."""
    x = coarse_tones(contents).flatten(2).mT  # (B, N, 3)
    x = torch.cat([torch.ones_like(x[..., :1]), x, x.square()], 2)  # (B, N, 7)
    host = x.cpu()  # 7 x 7 systems: no work for an accelerator, and some have no solver
    ridge = 1e-3 * x.shape[1] * torch.eye(7, dtype=x.dtype)  # gray images are degenerate
    return ToneFit(x, torch.linalg.solve(host.mT @ host + ridge, host.mT).to(x.device))


def tone_loss(images: Tensor, fit: ToneFit) -> Tensor:
    """Return the share of the images' coarse tones that is no function of the content's: (B, 3, H, W) -> (B,), 0 to 1.

    Args:
        images: the stylized images.
        fit: `tone_fit` of the content images.
    """
    y = coarse_tones(images).flatten(2).mT  # (B, N, 3)
    residual = (y - fit.basis @ (fit.solve @ y)).square().flatten(1).mean(1)
    return residual / ((y - y.mean(1, keepdim=True)).square().flatten(1).mean(1) + 1e-3)


def coarse_tones(images: Tensor) -> Tensor:
    """Return means over 16 x 16 pixels, wider than a brush stroke: (B, 3, H, W) -> (B, 3, H/16, W/16)."""
    return F.avg_pool2d(at_least_float32(images), _TONE_PIXELS, ceil_mode=True)


def checkerboard_loss(images: Tensor) -> Tensor:
    """Return the share of fine detail that repeats every 4 pixels: (B, 3, H, W) -> (B,), 0 to 1 (cf. Odena 2016).

    It is the energy of the mean 4 x 4 cell of the detail. Photos of 128 px have about 0.002, white noise has 0.001,
    and images with a visible checkerboard artifact have 0.02 and more.

    >>> checkerboard_loss(torch.rand(1, 3, 128, 128)) < 0.01
    tensor([True])
    """
    period = _CHECKERBOARD_PIXELS
    height, width = (side // period * period for side in images.shape[-2:])
    x = at_least_float32(images)
    # a mean over one period removes the artifact and keeps tones, slopes and broad shapes
    detail = x - F.avg_pool2d(F.pad(x, (2, 1, 2, 1), mode="reflect"), period, 1)  # (B, 3, H, W)
    cells = detail[..., :height, :width].unflatten(3, (-1, period)).unflatten(2, (-1, period))  # (B, 3, H/4, 4, W/4, 4)
    cells = cells.mean((2, 4))  # (B, 3, 4, 4)
    # plus the energy of half an 8-bit level: anything smoother has no detail
    return cells.square().flatten(1).mean(1) / (detail.square().flatten(1).mean(1) + 4e-6)


def outlier_penalty(activations: Sequence[Tensor], limit: float) -> Tensor:
    """Return the mean of relu(r - limit)^2, with r the RMS over channels of the standardized activations.

    Residual blocks, and convolutions between norms, tend to create an activation outlier: a spot in a flat, dark
    region where all channels are far from their means (16 standard deviations after the fifth block of a base trained
    without this). It shifts the statistics of the whole image and shows as a blob. Karras et al. 2020 (StyleGAN 2,
    section 2) found the same in generators. The mean square of r is 1 for every image; one channel far from its mean
    is a rare feature, all of them are an outlier.

    Args:
        activations: (B, C, H, W) each.
        limit: standard deviations that are not penalized.
    """
    excess = [(_channel_rms(x) - limit).relu().square().mean() for x in activations]
    return torch.stack(excess).mean()


def _channel_rms(x: Tensor) -> Tensor:
    """RMS over the channels, each in its own standard deviations: (B, C, H, W) -> (B, H, W)."""
    z = instance_norm(x, x.new_ones(x.shape[1]), None)
    # the gradient of a norm is 0 where all is 0; that of the root of a mean of squares does not exist there
    return torch.linalg.vector_norm(z, dim=1, dtype=torch.promote_types(z.dtype, torch.float32)) / z.shape[1] ** 0.5


@dataclass(frozen=True)
class LossWeights(Config):
    """The weights of the loss terms; every term is dimensionless (see the formulas of the module)."""

    content_weight: float = option(1.0, "weight of the content loss", low=0)
    style_weight: float = option(10.0, "weight of the style loss", low=0)
    tv_weight: float = option(0.0, "weight of total variation", low=0, advanced=True)
    tone_weight: float = option(2.0, "weight of the tone loss, against blobs in flat regions", low=0, advanced=True)
    checkerboard_weight: float = option(10.0, "weight of the checkerboard loss", low=0, advanced=True)
    coarse_weight: float = option(
        0.5, "weight of style at smaller scales, for large shapes, relative to full size", low=0, advanced=True
    )
    style_scales: int = option(
        2,
        "scales at which style is compared: 1 is full size, 2 adds half, 3 adds a quarter",
        low=1,
        high=MAX_STYLE_SCALES,
        advanced=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        # the checkerboard loss does not count: any flat image minimizes it, so alone it teaches nothing
        if not (self.content_weight or self.style_weight or self.tv_weight or self.tone_weight):
            raise SettingError(
                "content_weight, style_weight, tone_weight and tv_weight are all 0; make one of them positive."
            )

    @property
    def compared_scales(self) -> int:
        """The number of scales at which style is compared, each half the one before."""
        return self.style_scales if self.coarse_weight else 1

    @classmethod
    def paper(cls) -> LossWeights:
        """Return the paper's two terms: content and style at full size."""
        return cls(tone_weight=0, checkerboard_weight=0, coarse_weight=0)


@dataclass(frozen=True)
class LossTargets:
    """What images are compared with: features of the contents, Gram matrices of one style (batch of 1) or of many."""

    content: Tensor  # (B, C, H, W) at the content tap
    grams: tuple[Tensor, ...]  # (1 or B, C_i, C_i) at the style taps, scale by scale
    tones: ToneFit


class PerceptualLoss:
    """The loss of images against contents and a style; the targets are computed once.

    >>> loss = PerceptualLoss(load_feature_extractor(), LossWeights())
    >>> targets = loss.targets(content, loss.style_grams(style_image))
    >>> total, content_term, style_term = loss(stylized, targets)  # each (B,)
    """

    def __init__(self, feature_extractor: FeatureExtractor, weights: LossWeights | None = None) -> None:
        self.feature_extractor = feature_extractor
        self.weights = weights or LossWeights()

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the feature extractor, in which training also runs the network."""
        return self.feature_extractor.dtype

    @torch.no_grad()
    def style_grams(self, styles: Tensor, scales: int | None = None) -> tuple[Tensor, ...]:
        """Return the Gram matrices of style images (B, 3, H, W): (B, C_i, C_i) by style tap, the largest scale first.

        Args:
            styles: in [0, 1].
            scales: how many, at most `MAX_STYLE_SCALES`; None for those that the loss compares.
        """
        taps = self.feature_extractor.spec.style_taps
        grams = self._grams(self.feature_extractor(styles, taps))
        for _ in range(1, self.weights.compared_scales if scales is None else scales):
            styles = _halved(styles)
            grams += self._grams(self.feature_extractor(styles, taps))
        return grams

    @torch.no_grad()
    def targets(self, contents: Tensor, grams: Sequence[Tensor]) -> LossTargets:
        """Return the targets for contents (B, 3, H, W) in the style of `grams`."""
        tap = self.feature_extractor.spec.content_tap
        return LossTargets(self.feature_extractor(contents, (tap,))[tap], tuple(grams), tone_fit(contents))

    def content(self, images: Tensor, contents: Tensor) -> Tensor:
        """Return the content loss alone, (B, 3, H, W) twice -> (B,), without the layers above its tap."""
        tap = self.feature_extractor.spec.content_tap
        with torch.no_grad():
            target = self.feature_extractor(contents, (tap,))[tap]
        return content_loss(self.feature_extractor(images, (tap,))[tap], target)

    def __call__(self, images: Tensor, targets: LossTargets) -> tuple[Tensor, Tensor, Tensor]:
        """Return total, content and style loss of every image: (B, 3, H, W) -> three of (B,). Twice differentiable."""
        w, taps = self.weights, self.feature_extractor.spec.style_taps
        maps = self.feature_extractor(images)
        content = content_loss(maps[self.feature_extractor.spec.content_tap], targets.content)
        style = style_loss(self._grams(maps), targets.grams[: len(taps)])
        smaller = images
        for scale in range(1, self.weights.compared_scales):
            smaller = _halved(smaller)
            target = targets.grams[scale * len(taps) : (scale + 1) * len(taps)]
            style = style + w.coarse_weight * style_loss(self._grams(self.feature_extractor(smaller, taps)), target)
        total = w.content_weight * content + w.style_weight * style
        if w.tone_weight:
            total = total + w.tone_weight * tone_loss(images, targets.tones)
        if w.tv_weight:
            total = total + w.tv_weight * total_variation(images)
        if w.checkerboard_weight:
            total = total + w.checkerboard_weight * checkerboard_loss(images)
        return total, content, style

    def _grams(self, maps: Features) -> tuple[Tensor, ...]:
        return tuple(gram_matrix(maps[tap]) for tap in self.feature_extractor.spec.style_taps)


def _halved(images: Tensor) -> Tensor:
    """Means over 2 x 2 pixels: (B, 3, H, W) -> (B, 3, H/2, W/2), rounded up."""
    return F.avg_pool2d(images, 2, ceil_mode=True)
