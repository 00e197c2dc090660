"""The training loop around the bilevel problem (`bilevel.py`): data, optimizers, EMA weights, checkpoints."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from metastyle_hub.artifacts.serialization import fingerprint
from metastyle_hub.data.datasets import CropConfig, ImageDataset, random_crops
from metastyle_hub.errors import SettingError
from metastyle_hub.losses import PerceptualLoss
from metastyle_hub.model import MetaStyle
from metastyle_hub.networks.checkpoints import read_checkpoint, write_checkpoint
from metastyle_hub.networks.feature_extractor import FeatureExtractor
from metastyle_hub.networks.layers import random_noise_offset
from metastyle_hub.networks.param_groups import Parameters, norm_parameters
from metastyle_hub.networks.schedules import average_decay
from metastyle_hub.networks.transformer_net import TransformerNet
from metastyle_hub.training.bilevel import MetaBatch, MetaTrainingConfig, meta_loss
from metastyle_hub.training.optimizer import KernelMuon, is_kernel

__all__ = ["MetaStep", "MetaTrainer"]

log = logging.getLogger(__name__)

_DATA = ("contents", "styles_of")  # keys of a checkpoint


@dataclass(frozen=True)
class MetaStep:
    """The losses of one outer step, means over its styles, as floats; see `MetaLosses`."""

    index: int  # finished steps
    outer: float
    query: float
    content: float
    style: float
    support: float
    identity: float
    logits: float
    outliers: float
    gradient_norm: float
    inner_lr: float  # mean of delta


class MetaTrainer:
    """The resumable loop. A step depends on (config, data, step number) alone, so a resumed run repeats it.

    That holds exactly on a CPU; on GPUs some of torch's gradients are not deterministic. On several processes each
    takes its own styles, and the gradients are averaged once a step: DDP does not support second-order gradients.

    Args:
        config: all settings of the run.
        feature_extractor: of the loss; its dtype is that of the arithmetic.
        contents: content images.
        styles: style images.
        init: a base to start from instead of random weights, as for a second stage with larger crops.
        checkpoint: the file to write, and to resume from if it exists.
        checkpoint_every: steps between checkpoints.
        workers: threads that prepare batches.

    Raises:
        SettingError: if the checkpoint belongs to another run, or `init` is a converted network.

    Example::

        trainer = MetaTrainer(config, extractor, photos, artworks, checkpoint="runs/base/checkpoint.pt")
        for step in trainer.run():
            print(step.index, step.query)
    """

    def __init__(
        self,
        config: MetaTrainingConfig,
        feature_extractor: FeatureExtractor,
        contents: ImageDataset,
        styles: ImageDataset,
        *,
        init: MetaStyle | None = None,
        checkpoint: str | Path | None = None,
        checkpoint_every: int = 100,
        workers: int = 2,
    ) -> None:
        from accelerate import Accelerator

        if init is not None and not init.is_base:
            raise SettingError(f"{init.name} is a style, and training starts from a base; pass the folder of one.")
        if init is not None and init.config.output_activation == "clamp":
            raise SettingError(
                "A converted network, whose output is clamped, cannot be trained further; start from a base without "
                "output_activation in its config.json, or from random weights."
            )
        self.config, self.contents, self.styles, self.init = config, contents, styles, init
        self.checkpoint = Path(checkpoint) if checkpoint else None
        self.checkpoint_every, self.workers = checkpoint_every, workers
        self.accelerator = Accelerator()
        self.device = self.accelerator.device
        self.loss = PerceptualLoss(feature_extractor.to(self.device), config.weights)
        torch.manual_seed(config.seed)  # the same initial theta on every process
        self.network = TransformerNet(config.network).to(self.device)
        self.network.to(memory_format=torch.channels_last)
        if init is not None:
            self.network.load_state_dict(init.state_dict(), strict=True)
        self.theta = dict(self.network.named_parameters())
        start = math.log(config.inner_learning_rate)
        self.log_inner_lr = {
            name: nn.Parameter(torch.full((), start, device=self.device)) for name in norm_parameters(self.theta)
        }
        kernels = [p for p in self.theta.values() if config.optimizer == "muon" and is_kernel(p)]
        others = [p for p in self.theta.values() if not any(p is kernel for kernel in kernels)]
        adam = torch.optim.Adam(
            [
                {"params": others, "peak": config.learning_rate},
                {"params": list(self.log_inner_lr.values()), "peak": config.inner_lr_learning_rate},
            ]
        )
        self.optimizers: list[torch.optim.Optimizer] = [adam]
        if kernels:
            self.optimizers.append(KernelMuon(kernels, peak=config.learning_rate))
        self.ema = {name: p.detach().clone() for name, p in self.theta.items()}
        self.ema_predictor: Parameters = {}  # of trainers that train a style predictor
        self.step = 0
        self._setup()
        if (state := self._read_checkpoint()) is not None:
            self.load_state_dict(state)
            log.info("resumed %s at step %d", self.checkpoint, self.step)

    def _setup(self) -> None:
        """Prepare what a subclass needs, before a checkpoint is read."""

    def _read_checkpoint(self) -> Mapping[str, object] | None:
        """Return the main process's checkpoint on every process: disks of other machines may hold other ones."""
        state: Mapping[str, object] | SettingError | None = None
        if self.accelerator.is_main_process and self.checkpoint:
            try:
                state = read_checkpoint(self.checkpoint)
            except SettingError as error:  # every process has to raise it
                state = error
        if self.accelerator.num_processes > 1:
            from accelerate.utils import broadcast_object_list

            (state,) = broadcast_object_list([state])
        if isinstance(state, SettingError):
            raise state
        return state

    def batches(self, step: int) -> list[MetaBatch]:
        """Return the images of a step. A style's are a pure function of (seed, step, number of the style).

        So two processes with one style each take the step of one process with two.
        """
        c = self.config
        first = self.accelerator.process_index * c.styles
        content_crop = CropConfig(c.size, min_scale=0.4, jitter=0.15)
        style_crop = CropConfig(c.size, min_scale=0.4)
        batches = []
        for number in range(first, first + c.styles):
            rng = np.random.default_rng((c.seed, step, number))
            contents = random_crops(self.contents, c.support_contents + c.query_contents, content_crop, rng)
            style, offset = random_crops(self.styles, 1, style_crop, rng), random_noise_offset(rng)
            batches.append(MetaBatch(style, contents[: c.support_contents], contents[c.support_contents :], offset))
        return batches

    def take_step(self, batches: list[MetaBatch]) -> MetaStep:
        """Take one outer step along the mean gradient over styles and processes."""
        c, learned = self.config, self.config.learn_inner_lr
        variables = [*self.theta.values(), *(self.log_inner_lr.values() if learned else ())]
        gradients = [torch.zeros_like(v) for v in variables]
        sums: dict[str, Tensor] = {}
        for batch in batches:
            inner_lr = {name: (r if learned else r.detach()).exp() for name, r in self.log_inner_lr.items()}
            losses = meta_loss(
                self.network, self.theta, inner_lr, batch.to(self.device), self.loss, c,
                identity_only=self.step < c.identity_steps,
            )  # fmt: skip
            parts = torch.autograd.grad(losses.outer / len(batches), variables, allow_unused=True)
            for total, part in zip(gradients, parts, strict=True):
                if part is not None:
                    total += part
            for f in fields(losses):
                sums[f.name] = sums.get(f.name, torch.zeros((), device=self.device)) + getattr(losses, f.name).detach()
        gradients = self.accelerator.reduce(gradients, "mean")
        means = {k: float(v) / len(batches) for k, v in self.accelerator.reduce(sums, "mean").items()}
        norm = self._descend(means["outer"], variables, gradients)
        inner_lr_mean = float(torch.stack([r.detach().exp() for r in self.log_inner_lr.values()]).mean())
        return MetaStep(self.step, **means, gradient_norm=norm, inner_lr=inner_lr_mean)

    def _descend(self, outer: float, variables: Sequence[Tensor], gradients: Sequence[Tensor]) -> float:
        """Step the optimizers along the gradients of `outer`; return the norm of the gradients before clipping.

        `outer` and the gradients are means over the processes, so all processes stop together if one diverges.
        """
        for variable, gradient in zip(variables, gradients, strict=True):
            variable.grad = gradient
        norm = float(nn.utils.clip_grad_norm_(variables, self.config.gradient_clip))
        # a finite loss may have a non-finite gradient, which clipping would spread over all of theta
        if not (math.isfinite(outer) and math.isfinite(norm)):
            for variable in variables:
                variable.grad = None
            raise FloatingPointError(
                f"The outer loss is {outer} and its gradient norm {norm} at step {self.step}; lower learning_rate "
                f"({self.config.learning_rate}) or inner_learning_rate ({self.config.inner_learning_rate})."
            )
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * self.config.outer_lr_ratio(self.step)
            optimizer.step()
        self._update_ema()
        self.step += 1
        return norm

    @torch.no_grad()
    def _update_ema(self) -> None:
        for name, p in self.theta.items():
            self.ema[name].lerp_(p.detach(), 1 - self._current_decay)

    @property
    def _current_decay(self) -> float:
        """The decay of the EMA weights at this step."""
        return average_decay(self.config.ema_decay, self.step + 1)

    def run(self) -> Iterator[MetaStep]:
        """Yield the steps from here to `config.steps`; write checkpoints on the way and at the end."""
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

    def _identity(self) -> dict[str, object]:
        """What makes this run this run: all that steps depend on and that another call could change."""
        extractor = self.loss.feature_extractor
        dtype = str(extractor.dtype).removeprefix("torch.")
        return {
            "trainer": type(self).__name__,
            # together with the dtype, since rounded weights have another fingerprint
            "feature_extractor": f"{extractor.name} {fingerprint(extractor.state_dict())[:12]} in {dtype}",
            "contents": _names_of(self.contents),
            "styles_of": _names_of(self.styles),
            **{name: value for name, value in self.config.to_dict().items() if name != "steps"},  # which may grow
        }

    def state_dict(self) -> dict[str, object]:
        """Return everything that the next step depends on, as plain tensors and numbers."""
        return {
            "run": self._identity(),
            "step": self.step,
            "theta": {k: v.detach() for k, v in self.theta.items()},
            "log_inner_lr": {k: v.detach() for k, v in self.log_inner_lr.items()},
            "ema": self.ema,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Continue from a state.

        Raises:
            SettingError: if it belongs to another run: the trainer, the feature extractor, its dtype, or any setting
                but `steps` differs.
        """
        if "run" not in state:
            raise SettingError("The checkpoint was written by an older metastyle_hub; use another folder.")
        saved, own = dict(state["run"]), self._identity()  # type: ignore[call-overload]
        # checkpoints of earlier versions say nothing about their images
        changed = [k for k in {**own, **saved} if saved.get(k) != own.get(k) and not (k in _DATA and k not in saved)]
        if "trainer" in changed:
            changed = ["trainer"]  # the settings differ anyway
        if changed:
            what = ", ".join(f"{k} ({saved.get(k)} -> {own.get(k)})" for k in changed)
            raise SettingError(
                f"The checkpoint belongs to another run: {what} changed; use another folder or the same settings."
            )
        with torch.no_grad():
            for name in ("theta", "log_inner_lr", "ema"):
                for key, value in state[name].items():  # type: ignore[attr-defined]
                    getattr(self, name)[key].copy_(value)
        for optimizer, moments in zip(self.optimizers, state["optimizers"], strict=True):  # type: ignore[call-overload]
            optimizer.load_state_dict(moments)
        self.step = int(state["step"])  # type: ignore[call-overload]

    def save(self) -> None:
        """Write the checkpoint, from the main process.

        Raises:
            OSError: if it cannot be written.
        """
        if self.checkpoint and self.accelerator.is_main_process:
            write_checkpoint(self.checkpoint, self.state_dict())


def _names_of(dataset: ImageDataset) -> str:
    """Return the number of images, and a hash of the names of their files if they have such."""
    names = [path.name for path in getattr(dataset, "paths", ())]
    digest = hashlib.sha256("\n".join(names).encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return f"{len(dataset)} images{f', {digest}' if names else ''}"
