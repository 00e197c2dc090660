"""Adaptation: the inner problem at deployment. From the base, a stream of steps towards one style.

    w_0 = theta,   w_t = Adam step on E_c [ log loss(c, s, M(c; w_{t-1})) ] + spikes(w_{t-1}),   w_1 from a prediction

A base may come with a predictor (`prediction.py`), which guesses scales and shifts from the style; then the first step
is taken from that guess instead of from theta. Without one, and with a `spike_weight` of 0, it is the paper's
adaptation: the penalty on spikes (`network.spike_penalty`) is what keeps blobs out of flat places.

Pure: parameters in, parameters out; neither the network nor theta is changed, and stopping at any step leaves a
usable style.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from metastyle_hub.data import CropConfig, ImagePool, check_scales, random_crops
from metastyle_hub.errors import MetaStyleError
from metastyle_hub.loss import LossWeights, PerceptualLoss
from metastyle_hub.network import spike_penalty, transform_traced
from metastyle_hub.noise import random_corner
from metastyle_hub.parameters import MOVES, Parameters, is_decoder_parameter, is_norm_parameter, moving_parameters
from metastyle_hub.settings import Settings, setting

__all__ = ["AdaptationConfig", "AdaptationError", "AdaptationStep", "adapt_parameters"]


class AdaptationError(MetaStyleError, ArithmeticError):
    """The loss is not finite; the message says at which step and with which weights."""


@dataclass(frozen=True)
class AdaptationConfig(Settings):
    """How a style is learned. The defaults were chosen by evaluation: docs/decisions.md has the tables."""

    steps: int = setting(100, "gradient steps; 100 to 200 in the paper", low=0, high=1000)
    parameters: str = setting(
        "decoder",
        "what moves: norm, scales and shifts only (13 kB); decoder, these and the convolutions behind the trunk "
        "(0.4 MB); or all of the network (7 MB)",
        choices=MOVES,
    )
    predict: bool = setting(True, "whether the first step begins where the base's predictor says, if it has one")
    learning_rate: float = setting(1e-3, "of Adam on convolutions; source: docs/decisions.md", low=0, high=1)
    rise_steps: int = setting(30, "first steps, over which the rate on convolutions rises from 0", low=0, high=1000)
    norm_learning_rate: float = setting(3e-2, "of Adam on scales and shifts; source: docs/decisions.md", low=0, high=1)
    trunk_share: float = setting(
        0.5,
        "with parameters decoder: the share of the steps, from the first, in which norms before the decoder move too; "
        "the others are a fifth shorter; source: docs/decisions.md",
        low=0,
        high=1,
    )
    final_rate: float = setting(0.1, "the last step's share of the rates, which fall along a cosine", low=0, high=1)
    size: int = setting(128, "pixels a side of the content crops, a multiple of 4", low=64, high=1024, multiple=4)
    style_size: int = setting(
        256, "pixels of the style picture's short side: smaller gives finer strokes", low=32, high=1024
    )
    batch: int = setting(4, "content crops per step; source: docs/decisions.md", low=1, high=16)
    min_scale: float = setting(0.3, "least share of a photo's short side that a crop spans", low=0.01, high=1)
    max_scale: float = setting(0.7, "largest; size / max_scale is the size of use that it is for", low=0.01, high=1)
    spike_weight: float = setting(5.0, "of spots where layers are far out, which become blobs", low=0)
    spike_limit: float = setting(2.0, "standard deviations up to which a layer's channels are free, on average", low=0)
    features: str = setting("compact", "feature network of the loss", choices=("compact", "vgg16", "vgg19"))
    precision: str = setting(
        "auto", "arithmetic; auto is bfloat16 where the hardware has it", choices=("auto", "float32", "bfloat16")
    )
    seed: int = setting(0, "of the draw of contents", low=0)
    weights: LossWeights = field(default_factory=LossWeights)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_scales(self.min_scale, self.max_scale)

    def rate(self, step: int) -> float:
        """The share of the learning rates at a step: half a cosine from 1 to `final_rate`."""
        progress = step / max(1, self.steps - 1)
        return self.final_rate + (1 - self.final_rate) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    def moves(self, name: str, step: int) -> bool:
        """Whether a parameter that adaptation moves is moved at this very step."""
        early = self.parameters != "decoder" or step < self.trunk_share * self.steps
        return early or is_decoder_parameter(name)

    def rise(self, step: int) -> float:
        """The further share of the rate on convolutions, which would run ahead of the norms: up to 1, in a line."""
        return min(1.0, (step + 1) / max(1, self.rise_steps))


@dataclass(frozen=True)
class AdaptationStep:
    """The state after `index` gradient steps (0 is the base), and its losses on the contents of that moment."""

    index: int
    loss: float
    content: float
    style: float
    parameters: Parameters  # the whole network's, detached; what does not move is shared by all steps: read only


def adapt_parameters(
    network: nn.Module,
    theta: Mapping[str, Tensor],
    style: Tensor,
    contents: ImagePool,
    loss: PerceptualLoss,
    config: AdaptationConfig,
    start: Mapping[str, Tensor] | None = None,
) -> Iterator[AdaptationStep]:
    """Adapt theta to a style: `config.steps + 1` yields, the first before any step, the last after all of them.

    Args:
        style: (1, 3, H, W) in [0, 1].
        contents: what the crops of every step are drawn from.
        loss: its feature network's dtype is that of the arithmetic.
        start: scales and shifts from which the first step is taken, as `StylePredictor.start` gives them; theta's own
            are what the yield before it has.

    Raises:
        AdaptationError: the loss is not finite.

    >>> for step in adapt_parameters(network, theta, style, contents, loss, AdaptationConfig(steps=20)):
    ...     print(step.index, step.loss)
    """
    device = next(iter(theta.values())).device
    with torch.inference_mode(False):  # a caller's inference mode would make tensors that can never have a gradient
        weights: Parameters = {name: p.detach().clone() for name, p in theta.items()}
        grams = loss.style_grams(style.to(device))
    moving = moving_parameters(weights, config.parameters)
    for p in moving.values():
        p.requires_grad_()
    norms = {"params": [p for name, p in moving.items() if is_norm_parameter(name)]}
    convolutions = {"params": [p for name, p in moving.items() if not is_norm_parameter(name)]}
    # a short memory of squared gradients: with the usual 0.999 the first, large ones would brake all hundred steps
    optimizer = torch.optim.Adam([norms, convolutions], betas=(0.9, 0.99))
    crops = CropConfig(config.size, config.min_scale, config.max_scale)

    def measure(index: int, *, differentiable: bool) -> tuple[Tensor, AdaptationStep]:
        """The objective at the contents of a step, and the step."""
        rng = np.random.default_rng((config.seed, index))
        with torch.inference_mode(False), torch.set_grad_enabled(differentiable):
            batch = random_crops(contents, config.batch, crops, rng).to(device)
            made = transform_traced(network, weights, batch, loss.features.dtype, random_corner(rng))
            terms = loss(made.images, loss.targets(batch, grams))
            # the logarithm, as in meta-training: steps do not shrink as the loss falls
            objective = terms[0].log().mean()
            if config.spike_weight:
                objective = objective + config.spike_weight * spike_penalty(made.streams, config.spike_limit)
            snapshot = {name: p.detach().clone() if name in moving else p.detach() for name, p in weights.items()}
        total, content, style_term = (float(t.detach().mean()) for t in terms)
        if not math.isfinite(total):
            raise AdaptationError(
                f"The loss became {total} at step {index} (content_weight {config.weights.content_weight:g}, "
                f"style_weight {config.weights.style_weight:g}, learning_rate {config.learning_rate:g}, "
                f"norm_learning_rate {config.norm_learning_rate:g}); lower one of them."
            )
        return objective, AdaptationStep(index, total, content, style_term, snapshot)

    for index in range(config.steps + 1):
        guess = start if index == 0 and config.steps else None
        objective, step = measure(index, differentiable=index < config.steps and guess is None)
        yield step
        if index == config.steps:
            return
        if guess is not None:
            with torch.inference_mode(False), torch.no_grad():
                for name, value in guess.items():
                    weights[name].copy_(value)
            objective, _ = measure(index, differentiable=True)
        # one caller's inference mode would make a state of Adam that cannot be changed when the next caller has none
        with torch.inference_mode(False):
            live = [p for name, p in moving.items() if config.moves(name, index)]
            optimizer.zero_grad()  # what has no gradient stays where it is
            for p, gradient in zip(live, torch.autograd.grad(objective, live), strict=True):
                p.grad = gradient
            share = config.rate(index)
            optimizer.param_groups[0]["lr"] = share * config.norm_learning_rate
            optimizer.param_groups[1]["lr"] = share * config.rise(index) * config.learning_rate
            optimizer.step()
