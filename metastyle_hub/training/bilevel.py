"""The bilevel problem: meta-learning of the initialization theta (MetaStyle, equations 5 to 7). The mathematics.

    minimize over theta   E_{c,s} [ log loss(c, s, M(c; w_{s,T})) ]                     on query contents
    where                 w_{s,0} = theta                                               on support contents
                          w_{s,t} = w_{s,t-1} - delta * grad E_c [ log loss(c, s, M(c; w_{s,t-1})) ]

This is MAML (Finn et al. 2017) with styles as tasks. The inner loop adapts the norm parameters alone (ANIL, Raghu et
al. 2020, adapts the head alone); the outer loop trains all parameters, with gradients through the inner steps (second
order). Different from the paper: logarithms of the losses, so that every style counts by its relative improvement
(without them a few styles dominate, and inner steps diverge on dark ones); learned inner learning rates delta, one per
parameter tensor (Meta-SGD, Li et al. 2017); and three regularizers that keep theta free of style, logits away from
saturation, and activations free of outliers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from metastyle_hub.adaptation import AdaptationConfig
from metastyle_hub.config import Config, option
from metastyle_hub.losses import LossWeights, PerceptualLoss, outlier_penalty
from metastyle_hub.networks.layers import binomial_filter
from metastyle_hub.networks.param_groups import Parameters, norm_parameters
from metastyle_hub.networks.schedules import cosine_decay
from metastyle_hub.networks.transformer_net import NetworkConfig, TransformOutput, transform_with_activations

__all__ = ["MetaBatch", "MetaLosses", "MetaTrainingConfig", "Regularizer", "inner_loop", "meta_loss", "regularizer"]

_DEPLOYMENT = AdaptationConfig()


@dataclass(frozen=True)
class MetaTrainingConfig(Config):
    """All settings of a meta-training run. A checkpoint stores them; a run with other settings is another run."""

    steps: int = option(100_000, "outer steps; source: the paper, section 5", low=1)
    inner_steps: int = option(1, "T, inner gradient steps; 1 gives most outer steps per second", low=1, high=20)
    inner_learning_rate: float = option(0.01, "initial delta; 0.1 diverged, 0.01 to 0.02 trained", low=1e-9)
    learn_inner_lr: bool = option(True, "whether the outer loop also trains delta, one per parameter tensor")
    second_order: bool = option(True, "whether the outer gradient includes the derivatives of inner gradients")
    styles: int = option(4, "styles per outer step and process; source: the paper", low=1)
    support_contents: int = option(4, "contents of the inner loop, per style; source: the paper", low=1)
    query_contents: int = option(4, "other contents, of the outer loss, per style; source: the paper", low=1)
    size: int = option(256, "pixels a side of all crops, a multiple of 4; source: the paper", low=16, multiple=4)
    optimizer: str = option(
        "muon", "of the outer loop; adam is the paper's, and trains what Muon cannot", choices=("muon", "adam")
    )
    learning_rate: float = option(1e-3, "peak learning rate of the outer optimizer; source: the paper", low=0)
    inner_lr_learning_rate: float = option(5e-3, "the same for log delta", low=0)
    warmup_steps: int = option(100, "steps of linear warmup of the outer learning rate, before a cosine decay", low=0)
    gradient_clip: float = option(10.0, "largest norm of an outer gradient", low=1e-9)
    identity_steps: int = option(0, "first steps, which train the regularizers alone", low=0)
    identity_weight: float = option(3.0, "weight of mean |M(c; theta) - c|, which keeps theta free of style", low=0)
    identity_content_weight: float = option(0.3, "weight of content(c, M(c; theta)), the same in features", low=0)
    identity_detail_weight: float = option(
        15.0, "weight of mean |D M(c) - D c|, where D is what a 1 2 1 filter removes", low=0
    )
    logit_weight: float = option(1.0, "weight of mean relu(|z| - limit)^2: saturated pixels become blobs", low=0)
    logit_limit: float = option(3.5, "logits that are not penalized; sigmoid(3.5) = 0.97", low=0)
    outlier_weight: float = option(_DEPLOYMENT.outlier_weight, "weight of the activation outlier penalty", low=0)
    outlier_limit: float = option(
        _DEPLOYMENT.outlier_limit, "standard deviations that the outlier penalty allows", low=0
    )
    ema_decay: float = option(0.999, "decay of the EMA weights, which are exported", low=0, high=0.999999)
    seed: int = option(0, "of the initial theta and of all draws of data", low=0)
    weights: LossWeights = field(default_factory=LossWeights)
    network: NetworkConfig = field(default_factory=NetworkConfig)

    def outer_lr_ratio(self, step: int) -> float:
        """Return the outer learning rate's share of its peak, 0 to 1."""
        warmup = min(1.0, (step + 1) / max(1, self.warmup_steps))
        return warmup * cosine_decay(step / self.steps)


@dataclass(frozen=True)
class MetaBatch:
    """The images of one task, that is, one style; all in [0, 1]."""

    style: Tensor  # (1, 3, H, W)
    support: Tensor  # (B, 3, H, W), contents of the inner loop
    query: Tensor  # (B', 3, H, W), contents of the outer loss, of other photos
    noise_offset: tuple[int, int] = (0, 0)  # of all contents in the noise field

    def to(self, device: torch.device) -> MetaBatch:
        """Return the batch on a device."""
        style, support, query = (t.to(device, non_blocking=True) for t in (self.style, self.support, self.query))
        return MetaBatch(style, support, query, self.noise_offset)


