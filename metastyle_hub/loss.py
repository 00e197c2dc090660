"""The perceptual loss: content, style, and their weighted sum (MetaStyle, equations 1 to 4; Johnson et al. 2016).

    content(c, x) = |phi(c) - phi(x)|^2 / |phi(c)|^2                                    at the content tap
    G(f)          = psi(f) psi(f)^T / (C H W),  psi reshapes (C, H, W) to (C, H W)
    fine(s, x)    = mean_i |G(phi_i(s)) - G(phi_i(x))|_F^2 / |G(phi_i(s))|_F^2           at the style taps
    style(s, x)   = fine(s, x) + coarse_share * (fine(s/2, x/2) + ...)                   halved pictures, and so on
    tone(c, x)    = 1 - R^2 of the best quadratic map from c's tones to x's, both averaged over 16 x 16 pixels
    grid(x)       = the share of x's fine detail that repeats every 4 pixels
    loss(c, s, x) = content_weight * content + style_weight * style + tone_weight * tone + tv_weight * tv
                    + grid_weight * grid

The paper divides by the number of features where this divides by the target's own energy. The minimiser for one
pair is weighed differently, no more; but Gram energies of two styles differ by orders of magnitude, and one set
of weights, one learning rate and one meta-batch must serve them all. An error of 1 means "as wrong as black".

Features up to relu3 see some forty pixels, the width of a brush stroke. Smaller copies of the same pictures show them
the swirls, panes and facets of a style as well (a pyramid of Gram matrices: Snelgrove 2017).

The tone term is ours. Content features hardly see flat regions, so the cheapest way to a style's palette is to fill
them with blobs of colour. It lets a style repaint a photo with any palette, as long as what was one tone stays one.
So is the grid term. Layers at a quarter and at half of the picture's size leave their own lattice in it, a fine regular
grain that features take for texture; nothing that is painted repeats every 4 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from metastyle_hub.devices import at_least_float32
from metastyle_hub.errors import SettingError
from metastyle_hub.features import FeatureNetwork, Features
from metastyle_hub.settings import Settings, setting

__all__ = [
    "SCALES",
    "LossWeights",
    "PerceptualLoss",
    "Targets",
    "ToneFit",
    "coarse_tones",
    "content_loss",
    "gram_matrix",
    "grid_loss",
    "style_loss",
    "tone_fit",
    "tone_loss",
    "total_variation",
]

SCALES = 3  # most sizes at which style is compared: the picture, its half, its quarter
_TONE_PIXELS = 16
_GRID = 4  # pixels of a picture to one sample of the network's coarsest layers
_CHUNK = 1024  # rows of a bfloat16 product
_EPS = 1e-8  # keeps the quotients finite for black pictures, whose features may all be zero


def gram_matrix(features: Tensor) -> Tensor:
    """G(f) = psi(f) psi(f)^T / (C H W): (B, C, H, W) -> (B, C, C), always float32.

    >>> gram_matrix(torch.ones(1, 2, 4, 4))
    tensor([[[0.5000, 0.5000], [0.5000, 0.5000]]])
    """
    return _Gram.apply(features) / features[0].numel()  # type: ignore[no-untyped-call]  # (B, C, C)


class _Gram(torch.autograd.Function):
    """X^T X of features (B, C, H, W) as X (B, H W, C), with a backward of one product, X (D + D^T), instead of two.

    Pixels are rows because that is how channels_last lies in memory: nothing is copied, and the gradient comes out
    as the layers before want it. Differentiable twice, as its backward is made of differentiable operations.
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
            if rows.dtype == torch.bfloat16:  # sums over channels, which end in bfloat16: twice as fast there
                flat = rows @ both.to(rows.dtype)
            else:
                flat = (at_least_float32(rows) @ both).to(rows.dtype)
        b, c, h, w = features.shape
        return flat.view(b, h, w, c).permute(0, 3, 1, 2)


