"""Gatys et al. 2016: optimization of the pixels of one image. Slow and strong.

    minimize over x   loss(c, s, x),   from x = c

Every image pays for its own optimization. It is the reference for what an adapted network reaches in one pass.
`optimize_pixels` works at one size, as the paper; `optimize_pixels_coarse_to_fine` starts from a small image, whose
large shapes the next size keeps (Gatys et al. 2017).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from metastyle_hub.baselines.system import Baseline, vgg19_stages
from metastyle_hub.config import Config, option
from metastyle_hub.losses import LossWeights, PerceptualLoss
from metastyle_hub.networks.feature_extractor import FeatureExtractor, FeatureSpec

__all__ = ["Gatys", "GatysConfig", "GatysStep", "optimize_pixels", "optimize_pixels_coarse_to_fine"]


@dataclass(frozen=True)
class GatysConfig(Config):
    """Settings of the optimization, which starts from the content image."""

    optimizer: str = option(
        "adam", "lbfgs is the original's; an iteration is one of its inner iterations", choices=("adam", "lbfgs")
    )
    learning_rate: float = option(0.02, "of Adam, in units of [0, 1]; L-BFGS uses a line search", low=0)
    iterations: int = option(100, "gradient steps", low=0)


@dataclass(frozen=True)
class GatysStep:
    """The state after `index` iterations (0 is the content image)."""

    index: int
    images: Tensor  # (B, 3, H, W) in [0, 1]
    loss: float  # means over the batch
    content: float
    style: float


def optimize_pixels(
    loss: PerceptualLoss,
    contents: Tensor,
    style: Tensor,
    config: GatysConfig | None = None,
    start: Tensor | None = None,
) -> Iterator[GatysStep]:
    """Optimize the pixels of `contents` (B, 3, H, W) towards `style` (1 or B, 3, H', W'); yield every iteration.

    `start` (B, 3, H, W) is the first image, if it is not `contents`.

    >>> loss = PerceptualLoss(load_feature_extractor())
    >>> *_, last = optimize_pixels(loss, content, style_image, GatysConfig(iterations=2))
    >>> last.index
    2
    """
    config = config or GatysConfig()
    targets = loss.targets(contents, loss.style_grams(style))
    pixels = (contents if start is None else start).detach().clone().requires_grad_()
    optimizer: torch.optim.Optimizer
    if config.optimizer == "adam":
        optimizer = torch.optim.Adam([pixels], lr=config.learning_rate)
    else:
        # max_eval also bounds the line search: its default of 1.25 max_iter rejects a first step that is too long
        # without a second try, and the image never changes
        optimizer = torch.optim.LBFGS([pixels], max_iter=1, max_eval=25, history_size=20, line_search_fn="strong_wolfe")
    terms: tuple[Tensor, Tensor, Tensor] | None = None

    def closure() -> Tensor:
        nonlocal terms
        optimizer.zero_grad()
        terms = loss(pixels.clamp(0, 1), targets)
        total = terms[0].sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    for index in range(config.iterations + 1):
        images = pixels.detach().clamp(0, 1).clone()
        if index < config.iterations and config.optimizer == "adam":
            closure()  # the terms of this step's image, before the step changes it
            values = terms
            optimizer.step(None)
            with torch.no_grad():
                pixels.clamp_(0, 1)
        else:
            with torch.no_grad():
                values = loss(images, targets)
            if index < config.iterations:
                optimizer.step(closure)  # type: ignore[arg-type]
        assert values is not None
        total, content, style_term = (float(v.detach().mean()) for v in values)
        yield GatysStep(index, images, total, content, style_term)


def optimize_pixels_coarse_to_fine(
    loss: PerceptualLoss, contents: Tensor, style: Tensor, config: GatysConfig | None = None, scales: int = 3
) -> Iterator[GatysStep]:
    """Optimize pixels at 1 / 2^(scales - 1) of the size, ..., at half, at full size; yield every iteration.

    Each size has an equal share of the iterations and starts from the enlarged result of the one before.

    Example::

        *_, last = optimize_pixels_coarse_to_fine(loss, content, style, GatysConfig(iterations=150), scales=3)
    """
    config, start, done = config or GatysConfig(), None, 0
    for scale in reversed(range(scales)):
        count = (config.iterations - done) // (scale + 1)
        small, small_style = (x if not scale else _shrunk(x, scale) for x in (contents, style))
        if start is not None:
            start = F.interpolate(start, small.shape[-2:], mode="bilinear").clamp(0, 1)
        for step in optimize_pixels(loss, small, small_style, replace(config, iterations=count), start):
            yield replace(step, index=done + step.index)
        start, done = step.images, done + count


def _shrunk(images: Tensor, halvings: int) -> Tensor:
    size = [max(16, round(side / 2**halvings)) for side in images.shape[-2:]]
    return F.interpolate(images, size, mode="bilinear", antialias=True)


class Gatys(Baseline[Tensor]):
    """The system of Gatys et al.: nothing is trained, every image is optimized.

    Args:
        loss: its feature extractor compares images.
        config: of the optimization.
        scales: above 1, from coarse to fine.
    """

    def __init__(self, loss: PerceptualLoss, config: GatysConfig | None = None, scales: int = 1) -> None:
        super().__init__()
        self.feature_extractor = loss.feature_extractor
        self.loss, self.config, self.scales, self.multiple = loss, config or GatysConfig(), scales, 1

    @classmethod
    def published(cls, iterations: int = 500) -> Self:
        """Return the published setting with random weights: VGG-19 with average pooling, L-BFGS."""
        spec = FeatureSpec(vgg19_stages(5), "relu4_2", tuple(f"relu{s}_1" for s in range(1, 6)), pool="avg")
        loss = PerceptualLoss(FeatureExtractor(spec, "vgg19 to relu5_1"), LossWeights.paper())
        return cls(loss, GatysConfig("lbfgs", iterations=iterations))

    def parameter_count(self) -> int:
        """Return 0: the pixels are the unknowns."""
        return 0

    def prepare(self, style: Tensor) -> Tensor:
        """Return the style image itself, whose Gram matrices are computed at the size of the content."""
        return style

    def transfer(self, content: Tensor, style: Tensor) -> Tensor:
        """Optimize the pixels of the content images."""
        with torch.enable_grad():
            *_, last = optimize_pixels_coarse_to_fine(self.loss, content, style, self.config, self.scales)
        return last.images
