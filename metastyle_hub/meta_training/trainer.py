"""The loop around the outer problem (`bilevel.py`): data, optimisers, the average of theta, checkpoints."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from metastyle_hub.artifacts.files import fingerprint
from metastyle_hub.data import CropConfig, ImagePool, random_crops
from metastyle_hub.errors import SettingError
from metastyle_hub.features import FeatureNetwork
from metastyle_hub.loss import PerceptualLoss
from metastyle_hub.meta_training.bilevel import MetaBatch, MetaTrainingConfig, meta_loss
from metastyle_hub.meta_training.muon import Muon, has_directions
from metastyle_hub.model import MetaStyle
from metastyle_hub.network import ImageTransformationNetwork
from metastyle_hub.noise import random_corner
from metastyle_hub.parameters import Parameters, norm_parameters

__all__ = ["MetaStep", "MetaTrainer"]

log = logging.getLogger(__name__)


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
    spikes: float
    gradient_norm: float
    rate: float  # mean inner rate delta


class MetaTrainer:
    """The resumable loop. A step depends on (config, data, step number) alone, so a resumed run repeats it.

    On a CPU exactly so; on GPUs some of torch's gradients are not deterministic.

    `init` is a base to start from instead of random weights, as for a second stage with larger pictures.
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
        init: MetaStyle | None = None,
        checkpoint: str | Path | None = None,
        checkpoint_every: int = 100,
        workers: int = 2,
    ) -> None:
        from accelerate import Accelerator

        if init is not None and init.config.output == "clamp":
            raise SettingError(
                "A converted base, whose output is clamped, cannot be trained further; start from a base without "
                'output "clamp" in its config.json, or from random weights.'
            )
        self.config, self.contents, self.styles, self.init = config, contents, styles, init
        self.checkpoint = Path(checkpoint) if checkpoint else None
        self.checkpoint_every, self.workers = checkpoint_every, workers
        self.accelerator = Accelerator()
        self.device = self.accelerator.device
        self.loss = PerceptualLoss(features.to(self.device), config.weights)
        torch.manual_seed(config.seed)  # the same first theta on every process
        self.network = ImageTransformationNetwork(config.network).to(self.device)
        self.network.to(memory_format=torch.channels_last)
        if init is not None:
            self.network.load_state_dict(init.parameters, strict=True)
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
        self.average_predictor: Parameters = {}  # the same of the predictor, in a training that makes one
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
            style, corner = random_crops(self.styles, 1, style_crop, rng), random_corner(rng)
            result.append(MetaBatch(style, photos[: c.train_contents], photos[c.train_contents :], corner))
        return result

    def take_step(self, batches: list[MetaBatch]) -> MetaStep:
        """One outer step: the mean gradient over styles and processes, then a step along it."""
        c, learned = self.config, self.config.learn_inner_rates
        variables = [*self.theta.values(), *(self.log_rates.values() if learned else ())]
        gradients = [torch.zeros_like(v) for v in variables]
        sums: dict[str, Tensor] = {}
        for batch in batches:
            moved = batch.to(self.device)
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
        for name, p in self.theta.items():
            self.average[name].lerp_(p.detach(), 1 - self._ema)

    @property
    def _ema(self) -> float:
        """The decay of the running average at this step: a young one forgets its random start faster."""
        return min(self.config.ema, (self.step + 2) / (self.step + 11))

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

    def _run(self) -> dict[str, object]:
        """What makes this run this run: all that steps depend on and that a second call could give otherwise."""
        features = self.loss.features
        dtype = str(features.dtype).removeprefix("torch.")
        return {
            "trainer": type(self).__name__,
            # in one with the dtype, since rounded weights have another fingerprint
            "features": f"{features.name} {fingerprint(features.state_dict())[:12]} in {dtype}",
            **{name: value for name, value in self.config.to_dict().items() if name != "steps"},  # these may grow
        }

    def state_dict(self) -> dict[str, object]:
        """Everything that the next step depends on, as plain tensors and numbers."""
        return {
            "run": self._run(),
            "step": self.step,
            "theta": {k: v.detach() for k, v in self.theta.items()},
            "log_rates": {k: v.detach() for k, v in self.log_rates.items()},
            "average": self.average,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Continue from a state.

        Raises:
            SettingError: when it is another run's: the kind of trainer, the features, their dtype or any setting but
                `steps` differs.
        """
        if "run" not in state:
            raise SettingError(
                "The checkpoint does not say of which run it is: an older metastyle_hub wrote it; use another folder."
            )
        saved, ours = dict(state["run"]), self._run()  # type: ignore[call-overload]
        changed = [k for k in {**ours, **saved} if saved.get(k) != ours.get(k)]
        if "trainer" in changed:
            changed = ["trainer"]  # the settings of another kind differ anyway
        if changed:
            what = ", ".join(f"{k} ({saved.get(k)} -> {ours.get(k)})" for k in changed)
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
