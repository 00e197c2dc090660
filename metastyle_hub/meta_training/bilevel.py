"""The outer problem: meta-learning the initialisation theta (MetaStyle, equations 5 to 7). This is the mathematics.

    minimise over theta   E_{c,s} [ log loss(c, s, M(c; w_{s,T})) ]                     on validation contents
    where                 w_{s,0} = theta                                                   on training contents
                          w_{s,t} = w_{s,t-1} - delta * grad E_c [ log loss(c, s, M(c; w_{s,t-1})) ]

The inner loop moves the instance-norm scales and shifts; the outer loop moves everything, and its gradient runs
through the inner steps (second order). Ours beside the paper's: logarithms of the losses, so that every style
counts by its relative improvement (without them a few styles rule, and inner steps diverge on dark ones); delta is
learned, one per parameter tensor; three terms keep theta free of style, the output out of the sigmoid's flat ends,
and the layers free of spikes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from metastyle_hub.adaptation import AdaptationConfig
from metastyle_hub.loss import LossWeights, PerceptualLoss
from metastyle_hub.network import NetworkConfig, Traced, spike_penalty, transform_traced
from metastyle_hub.padding import binomial_filter
from metastyle_hub.parameters import Parameters, norm_parameters
from metastyle_hub.settings import Settings, setting

__all__ = ["MetaBatch", "MetaLosses", "MetaTrainingConfig", "Restraint", "inner_loop", "meta_loss", "restraint"]

_USE = AdaptationConfig()  # what the base is trained for


@dataclass(frozen=True)
class MetaTrainingConfig(Settings):
    """Everything that decides a meta-training run. Changing any field makes another run; it is kept in checkpoints."""

    steps: int = setting(100_000, "outer steps; source: the paper, section 5", low=1)
    inner_steps: int = setting(1, "T, inner gradient steps; 1 gives most outer steps per second", low=1, high=20)
    inner_learning_rate: float = setting(0.01, "first value of delta; 0.1 diverged, 0.01 to 0.02 trained", low=1e-9)
    learn_inner_rates: bool = setting(True, "whether the outer loop also moves delta, one per parameter tensor")
    second_order: bool = setting(True, "whether the outer gradient runs through the inner gradients")
    styles: int = setting(4, "styles per outer step and process; source: the paper", low=1)
    train_contents: int = setting(4, "contents of the inner loop, per style; source: the paper", low=1)
    valid_contents: int = setting(4, "other contents for the outer loss, per style; source: the paper", low=1)
    size: int = setting(256, "pixels a side of every crop, a multiple of 4; source: the paper", low=16, multiple=4)
    optimizer: str = setting(
        "muon", "of the outer loop; Adam is the paper's and moves what Muon cannot", choices=("muon", "adam")
    )
    learning_rate: float = setting(1e-3, "peak rate of the outer optimiser; source: the paper", low=0)
    rates_learning_rate: float = setting(5e-3, "the same, for log delta", low=0)
    rise_steps: int = setting(100, "linear rise of the outer rate, before half a cosine down to zero", low=0)
    gradient_clip: float = setting(10.0, "largest norm of an outer gradient", low=1e-9)
    identity_steps: int = setting(0, "first steps, which only teach the network to return its input", low=0)
    identity_weight: float = setting(3.0, "of mean |M(c; theta) - c|, which keeps theta free of style", low=0)
    identity_content_weight: float = setting(0.3, "of content(c, M(c; theta)), the same in features", low=0)
    identity_detail_weight: float = setting(15.0, "of mean |D M(c) - D c|, D what a 1 2 1 filter takes away", low=0)
    logit_weight: float = setting(1.0, "of mean relu(|z| - limit)^2: saturated pixels become blobs", low=0)
    logit_limit: float = setting(3.5, "logits up to here are free; sigmoid(3.5) = 0.97", low=0)
    spike_weight: float = setting(_USE.spike_weight, "of spots where layers are far out, which become blobs", low=0)
    spike_limit: float = setting(
        _USE.spike_limit, "standard deviations up to which a layer's channels are free, on average", low=0
    )
    ema: float = setting(
        0.999, "decay of the running average of theta, which is what is exported", low=0, high=0.999999
    )
    seed: int = setting(0, "of the first theta and of every draw of data", low=0)
    weights: LossWeights = field(default_factory=LossWeights)
    network: NetworkConfig = field(default_factory=NetworkConfig)

    def outer_rate(self, step: int) -> float:
        """The outer learning rate's share of its peak at a step, 0 to 1."""
        rise = min(1.0, (step + 1) / max(1, self.rise_steps))
        return rise * 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.steps)))


@dataclass(frozen=True)
class MetaBatch:
    """The pictures of one style's share of a meta-step, all in [0, 1]."""

    style: Tensor  # (1, 3, H, W)
    train_contents: Tensor  # (B, 3, H, W)
    valid_contents: Tensor  # (B', 3, H, W), of other photographs
    corner: tuple[int, int] = (0, 0)  # of all contents in the field of noise

    def to(self, device: torch.device) -> MetaBatch:
        """The same on a device."""
        pictures = (self.style, self.train_contents, self.valid_contents)
        style, train, valid = (t.to(device, non_blocking=True) for t in pictures)
        return MetaBatch(style, train, valid, self.corner)