@dataclass(frozen=True)
class MetaLosses:
    """The losses of one task. `outer` is differentiable, the others are for the log."""

    outer: Tensor  # what the outer loop minimizes
    query: Tensor  # log loss(c, s, M(c; w_T)) on query contents
    content: Tensor  # its content term
    style: Tensor  # its style term
    support: Tensor  # log loss at theta, on support contents
    identity: Tensor  # |M(c; theta) - c|
    logits: Tensor  # penalty on saturated logits
    outliers: Tensor  # penalty on activation outliers


def inner_loop(
    network: nn.Module,
    theta: Mapping[str, Tensor],
    inner_lr: Mapping[str, Tensor],
    contents: Tensor,
    grams: tuple[Tensor, ...],
    loss: PerceptualLoss,
    *,
    steps: int,
    second_order: bool = True,
    noise_offset: tuple[int, int] = (0, 0),
) -> tuple[Parameters, Tensor, TransformOutput]:
    """Take T gradient steps on the norm parameters: w_t = w_{t-1} - delta * grad log loss(w_{t-1}). Equation 6.

    The logarithm is taken per image, and the step descends their mean. The result is differentiable in `theta` and
    `inner_lr`; with second_order=False the inner gradients count as constants (FOMAML).

    Args:
        network: gives the architecture.
        theta: the initialization.
        inner_lr: delta, by the names of the norm parameters.
        contents: support contents, (B, 3, H, W) in [0, 1].
        grams: of the style.
        loss: of contents and style.
        steps: T, at least 1.
        second_order: whether to differentiate through the inner gradients.
        noise_offset: of the contents in the noise field.

    Returns:
        w_T as a whole parameter dictionary, the log loss at theta, and the output at theta.
    """
    weights: Parameters = dict(theta)
    targets = loss.targets(contents, grams)
    first: tuple[Tensor, TransformOutput] | None = None
    for _ in range(steps):
        norms = norm_parameters(weights)
        output = transform_with_activations(network, weights, contents, loss.dtype, noise_offset)
        # the logarithm divides the gradient by the loss, which differs between styles by orders of magnitude
        value = loss(output.images, targets)[0].log().mean()
        if first is None:
            first = value, output
        # the regularizers use the images at theta too, so their graph is retained also in first order
        gradients = torch.autograd.grad(value, list(norms.values()), create_graph=second_order, retain_graph=True)
        for (name, parameter), gradient in zip(norms.items(), gradients, strict=True):
            weights[name] = parameter - inner_lr[name] * gradient
    assert first is not None
    return weights, *first


@dataclass(frozen=True)
class Regularizer:
    """The regularizers of the outer loss: their weighted sum, and each one."""

    total: Tensor
    identity: Tensor  # mean |M(c; theta) - c|
    logits: Tensor  # mean relu(|z| - limit)^2
    outliers: Tensor  # `outlier_penalty`


def regularizer(
    images: Tensor,
    contents: Tensor,
    outputs: Sequence[TransformOutput],
    loss: PerceptualLoss,
    config: MetaTrainingConfig,
) -> Regularizer:
    """Penalize theta's images that differ from their contents, and in all outputs large logits and outliers.

    The features of the loss hardly see waves of two or three pixels along a diagonal, and the mean error is mostly one
    of tone. Without the detail term, theta amplified such waves nearly three times.
    """
    c = config
    error = images - contents
    identity = error.abs().mean()
    detail = (error - binomial_filter(error)).abs().mean()
    content = loss.content(images, contents).mean()
    logits = torch.stack([(output.logits.abs() - c.logit_limit).relu().square().mean() for output in outputs]).mean()
    outliers = torch.stack([outlier_penalty(output.activations, c.outlier_limit) for output in outputs]).mean()
    total = c.identity_weight * identity + c.identity_content_weight * content + c.identity_detail_weight * detail
    return Regularizer(total + c.logit_weight * logits + c.outlier_weight * outliers, identity, logits, outliers)


def meta_loss(
    network: nn.Module,
    theta: Mapping[str, Tensor],
    inner_lr: Mapping[str, Tensor],
    batch: MetaBatch,
    loss: PerceptualLoss,
    config: MetaTrainingConfig,
    *,
    identity_only: bool = False,
) -> MetaLosses:
    """Return the outer loss of one task (equation 5) plus the regularizers.

    Args:
        network: gives the architecture.
        theta: the initialization.
        inner_lr: delta, by the names of the norm parameters.
        batch: style, support and query contents.
        loss: of contents and style.
        config: T, order and weights.
        identity_only: leave out the task, train the regularizers alone.
    """
    grams = loss.style_grams(batch.style)
    contents = batch.support
    if identity_only:
        output = adapted = transform_with_activations(network, theta, contents, loss.dtype, batch.noise_offset)
        support = content = style = query = output.images.new_zeros(())
    else:
        weights, support, output = inner_loop(
            network, theta, inner_lr, contents, grams, loss,
            steps=config.inner_steps, second_order=config.second_order, noise_offset=batch.noise_offset,
        )  # fmt: skip
        adapted = transform_with_activations(network, weights, batch.query, loss.dtype, batch.noise_offset)
        terms = loss(adapted.images, loss.targets(batch.query, grams))
        query, content, style = terms[0].log().mean(), terms[1].mean(), terms[2].mean()
    penalty = regularizer(output.images, contents, (output, adapted), loss, config)
    logged = (query, content, style, support, penalty.identity, penalty.logits, penalty.outliers)
    return MetaLosses(query + penalty.total, *(t.detach() for t in logged))
