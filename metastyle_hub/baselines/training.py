"""The training of a baseline: one resumable loop for all systems, Adam with a cosine decay.

A step depends on the seed, the step number and the data alone, so a run that was killed continues as if it had not
been.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metastyle_hub.baselines.system import Baseline
from metastyle_hub.config import Config, option
from metastyle_hub.data.datasets import CropConfig, ImageDataset, random_crops
from metastyle_hub.devices import training_dtype
from metastyle_hub.errors import SettingError
from metastyle_hub.networks.checkpoints import read_checkpoint, write_checkpoint
from metastyle_hub.networks.schedules import cosine_decay

__all__ = ["BaselineStep", "BaselineTrainingConfig", "train"]


@dataclass(frozen=True)
class BaselineTrainingConfig(Config):
    """How a baseline is trained."""

    steps: int = option(20_000, "gradient steps", low=0)
    batch_size: int = option(4, "content images, and as many style images, per step", low=1)
    crop_size: int = option(128, "pixels a side of the crops, a multiple of 16", low=32, multiple=16)
    min_scale: float = option(0.3, "smallest crop, as a share of the image's short side", low=0.01, high=1)
    max_scale: float = option(0.7, "largest crop", low=0.01, high=1)
    learning_rate: float = option(1e-3, "peak of Adam's, after a warmup of 50 steps", low=0, high=1)
    final_lr_ratio: float = option(0.05, "at the end of the cosine decay", low=0, high=1)
    seed: int = option(0, "of weights and crops", low=0)

    def lr_ratio(self, step: int) -> float:
        """Return the learning rate's share of its peak."""
        return cosine_decay(step / max(1, self.steps - 1), self.final_lr_ratio) * min(1.0, (step + 1) / 50)


@dataclass(frozen=True)
class BaselineStep:
    """The state after `index` finished steps."""

    index: int
    loss: float


def train(
    system: Baseline[Any],
    contents: ImageDataset,
    styles: ImageDataset,
    config: BaselineTrainingConfig | None = None,
    checkpoint: Path | None = None,
    checkpoint_every: int = 200,
) -> Iterator[BaselineStep]:
    """Train a system in place; yield every step.

    Args:
        system: on its device.
        contents: content images.
        styles: style images.
        config: all settings.
        checkpoint: the file to write, and to continue from if it exists.
        checkpoint_every: steps between checkpoints.

    Raises:
        SettingError: if the checkpoint is damaged, or belongs to a run with other settings.
        OSError: if it cannot be written.

    Example::

        for step in train(AdaIN(load_feature_extractor()), photos, artworks):
            print(step.index, step.loss)
    """
    config = config or BaselineTrainingConfig()
    trained = [p for p in system.parameters() if p.requires_grad]
    device, dtype = trained[0].device, training_dtype(trained[0].device)
    optimizer = torch.optim.Adam(trained, betas=(0.9, 0.99))
    crops, start = CropConfig(config.crop_size, config.min_scale, config.max_scale), 0
    run = {"system": type(system).__name__, **config.to_dict()}
    del run["steps"]  # which may change
    if checkpoint and (state := read_checkpoint(checkpoint, device)) is not None:
        if changed := [key for key in run if state["run"].get(key) != run[key]]:
            raise SettingError(
                f"{checkpoint} belongs to a run with another {changed[0]} ({state['run'].get(changed[0])}, not "
                f"{run[changed[0]]}); use the same settings, or another folder."
            )
        system.load_trained_state(state["system"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
    for index in range(start, config.steps):
        rng = np.random.default_rng((config.seed, index))
        batch, artworks = (random_crops(data, config.batch_size, crops, rng).to(device) for data in (contents, styles))
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss = system.training_loss(batch, artworks)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.param_groups[0]["lr"] = config.learning_rate * config.lr_ratio(index)
        optimizer.step()
        if checkpoint and ((index + 1) % checkpoint_every == 0 or index + 1 == config.steps):
            state = {"run": run, "step": index + 1, "system": system.trained_state()}
            write_checkpoint(checkpoint, {**state, "optimizer": optimizer.state_dict()})
        yield BaselineStep(index + 1, float(loss.detach()))
