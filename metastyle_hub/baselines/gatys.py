"""Gatys et al. 2016: optimization of the pixels of one image. Slow and strong.

    minimize over x   loss(c, s, x),   from x = c

Every image pays for its own optimization. It is the reference for what an adapted network reaches in one pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from metastyle_hub.config import Config, option
from metastyle_hub.losses import PerceptualLoss

__all__ = ["GatysConfig", "GatysStep", "optimize_pixels"]


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
    loss: PerceptualLoss, contents: Tensor, style: Tensor, config: GatysConfig | None = None
) -> Iterator[GatysStep]:
    """Optimize the pixels of `contents` (B, 3, H, W) towards `style` (1 or B, 3, H', W'); yield every iteration.

    >>> loss = PerceptualLoss(load_feature_extractor())
    >>> *_, last = optimize_pixels(loss, content, style_image, GatysConfig(iterations=2))
    >>> last.index
    2
    """
    config = config or GatysConfig()
    targets = loss.targets(contents, loss.style_grams(style))
    pixels = contents.detach().clone().requires_grad_()
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