@dataclass(frozen=True)
class MetaLosses:
    """What one style's share came to; `outer` is differentiable, the rest are for the record."""

    outer: Tensor  # total that the outer loop minimises
    valid: Tensor  # log loss(c, s, M(c; w_T)) on validation contents
    content: Tensor  # its terms
    style: Tensor
    before: Tensor  # the same as `valid`, on the training contents at theta
    identity: Tensor  # |M(c; theta) - c|
    logits: Tensor  # the penalty on large logits
    spikes: Tensor  # the penalty on spots where layers are far out


def inner_loop(
    network: nn.Module,
    theta: Mapping[str, Tensor],
    rates: Mapping[str, Tensor],
    contents: Tensor,
    grams: tuple[Tensor, ...],
    loss: PerceptualLoss,
    *,
    steps: int,
    second_order: bool = True,
    corner: tuple[int, int] = (0, 0),
) -> tuple[Parameters, Tensor, Traced]:
    """T gradient steps on scales and shifts: w_t = w_{t-1} - rates * grad log loss(w_{t-1}). Equation 6.

    The logarithm is taken of every picture's loss by itself; their mean is what the step descends.
    Differentiable in `theta` and `rates`; with second_order=False the inner gradients count as constants.

    Returns:
        w_T as a whole parameter dictionary, the log loss at theta, and the picture that theta made.
    """
    weights: Parameters = dict(theta)
    targets = loss.targets(contents, grams)
    first: tuple[Tensor, Traced] | None = None
    for _ in range(steps):
        moving = norm_parameters(weights)
        made = transform_traced(network, weights, contents, loss.features.dtype, corner)
        # the logarithm divides the gradient by the loss, which differs between styles by orders of magnitude
        value = loss(made.images, targets)[0].log().mean()
        if first is None:
            first = value, made
        # the pictures at theta serve the outer loss as well, so their graph stays also in first order
        gradients = torch.autograd.grad(value, list(moving.values()), create_graph=second_order, retain_graph=True)
        for (name, parameter), gradient in zip(moving.items(), gradients, strict=True):
            weights[name] = parameter - rates[name] * gradient
    assert first is not None
    return weights, *first


@dataclass(frozen=True)
class Restraint:
    """Our terms of the outer loss: their weighted sum, and each by itself."""

    total: Tensor
    identity: Tensor  # mean |M(c; theta) - c|
    logits: Tensor  # mean relu(|z| - limit)^2
    spikes: Tensor  # `spike_penalty`


def restraint(
    images: Tensor,
    contents: Tensor,
    passes: Sequence[Traced],
    loss: PerceptualLoss,
    config: MetaTrainingConfig,
) -> Restraint:
    """theta's `images` of contents stay these contents; in all passes logits stay small, and streams free of spikes.

    The features of the loss hardly see waves of two or three pixels along a diagonal, and the mean error is mostly of
    tone; without a term of its own for detail theta made such waves nearly three times as strong as the photo has them.
    """
    c = config
    error = images - contents
    identity = error.abs().mean()
    detail = (error - binomial_filter(error)).abs().mean()
    kept = loss.content(images, contents).mean()
    logits = torch.stack([(each.logits.abs() - c.logit_limit).relu().square().mean() for each in passes]).mean()
    spikes = torch.stack([spike_penalty(each.streams, c.spike_limit) for each in passes]).mean()
    held = c.identity_weight * identity + c.identity_content_weight * kept + c.identity_detail_weight * detail
    return Restraint(held + c.logit_weight * logits + c.spike_weight * spikes, identity, logits, spikes)


def meta_loss(
    network: nn.Module,
    theta: Mapping[str, Tensor],
    rates: Mapping[str, Tensor],
    batch: MetaBatch,
    loss: PerceptualLoss,
    config: MetaTrainingConfig,
    *,
    identity_only: bool = False,
) -> MetaLosses:
    """The outer loss of one style (equation 5), and our terms: identity at theta, no large logits, no spikes."""
    grams = loss.style_grams(batch.style)
    contents = batch.train_contents
    dtype = loss.features.dtype
    if identity_only:
        made = adapted = transform_traced(network, theta, contents, dtype, batch.corner)
        before = content = style = valid = made.images.new_zeros(())
    else:
        weights, before, made = inner_loop(
            network, theta, rates, contents, grams, loss,
            steps=config.inner_steps, second_order=config.second_order, corner=batch.corner,
        )  # fmt: skip
        adapted = transform_traced(network, weights, batch.valid_contents, dtype, batch.corner)
        terms = loss(adapted.images, loss.targets(batch.valid_contents, grams))
        valid, content, style = terms[0].log().mean(), terms[1].mean(), terms[2].mean()
    held = restraint(made.images, contents, (made, adapted), loss, config)
    recorded = (valid, content, style, before, held.identity, held.logits, held.spikes)
    return MetaLosses(valid + held.total, *(t.detach() for t in recorded))