def _rows(features: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H W, C), a view whether channels come first or last in memory."""
    return features.permute(0, 2, 3, 1).flatten(1, 2)


def _product(rows: Tensor) -> Tensor:
    """X^T X, (B, N, C) -> (B, C, C), never less than float32."""
    b, n, c = rows.shape
    whole = n - n % _CHUNK
    if rows.dtype != torch.bfloat16 or rows.device.type != "cpu" or not whole:
        rows = at_least_float32(rows)
        return rows.mT @ rows
    # bfloat16 products sum in float32 and are then rounded to three digits; many short ones, added up in float32, are
    # four digits' worth and three times as fast as float32
    chunks = rows[:, :whole].unflatten(1, (-1, _CHUNK)).flatten(0, 1)  # (B * whole / 1024, 1024, C)
    product = (chunks.mT @ chunks).view(b, -1, c, c).float().sum(1)
    return product + _product(rows[:, whole:]) if whole < n else product


def content_loss(features: Tensor, target: Tensor) -> Tensor:
    """Relative squared distance of two feature maps, per picture: (B, C, H, W) twice -> (B,)."""
    distance: Tensor = _Energy.apply(features - target)  # type: ignore[no-untyped-call]
    energy: Tensor = _Energy.apply(target)  # type: ignore[no-untyped-call]
    return distance / (energy + _EPS)


class _Energy(torch.autograd.Function):
    """|x|^2 of every picture: (B, C, H, W) -> (B,). The sum, not each of its millions of terms, is in float32.

    Its backward is one product; autograd's own would first write the gradient of the sum to every pixel.
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
    """Relative squared distance of Gram matrices, mean over taps, per picture: lists of (B, C_i, C_i) -> (B,).

    A target may have a batch of one, which then stands for all.
    """
    losses = [
        (gram - target).square().flatten(1).sum(1) / (target.square().flatten(1).sum(1) + _EPS)
        for gram, target in zip(grams, targets, strict=True)
    ]
    return torch.stack(losses).mean(0)


def total_variation(images: Tensor) -> Tensor:
    """Mean squared difference of neighbouring pixels, per picture: (B, 3, H, W) -> (B,). Johnson et al. 2016."""
    down = (images[..., 1:, :] - images[..., :-1, :]).square().flatten(1).mean(1)
    right = (images[..., :, 1:] - images[..., :, :-1]).square().flatten(1).mean(1)
    return down + right


@dataclass(frozen=True)
class ToneFit:
    """The least-squares fit of any picture's coarse tones by 1, r, g, b, r^2, g^2, b^2 of a photo's, N of them."""

    basis: Tensor  # (B, N, 7)
    solve: Tensor  # (B, 7, N): coefficients = solve @ tones


@torch.no_grad()
def tone_fit(contents: Tensor) -> ToneFit:
    """The fit to photos (B, 3, H, W). It depends on them alone, so it is made once and carries no graph."""
    x = coarse_tones(contents).flatten(2).mT  # (B, N, 3)
    x = torch.cat([torch.ones_like(x[..., :1]), x, x.square()], 2)  # (B, N, 7)
    host = x.cpu()  # systems of seven unknowns: no work for an accelerator, and some have no solver
    ridge = 1e-3 * x.shape[1] * torch.eye(7, dtype=x.dtype)  # grey photos are degenerate
    return ToneFit(x, torch.linalg.solve(host.mT @ host + ridge, host.mT).to(x.device))


def tone_loss(images: Tensor, fit: ToneFit) -> Tensor:
    """The share of the pictures' coarse tones that is no function of the photo's: (B, 3, H, W) -> (B,), 0 to 1.

    Args:
        fit: of the photos, `tone_fit(contents)`.
    """
    y = coarse_tones(images).flatten(2).mT  # (B, N, 3)
    missed = (y - fit.basis @ (fit.solve @ y)).square().flatten(1).mean(1)
    return missed / ((y - y.mean(1, keepdim=True)).square().flatten(1).mean(1) + 1e-3)


def coarse_tones(images: Tensor) -> Tensor:
    """Means over 16 x 16 pixels, wider than a brush stroke: (B, 3, H, W) -> (B, 3, H/16, W/16)."""
    return F.avg_pool2d(at_least_float32(images), _TONE_PIXELS, ceil_mode=True)


