"""Long-horizon meta-training: long inner trajectories at the price of short ones, in first order.

The bilevel problem unrolls T = 1 to 5 inner steps, but an adaptation takes a hundred, which is too many to unroll. A
task buffer holds several tasks, each with one style, its Gram matrices, and what an adaptation trains: norm parameters
phi, and offsets delta of the convolutions psi, after 0 to `horizon` inner steps from theta. Every outer step takes some
tasks one Adam step further, as adaptation does, and trains the convolutions where these tasks are (first-order MAML,
Finn et al. 2017; Nichol et al. 2018, Reptile):

    phi_s, delta_s  <- Adam step on log loss(c, s, M(c; psi + delta_s, phi_s)) + penalties on logits and outliers
    psi             <- step of the outer optimizer on the mean over tasks        shared
    theta           =  (psi, phi_0),  phi_0 trained by identity(c, M(c; psi, phi_0)), where every trajectory starts

A task at the horizon restarts from theta with another style. So theta is trained for all of an adaptation, not for its
first step.

The first step starts from a predicted initialization (`style_predictor.py`). With `predicted_styles` > 0 every outer
step also draws that many further styles, and trains the predictor on the images that its predictions give; tasks then
restart from predictions:

    P, psi          <- step on the mean over styles of log loss(c, s, M(c; psi, phi_0 + P(s))) + the same penalties
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from metastyle_hub.adaptation import AdaptationConfig
from metastyle_hub.config import option
from metastyle_hub.data.datasets import CropConfig, check_crop_scales, next_readable, random_crop, random_crops
from metastyle_hub.errors import SettingError
from metastyle_hub.losses import MAX_STYLE_SCALES
from metastyle_hub.networks.layers import random_noise_offset
from metastyle_hub.networks.param_groups import TRAINABLE, Parameters, is_norm_parameter, trainable_parameters
from metastyle_hub.networks.style_predictor import StylePredictor
from metastyle_hub.networks.transformer_net import transform_with_activations
from metastyle_hub.training.bilevel import MetaTrainingConfig, regularizer
from metastyle_hub.training.trainer import MetaStep, MetaTrainer

__all__ = ["LongHorizonConfig", "LongHorizonTrainer"]

_DEPLOYMENT = AdaptationConfig()  # tasks are adapted as users adapt
_BETAS, _EPS = (0.9, 0.99), 1e-8  # of the tasks' Adam
_CALIBRATION_STYLES = 64  # for the input statistics of a new predictor


@dataclass(frozen=True)
class LongHorizonConfig(MetaTrainingConfig):
    """Settings of long-horizon training. `styles` is the number of tasks that advance per outer step."""

    predicted_styles: int = option(4, "further styles per step, for the predictor; 0 trains none", low=0)
    predictor_learning_rate: float = option(1e-3, "peak learning rate of Adam on the predictor", low=0)
    prediction_weight: float = option(0.02, "weight of the mean square of predicted offsets", low=0)
    buffer_size: int = option(16, "tasks in the buffer, a multiple of `styles`", low=1)
    horizon: int = option(_DEPLOYMENT.steps, "inner steps of a task before it restarts", low=1, high=1000)
    task_trainable: str = option(_DEPLOYMENT.trainable, "what a task trains, as in adaptation", choices=TRAINABLE)
    task_learning_rate: float = option(_DEPLOYMENT.learning_rate, "of a task's Adam on offsets of convolutions", low=0)
    task_warmup_steps: int = option(_DEPLOYMENT.warmup_steps, "steps of linear warmup of that learning rate", low=0)
    task_norm_learning_rate: float = option(
        _DEPLOYMENT.norm_learning_rate, "of a task's Adam on norm parameters", low=0
    )
    task_final_lr_ratio: float = option(
        _DEPLOYMENT.final_lr_ratio, "final learning-rate ratio, at the end of a cosine decay", low=0, high=1
    )
    style_size: int = option(256, "pixels of the style crops", low=32)
    min_scale: float = option(0.4, "smallest content crop, as a share of the short side", low=0.01, high=1)
    max_scale: float = option(
        1.0, "largest content crop; size / max_scale is the output size it trains for", low=0.01, high=1
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.buffer_size % self.styles:
            raise SettingError(f"buffer_size must be a multiple of styles ({self.styles}), got {self.buffer_size}.")
        check_crop_scales(self.min_scale, self.max_scale)

    def task_adaptation(self) -> AdaptationConfig:
        """Return the adaptation of a task, for its learning-rate schedule."""
        return AdaptationConfig(
            steps=self.horizon, final_lr_ratio=self.task_final_lr_ratio, warmup_steps=self.task_warmup_steps
        )


@dataclass(frozen=True)
class LongHorizonBatch:
    """The data of one outer step."""

    contents: Tensor  # (styles + predicted_styles + 1, 3, H, W): of tasks, of predicted styles, of the identity
    tasks: tuple[int, ...]  # indices of the tasks that advance
    noise_offset: tuple[int, int]  # of all contents in the noise field
    new_styles: dict[int, Tensor]  # (1, 3, H, W) of the tasks that restart
    predictor_styles: Tensor | None  # (predicted_styles, 3, H, W)


class LongHorizonTrainer(MetaTrainer):
    """The loop, resumable like `MetaTrainer`'s, with the task buffer in its state. It runs on one process.

    Raises:
        SettingError: on several processes: each would have its own buffer, and a checkpoint stores one.

    Example::

        for step in LongHorizonTrainer(LongHorizonConfig(steps=4000), extractor, photos, artworks).run():
            print(step.index, step.query)
    """

    config: LongHorizonConfig

    def _setup(self) -> None:
        """Start every task at theta, without a style until its first turn."""
        if (processes := self.accelerator.num_processes) > 1:
            raise SettingError(f"Long-horizon training runs on one process, got {processes}; leave out the launcher.")
        count, trained = self.config.buffer_size, trainable_parameters(self.theta, self.config.task_trainable)
        self._buffer: dict[str, dict[str, Tensor]] = {
            kind: {name: torch.zeros(count, *p.shape, device=self.device) for name, p in trained.items()}
            for kind in ("own", "mean", "square")
        }
        self._task_steps: list[int] = [0] * count
        self._grams: dict[int, tuple[Tensor, ...]] = {}
        if self.config.predicted_styles:
            self.predictor = self._initial_predictor()
            group = {"params": list(self.predictor.parameters()), "peak": self.config.predictor_learning_rate}
            self.optimizers.append(torch.optim.Adam([group], betas=_BETAS))
            self.ema_predictor = {name: p.detach().clone() for name, p in self.predictor.state_dict().items()}

    def _initial_predictor(self) -> StylePredictor:
        """Return the predictor of the initial base, or a new one, calibrated on styles."""
        torch.manual_seed(self.config.seed)
        extractor = self.loss.feature_extractor
        predictor = StylePredictor(extractor.spec.gram_channels, MAX_STYLE_SCALES, self.theta).to(self.device)
        known = self.init and self.init.predictor
        if self.init is not None and known and self.init.config.feature_extractor == extractor.name:
            predictor.load_state_dict(known)
            return predictor
        rng, c = np.random.default_rng(self.config.seed), self.config
        count = min(_CALIBRATION_STYLES, len(self.styles))
        crops = random_crops(self.styles, count, CropConfig(c.style_size, min_scale=0.6), rng)
        grams = [self.loss.style_grams(crop.to(self.device), MAX_STYLE_SCALES) for crop in crops.split(1)]
        predictor.calibrate([torch.cat(tap) for tap in zip(*grams, strict=True)])
        return predictor

    def batches(self, step: int) -> LongHorizonBatch:  # type: ignore[override]
        """Return the images of a step, a pure function of (seed, step, process)."""
        c = self.config
        rng = np.random.default_rng((c.seed, step, self.accelerator.process_index))
        crop = CropConfig(c.size, c.min_scale, c.max_scale, jitter=0.1)
        contents = random_crops(self.contents, c.styles + c.predicted_styles + 1, crop, rng)
        tasks = tuple((step * c.styles + i) % c.buffer_size for i in range(c.styles))
        turn = step * c.styles // c.buffer_size
        new_styles: dict[int, Tensor] = {}
        for k in tasks:
            # the first trajectories have different lengths, so that not all tasks restart at once
            if turn == 0 or (turn + k * c.horizon // c.buffer_size) % c.horizon == 0:
                image = next_readable(self.styles, int(rng.integers(len(self.styles))))
                new_styles[k] = random_crop(image, CropConfig(c.style_size, min_scale=0.6), rng)[None]
        offset, predictor_styles = random_noise_offset(rng), None
        if c.predicted_styles:
            # jitter and permuted channels: a thousand artworks do not have all palettes
            style_crop = CropConfig(c.style_size, min_scale=0.6, jitter=0.15)
            drawn = random_crops(self.styles, c.predicted_styles, style_crop, rng)
            predictor_styles = torch.stack([s[rng.permutation(3)] if rng.random() < 0.5 else s for s in drawn])
        return LongHorizonBatch(contents, tasks, offset, new_styles, predictor_styles)

    def take_step(self, batches: LongHorizonBatch) -> MetaStep:  # type: ignore[override]
        """Take one step of every task of the batch, and one of the shared parameters."""
        c, tasks = self.config, list(batches.tasks)
        contents = batches.contents.to(self.device)
        own = self._buffer["own"]
        for k, style in batches.new_styles.items():
            self._restart(k, style.to(self.device))
        of_tasks = {name: values[tasks].requires_grad_() for name, values in own.items()}
        grams = tuple(torch.cat(tap) for tap in zip(*(self._grams[k] for k in tasks), strict=True))
        offsets: Parameters = {}
        if batches.predictor_styles is not None:
            predictor_grams = self.loss.style_grams(batches.predictor_styles.to(self.device), MAX_STYLE_SCALES)
            offsets = self.predictor(predictor_grams)
            grams = tuple(torch.cat(pair) for pair in zip(grams, predictor_grams, strict=True))
        weights: Parameters = dict(self.theta)
        for name, values in of_tasks.items():
            shared = self.theta[name][None]
            rows = [values if is_norm_parameter(name) else shared + values]
            if c.predicted_styles:
                # phi_0 is trained by the identity alone, here as in the tasks
                repeated = shared.expand(c.predicted_styles, *shared.shape[1:])
                rows.append(repeated.detach() + offsets[name] if name in offsets else repeated)
            weights[name] = torch.cat([*rows, shared])  # (styles + predicted_styles + 1, ...)
        output = transform_with_activations(self.network, weights, contents, self.loss.dtype, batches.noise_offset)
        total, content, style_term = self.loss(output.images[:-1], self.loss.targets(contents[:-1], grams))
        penalty = regularizer(output.images[-1:], contents[-1:], [output], self.loss, c)
        log_losses = total.log()
        outer = log_losses.mean() + penalty.total
        if offsets:
            outer = outer + c.prediction_weight * torch.cat(list(offsets.values()), 1).square().mean()
        shared_variables = [*self.theta.values(), *(self.predictor.parameters() if c.predicted_styles else ())]
        parts = torch.autograd.grad(outer, [*of_tasks.values(), *shared_variables])
        norm = self._descend(float(outer.detach()), shared_variables, parts[len(of_tasks) :])
        self._advance(tasks, dict(zip(of_tasks, parts[: len(of_tasks)], strict=True)))
        task_losses, predicted_losses = log_losses.detach()[: c.styles], log_losses.detach()[c.styles :]
        return MetaStep(
            self.step,
            outer=float(outer.detach()),
            query=float(task_losses.mean()),
            content=float(content.detach()[: c.styles].mean()),
            style=float(style_term.detach()[: c.styles].mean()),
            support=float(predicted_losses.mean()),  # at the predicted initializations; NaN without any
            identity=float(penalty.identity.detach()),
            logits=float(penalty.logits.detach()),
            outliers=float(penalty.outliers.detach()),
            gradient_norm=norm,
            inner_lr=c.task_norm_learning_rate,
        )

    @torch.no_grad()
    def _restart(self, k: int, style: Tensor) -> None:
        """Give a task another style, and start it where an adaptation would start."""
        self._grams[k] = self.loss.style_grams(style, MAX_STYLE_SCALES)
        self._task_steps[k] = 0
        predicted = self.config.predicted_styles > 0
        initial = self.predictor.initialization(self.theta, self._grams[k]) if predicted else self.theta
        for name, values in self._buffer["own"].items():
            values[k] = initial[name] if is_norm_parameter(name) else 0
            self._buffer["mean"][name][k] = 0
            self._buffer["square"][name][k] = 0

    def _update_ema(self) -> None:
        super()._update_ema()
        if self.config.predicted_styles:
            with torch.no_grad():
                for name, p in self.predictor.state_dict().items():
                    self.ema_predictor[name].lerp_(p, 1 - self._current_decay)

    @torch.no_grad()
    def _advance(self, tasks: list[int], gradients: Mapping[str, Tensor]) -> None:
        """Take an Adam step on what the tasks own; every task counts its own steps."""
        c, schedule = self.config, self.config.task_adaptation()
        for i, k in enumerate(tasks):
            step = self._task_steps[k]
            self._task_steps[k] = step + 1
            norm_lr = c.task_norm_learning_rate * schedule.lr_ratio(step)
            convolution_lr = c.task_learning_rate * schedule.lr_ratio(step) * schedule.warmup(step)
            for name, gradient in gradients.items():
                own, mean, square = (self._buffer[kind][name][k] for kind in ("own", "mean", "square"))
                mean.lerp_(gradient[i], 1 - _BETAS[0])
                square.lerp_(gradient[i].square(), 1 - _BETAS[1])
                direction = mean / (1 - _BETAS[0] ** (step + 1))
                rms = (square / (1 - _BETAS[1] ** (step + 1))).sqrt() + _EPS
                own -= (norm_lr if is_norm_parameter(name) else convolution_lr) * direction / rms

    def state_dict(self) -> dict[str, object]:
        """Return everything that the next step depends on."""
        grams = {str(k): list(g) for k, g in self._grams.items()}
        state = super().state_dict() | {"buffer": self._buffer, "task_steps": list(self._task_steps), "grams": grams}
        if self.config.predicted_styles:
            state |= {"predictor": self.predictor.state_dict(), "ema_predictor": self.ema_predictor}
        return state

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Continue from a state; see `MetaTrainer.load_state_dict`."""
        super().load_state_dict(state)
        buffer: dict[str, dict[str, Tensor]] = state["buffer"]  # type: ignore[assignment]
        self._buffer = {kind: {n: v.to(self.device) for n, v in values.items()} for kind, values in buffer.items()}
        self._task_steps = list(state["task_steps"])  # type: ignore[call-overload]
        grams: dict[str, list[Tensor]] = state["grams"]  # type: ignore[assignment]
        self._grams = {int(k): tuple(g.to(self.device) for g in values) for k, values in grams.items()}
        if self.config.predicted_styles:
            self.predictor.load_state_dict(state["predictor"])  # type: ignore[arg-type]
            for name, value in state["ema_predictor"].items():  # type: ignore[attr-defined]
                self.ema_predictor[name].copy_(value)
