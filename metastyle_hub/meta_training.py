"""The outer problem: meta-learning the initialisation theta (MetaStyle, equations 5 to 7).

    minimise over theta   E_{c,s} [ log loss(c, s, M(c; w_{s,T})) ]                     on validation contents
    where                 w_{s,0} = theta                                                   on training contents
                          w_{s,t} = w_{s,t-1} - delta * grad E_c [ log loss(c, s, M(c; w_{s,t-1})) ]

The inner loop moves the instance-norm scales and shifts; the outer loop moves everything, and its gradient runs
through the inner steps (second order). Ours beside the paper's: logarithms of the losses, so that every style
counts by its relative improvement (without them a few styles rule, and inner steps diverge on dark ones); delta is
learned, one per parameter tensor; two terms keep theta free of style and the output out of the sigmoid's flat ends.

    meta_gradient(...)      one style's share of a meta-step: pure, this is the mathematics
    MetaTrainer             the resumable loop around it: data, optimisers, average, checkpoints
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from metastyle_hub.data import CropConfig, ImagePool, random_crops
from metastyle_hub.errors import SettingError
from metastyle_hub.features import FeatureNetwork
from metastyle_hub.loss import LossWeights, PerceptualLoss
from metastyle_hub.muon import Muon, has_directions
from metastyle_hub.network import (
    ImageTransformationNetwork,
    NetworkConfig,
    Parameters,
    norm_parameters,
    transform_with_logits,
)
from metastyle_hub.settings import Settings, setting

__all__ = ["MetaBatch", "MetaLosses", "MetaStep", "MetaTrainer", "MetaTrainingConfig", "inner_loop", "meta_loss"]

log = logging.getLogger(__name__)


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
    size: int = setting(256, "pixels a side of every crop, a multiple of 4; source: the paper", low=16)
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
    logit_weight: float = setting(1.0, "of mean relu(|z| - limit)^2: saturated pixels become blobs", low=0)
    logit_limit: float = setting(3.5, "logits up to here are free; sigmoid(3.5) = 0.97", low=0)
    ema: float = setting(
        0.999, "decay of the running average of theta, which is what is exported", low=0, high=0.999999
    )
    seed: int = setting(0, "of the first theta and of every draw of data", low=0)
    weights: LossWeights = field(default_factory=LossWeights)
    network: NetworkConfig = field(default_factory=NetworkConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size % 4:
            raise SettingError(f"size must be a multiple of 4, got {self.size}.")

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
) -> tuple[Parameters, Tensor, Tensor, Tensor]:
    """T gradient steps on scales and shifts: w_t = w_{t-1} - rates * grad log loss(w_{t-1}). Equation 6.

    The logarithm is taken of every picture's loss by itself; their mean is what the step descends.
    Differentiable in `theta` and `rates`; with second_order=False the inner gradients count as constants.

    Returns:
        w_T as a whole parameter dictionary, the log loss at theta, and the picture and logits that theta made.
    """
    weights: Parameters = dict(theta)
    targets = loss.targets(contents, grams)
    first: tuple[Tensor, Tensor, Tensor] | None = None
    for _ in range(steps):
        moving = norm_parameters(weights)
        images, logits = transform_with_logits(network, weights, contents, loss.features.dtype)
        # the logarithm divides the gradient by the loss, which differs between styles by orders of magnitude
        value = loss(images, targets)[0].log().mean()
        if first is None:
            first = value, images, logits
        # the pictures at theta serve the outer loss as well, so their graph stays also in first order
        gradients = torch.autograd.grad(value, list(moving.values()), create_graph=second_order, retain_graph=True)
        for (name, parameter), gradient in zip(moving.items(), gradients, strict=True):
            weights[name] = parameter - rates[name] * gradient
    assert first is not None
    return weights, *first


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
    """The outer loss of one style (equation 5), and the two terms of ours: identity at theta, small logits."""
    grams = loss.style_grams(batch.style)
    contents = batch.train_contents
    dtype = loss.features.dtype
    if identity_only:
        images, logits = transform_with_logits(network, theta, contents, dtype)
        before = content = style = valid = images.new_zeros(())
        adapted_logits = logits
    else:
        weights, before, images, logits = inner_loop(
            network, theta, rates, contents, grams, loss,
            steps=config.inner_steps, second_order=config.second_order,
        )  # fmt: skip
        adapted, adapted_logits = transform_with_logits(network, weights, batch.valid_contents, dtype)
        terms = loss(adapted, loss.targets(batch.valid_contents, grams))
        valid, content, style = terms[0].log().mean(), terms[1].mean(), terms[2].mean()
    identity = (images - contents).abs().mean()
    kept = loss(images, loss.targets(contents, grams))[1].mean()
    excess = [(z.abs() - config.logit_limit).relu().square().mean() for z in (logits, adapted_logits)]
    penalty = (excess[0] + excess[1]) / 2
    outer = (
        valid
        + config.identity_weight * identity
        + config.identity_content_weight * kept
        + config.logit_weight * penalty
    )
    return MetaLosses(
        outer, valid.detach(), content.detach(), style.detach(), before.detach(), identity.detach(), penalty.detach()
    )


@dataclass(frozen=True)
class MetaStep:
    """What one outer step came to: means over its styles, floats. `index` counts finished steps."""

    index: int
    outer: float
    valid: float
    content: float
    style: float
    before: float
    identity: float
    logits: float
    gradient_norm: float
    rate: float  # mean inner rate delta


class MetaTrainer:
    """The resumable loop. A step depends on (config, data, step number) alone, so a resumed run repeats it.

    On a CPU exactly so; on GPUs some of torch's gradients are not deterministic.

    `init` is where theta starts instead of at random, as for a second stage with larger pictures.
    On several processes each takes its own styles and the gradients are averaged once a step; wrapping the
    network in DDP would not survive the second-order backward.

    >>> trainer = MetaTrainer(config, features, photos, artworks, checkpoint="runs/base/checkpoint.pt")
    >>> for step in trainer.run():
    ...     print(step.index, step.valid)
    """

    def __init__(
        self,
        config: MetaTrainingConfig,
        features: FeatureNetwork,
        contents: ImagePool,
        styles: ImagePool,
        *,
        init: Parameters | None = None,
        checkpoint: str | Path | None = None,
        checkpoint_every: int = 100,
        workers: int = 2,
    ) -> None:
        from accelerate import Accelerator

        self.config, self.contents, self.styles = config, contents, styles
        self.checkpoint = Path(checkpoint) if checkpoint else None
        self.checkpoint_every, self.workers = checkpoint_every, workers
        self.accelerator = Accelerator()
        self.device = self.accelerator.device
        self.loss = PerceptualLoss(features.to(self.device), config.weights)
        torch.manual_seed(config.seed)  # the same first theta on every process
        self.network = ImageTransformationNetwork(config.network).to(self.device)
        self.network.to(memory_format=torch.channels_last)
        if init is not None:
            self.network.load_state_dict(init, strict=True)
        self.theta = dict(self.network.named_parameters())
        start = math.log(config.inner_learning_rate)
        self.log_rates = {
            name: nn.Parameter(torch.full((), start, device=self.device)) for name in norm_parameters(self.theta)
        }
        matrices = [p for p in self.theta.values() if config.optimizer == "muon" and has_directions(p)]
        rest = [p for p in self.theta.values() if not any(p is m for m in matrices)]
        adam = torch.optim.Adam(
            [
                {"params": rest, "peak": config.learning_rate},
                {"params": list(self.log_rates.values()), "peak": config.rates_learning_rate},
            ]
        )
        muon = Muon([{"params": matrices, "peak": config.learning_rate}])
        self.optimizers: list[torch.optim.Optimizer] = [adam, muon]
        self.average = {name: p.detach().clone() for name, p in self.theta.items()}
        self.step = 0
        self._start()
        if self.checkpoint and self.checkpoint.exists():
            self.load_state_dict(torch.load(self.checkpoint, map_location="cpu", weights_only=True))
            log.info("resumed %s at step %d", self.checkpoint, self.step)

    def _start(self) -> None:
        """What a kind of training needs beyond this, before a checkpoint is read."""

    def batches(self, step: int) -> list[MetaBatch]:
        """The pictures of a step, a pure function of (seed, step, process)."""
        c = self.config
        rng = np.random.default_rng((c.seed, step, self.accelerator.process_index))
        content_crop = CropConfig(c.size, min_scale=0.4, jitter=0.15)
        style_crop = CropConfig(c.size, min_scale=0.4)
        result = []
        for _ in range(c.styles):
            photos = random_crops(self.contents, c.train_contents + c.valid_contents, content_crop, rng)
            style = random_crops(self.styles, 1, style_crop, rng)
            result.append(MetaBatch(style, photos[: c.train_contents], photos[c.train_contents :]))
        return result

    def take_step(self, batches: list[MetaBatch]) -> MetaStep:
        """One outer step: the mean gradient over styles and processes, then a step along it."""
        c, learned = self.config, self.config.learn_inner_rates
        variables = [*self.theta.values(), *(self.log_rates.values() if learned else ())]
        gradients = [torch.zeros_like(v) for v in variables]
        sums: dict[str, Tensor] = {}
        for batch in batches:
            moved = MetaBatch(*(getattr(batch, f.name).to(self.device, non_blocking=True) for f in fields(batch)))
            rates = {name: (r if learned else r.detach()).exp() for name, r in self.log_rates.items()}
            losses = meta_loss(
                self.network, self.theta, rates, moved, self.loss, c, identity_only=self.step < c.identity_steps
            )
            parts = torch.autograd.grad(losses.outer / len(batches), variables, allow_unused=True)
            for total, part in zip(gradients, parts, strict=True):
                if part is not None:
                    total += part
            for f in fields(losses):
                sums[f.name] = sums.get(f.name, torch.zeros((), device=self.device)) + getattr(losses, f.name).detach()
        gradients = self.accelerator.reduce(gradients, "mean")
        means = {k: float(v) / len(batches) for k, v in self.accelerator.reduce(sums, "mean").items()}
        norm = self._descend(means["outer"], variables, gradients)
        rate = float(torch.stack([r.detach().exp() for r in self.log_rates.values()]).mean())
        return MetaStep(self.step, **means, gradient_norm=norm, rate=rate)

    def _descend(self, outer: float, variables: Sequence[Tensor], gradients: Sequence[Tensor]) -> float:
        """One step of theta and delta along the gradients of `outer`; the gradients' norm before clipping.

        Both are means over the processes, so that these stop together if they stop.
        """
        for variable, gradient in zip(variables, gradients, strict=True):
            variable.grad = gradient
        norm = float(nn.utils.clip_grad_norm_(variables, self.config.gradient_clip))
        # a finite loss may have a gradient that is not, and clipping would spread it over all of theta
        if not (math.isfinite(outer) and math.isfinite(norm)):
            for variable in variables:
                variable.grad = None
            raise FloatingPointError(
                f"The outer loss is {outer} and its gradient's norm {norm} at step {self.step}; lower learning_rate "
                f"({self.config.learning_rate}) or inner_learning_rate ({self.config.inner_learning_rate})."
            )
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * self.config.outer_rate(self.step)
            optimizer.step()
        self._update_average()
        self.step += 1
        return norm

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.config.ema, (self.step + 2) / (self.step + 11))  # a young one forgets its random start faster
        for name, p in self.theta.items():
            self.average[name].lerp_(p.detach(), 1 - decay)

    def run(self) -> Iterator[MetaStep]:
        """The steps from here to `config.steps`, checkpointed on the way and at the end."""
        with ThreadPoolExecutor(max(1, self.workers)) as pool:
            ahead = {i: pool.submit(self.batches, i) for i in self._ahead(self.step)}
            while self.step < self.config.steps:
                batches = ahead.pop(self.step).result()
                for i in self._ahead(self.step + 1):
                    if i not in ahead:
                        ahead[i] = pool.submit(self.batches, i)
                result = self.take_step(batches)
                if self.step % self.checkpoint_every == 0 or self.step == self.config.steps:
                    self.save()
                yield result

    def _ahead(self, step: int) -> range:
        return range(step, min(step + 2 * max(1, self.workers), self.config.steps))

    def state_dict(self) -> dict[str, object]:
        """Everything that the next step depends on, as plain tensors and numbers."""
        return {
            "config": self.config.to_dict(),
            "step": self.step,
            "theta": {k: v.detach() for k, v in self.theta.items()},
            "log_rates": {k: v.detach() for k, v in self.log_rates.items()},
            "average": self.average,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Continue from a state.

        Raises:
            SettingError: when it is another run's: any setting but `steps` differs.
        """
        saved, ours = dict(state["config"]), self.config.to_dict()  # type: ignore[call-overload]
        changed = [k for k in ours if k != "steps" and saved.get(k) != ours[k]]
        if changed:
            what = ", ".join(f"{k} ({saved.get(k)} -> {ours[k]})" for k in changed)
            raise SettingError(
                f"The checkpoint is of another run: {what} changed; use another folder or the same settings."
            )
        with torch.no_grad():
            for name in ("theta", "log_rates", "average"):
                for key, value in state[name].items():  # type: ignore[attr-defined]
                    getattr(self, name)[key].copy_(value)
        for optimizer, moments in zip(self.optimizers, state["optimizers"], strict=True):  # type: ignore[call-overload]
            optimizer.load_state_dict(moments)
        self.step = int(state["step"])  # type: ignore[call-overload]

    def save(self) -> None:
        """Write the checkpoint, aside and then renamed: a kill at any moment leaves the old or the new one whole."""
        if self.checkpoint is None or not self.accelerator.is_main_process:
            return
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        aside = self.checkpoint.with_suffix(".tmp")
        torch.save(self.state_dict(), aside)
        aside.replace(self.checkpoint)