def grid_loss(images: Tensor) -> Tensor:
    """The share of the pictures' fine detail that repeats every 4 pixels: (B, 3, H, W) -> (B,), 0 to 1.

    All 4 x 4 cells of the detail are averaged; of what is tied to no lattice, next to nothing is left. Photos of 128 px
    have about 0.002 (white noise 0.001), a picture with a lattice to be seen 0.02 and more.

    >>> grid_loss(torch.rand(1, 3, 128, 128)) < 0.01
    tensor([True])
    """
    height, width = (side // _GRID * _GRID for side in images.shape[-2:])
    x = at_least_float32(images)
    # a mean over one period takes the lattice away, and leaves tones, their slopes and broad shapes
    detail = x - F.avg_pool2d(F.pad(x, (2, 1, 2, 1), mode="reflect"), _GRID, 1)  # (B, 3, H, W)
    cells = detail[..., :height, :width].unflatten(3, (-1, _GRID)).unflatten(2, (-1, _GRID))  # (B, 3, H/4, 4, W/4, 4)
    cells = cells.mean((2, 4))  # (B, 3, 4, 4)
    # half a level of eight bits: what is smoother than that has no detail to speak of
    return cells.square().flatten(1).mean(1) / (detail.square().flatten(1).mean(1) + 4e-6)


@dataclass(frozen=True)
class LossWeights(Settings):
    """The weights of the terms of the loss; every term is dimensionless (see the module's formulas)."""

    content_weight: float = setting(1.0, "weight of the content loss; source: docs/decisions.md", low=0)
    style_weight: float = setting(10.0, "weight of the style loss; source: docs/decisions.md", low=0)
    tv_weight: float = setting(0.0, "weight of total variation; source: docs/decisions.md", low=0)
    tone_weight: float = setting(2.0, "weight of the tone loss, against blobs; source: docs/decisions.md", low=0)
    grid_weight: float = setting(
        10.0, "weight of the grid loss, against a regular grain; source: docs/decisions.md", low=0
    )
    coarse_share: float = setting(
        0.5, "weight of style at smaller sizes, for large shapes, relative to that at full size", low=0
    )
    style_scales: int = setting(
        2, "sizes at which style is compared: 1, the picture; 2, and its half; 3, and its quarter", low=1, high=SCALES
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        # the grid loss is left out: any flat picture is free of a lattice, so it alone is nothing to learn
        if not (self.content_weight or self.style_weight or self.tv_weight or self.tone_weight):
            raise SettingError(
                "The weights of the loss are all 0 (content, style, tv, tone); one at least must be larger, "
                "style_weight for one."
            )


@dataclass(frozen=True)
class Targets:
    """What pictures are compared with: features of the contents, Gram matrices of one style (batch of 1) or of many."""

    content: Tensor  # (B, C, H, W) at the content tap
    grams: tuple[Tensor, ...]  # (1 or B, C_i, C_i) at the style taps, scale by scale
    tones: ToneFit


class PerceptualLoss:
    """The loss of pictures against contents and a style, with the targets computed once.

    >>> loss = PerceptualLoss(load_features("compact"), LossWeights())
    >>> grams = loss.style_grams(style)
    >>> total, content, style = loss(x, loss.targets(contents, grams))      # each (B,)
    """

    def __init__(self, features: FeatureNetwork, weights: LossWeights | None = None) -> None:
        self.features = features
        self.weights = weights or LossWeights()

    @property
    def scales(self) -> int:
        """At how many sizes style is compared, each half the one before."""
        return self.weights.style_scales if self.weights.coarse_share else 1

    @torch.no_grad()
    def style_grams(self, styles: Tensor, scales: int | None = None) -> tuple[Tensor, ...]:
        """Gram matrices of style pictures (B, 3, H, W) at the style taps: each (B, C_i, C_i), the largest scale first.

        Args:
            scales: how many, 3 at most; None for as many as the loss compares.
        """
        taps = self.features.spec.style_taps
        grams = self._grams(self.features(styles, taps))
        for _ in range(1, self.scales if scales is None else scales):
            styles = _halved(styles)
            grams += self._grams(self.features(styles, taps))
        return grams

    @torch.no_grad()
    def targets(self, contents: Tensor, grams: Sequence[Tensor]) -> Targets:
        """The targets of contents (B, 3, H, W) in the style of `grams`."""
        tap = self.features.spec.content_tap
        return Targets(self.features(contents, (tap,))[tap], tuple(grams), tone_fit(contents))

    def content(self, images: Tensor, contents: Tensor) -> Tensor:
        """The content loss alone: (B, 3, H, W) twice -> (B,). Nothing deeper than its tap is computed."""
        tap = self.features.spec.content_tap
        with torch.no_grad():
            target = self.features(contents, (tap,))[tap]
        return content_loss(self.features(images, (tap,))[tap], target)

    def __call__(self, images: Tensor, targets: Targets) -> tuple[Tensor, Tensor, Tensor]:
        """Total, content and style loss of every picture: (B, 3, H, W) -> three of (B,). Differentiable, twice."""
        w, taps = self.weights, self.features.spec.style_taps
        maps = self.features(images)
        content = content_loss(maps[self.features.spec.content_tap], targets.content)
        style = style_loss(self._grams(maps), targets.grams[: len(taps)])
        smaller = images
        for scale in range(1, self.scales):
            smaller = _halved(smaller)
            target = targets.grams[scale * len(taps) : (scale + 1) * len(taps)]
            style = style + w.coarse_share * style_loss(self._grams(self.features(smaller, taps)), target)
        total = w.content_weight * content + w.style_weight * style
        if w.tone_weight:
            total = total + w.tone_weight * tone_loss(images, targets.tones)
        if w.tv_weight:
            total = total + w.tv_weight * total_variation(images)
        if w.grid_weight:
            total = total + w.grid_weight * grid_loss(images)
        return total, content, style

    def _grams(self, maps: Features) -> tuple[Tensor, ...]:
        return tuple(gram_matrix(maps[tap]) for tap in self.features.spec.style_taps)


def _halved(images: Tensor) -> Tensor:
    """Means over 2 x 2 pixels: (B, 3, H, W) -> (B, 3, H/2, W/2), rounded up."""
    return F.avg_pool2d(images, 2, ceil_mode=True)
