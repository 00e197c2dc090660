"""The yardstick: style transfer by optimising the pixels of one picture (Gatys et al., CVPR 2016).

Slow and good: every picture pays for its own optimisation. What an adapted network reaches in one pass is measured
against what this reaches in 20 to 500 iterations on the same pair and the same loss.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from metastyle_hub.loss import PerceptualLoss

__all__ = ["GatysConfig", "GatysStep", "optimize_pixels"]


@dataclass(frozen=True)
class GatysConfig:
    """Pixel optimisation, started from the photo."""

    optimizer: str = "adam"  # "adam" or "lbfgs" (the original's; one iteration here is one of its inner iterations)
    learning_rate: float = 0.02  # of Adam, in units of the [0, 1] range; L-BFGS takes unit steps with line search
    iterations: int = 100


@dataclass(frozen=True)
class GatysStep:
    """The state after `index` iterations (0 is the photo itself)."""

    index: int
    images: Tensor  # (B, 3, H, W) in [0, 1]
    loss: float  # means over the batch
    content: float
    style: float


def optimize_pixels(
    loss: PerceptualLoss, contents: Tensor, style: Tensor, config: GatysConfig | None = None
) -> Iterator[GatysStep]:
    """Optimise the pixels of `contents` (B, 3, H, W) towards `style` (1 or B, 3, H', W'), one yield an iteration.

    >>> *_, last = optimize_pixels(PerceptualLoss(load_features()), photo, painting, GatysConfig(iterations=50))

    Raises:
        ValueError: an unknown optimizer.
    """
    config = config or GatysConfig()
    if config.optimizer not in ("adam", "lbfgs"):
        raise ValueError(f"optimizer must be 'adam' or 'lbfgs', got {config.optimizer!r}.")
    targets = loss.targets(contents, loss.style_grams(style))
    pixels = contents.detach().clone().requires_grad_()
    optimizer: torch.optim.Optimizer
    if config.optimizer == "adam":
        optimizer = torch.optim.Adam([pixels], lr=config.learning_rate)
    else:
        # max_eval bounds the line search as well: its default of 1.25 max_iter leaves a first step that is too long
        # without a second try, and the picture where it was, for ever.
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
        if index < config.iterations:
            if config.optimizer == "adam":
                closure()  # the terms of this step's picture, before the step changes it
                values = terms
                optimizer.step(None)
                with torch.no_grad():
                    pixels.clamp_(0, 1)
            else:
                with torch.no_grad():
                    values = loss(images, targets)
                optimizer.step(closure)  # type: ignore[arg-type]
        else:
            with torch.no_grad():
                values = loss(images, targets)
        assert values is not None
        total, content, style_term = (float(v.detach().mean()) for v in values)
        yield GatysStep(index, images, total, content, style_term)
