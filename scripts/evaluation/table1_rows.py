"""The rows of Table 1: every system at its published size, or on `compact` features, and what the literature states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from metastyle_hub.baselines.adain import AdaIN
from metastyle_hub.baselines.avatar_net import AvatarNet
from metastyle_hub.baselines.compact import COMPACT_SYSTEMS
from metastyle_hub.baselines.gatys import Gatys, GatysConfig
from metastyle_hub.baselines.johnson import Johnson
from metastyle_hub.baselines.meta_networks import MetaNetwork
from metastyle_hub.baselines.style_swap import StyleSwap
from metastyle_hub.baselines.system import Baseline
from metastyle_hub.baselines.training import BaselineTrainingConfig
from metastyle_hub.baselines.wct import WCT
from metastyle_hub.losses import LossWeights, PerceptualLoss
from metastyle_hub.model import MetaStyle
from metastyle_hub.networks.feature_extractor import SPECS, FeatureExtractor, load_feature_extractor
from metastyle_hub.networks.param_groups import is_norm_parameter

__all__ = ["OURS", "ROWS", "MetaStyleSystem", "Parts", "Row", "compact_rows"]

OURS = "MetaStyle, 100 steps"


class MetaStyleSystem(Baseline[MetaStyle]):
    """MetaStyle as a row: `prepare` adapts the base for some steps, or predicts the style if there are none."""

    def __init__(self, steps: int, base: MetaStyle | None = None) -> None:
        super().__init__()
        self.base, self.steps, self.multiple = base or MetaStyle.from_pretrained(), steps, 1

    def parameter_count(self) -> int:
        """Return the number of parameters without the norms', as in the paper."""
        return sum(p.numel() for name, p in self.base.state_dict().items() if not is_norm_parameter(name))

    def prepare(self, style: Tensor) -> MetaStyle:
        """Adapt to a style image (1, 3, H, W)."""
        if not self.steps:
            return self.base.predict_style(style)
        with torch.enable_grad():
            return self.base.adapt(style, steps=self.steps, progress=False)

    def transfer(self, content: Tensor, style: MetaStyle) -> Tensor:
        """Stylize by one pass."""
        stylized: Tensor = style.stylize(content)
        return stylized


@dataclass(frozen=True)
class Parts:
    """Work of equal parts, too long to be run whole: some are run, and their time is multiplied."""

    count: int  # iterations or steps in all
    full: int  # that are run
    quick: int  # that are run with --quick
    each: str  # "image" or "style": what the work is done for


@dataclass(frozen=True)
class Row:
    """One system at its published size."""

    name: str
    build: Callable[[int], Baseline[Any]]  # its argument: how many parts to run
    paper: str  # parameters in the paper's Table 1
    styles: str = "any"
    times: tuple[float, float] | None = None  # seconds at 256 and 512 px, on Avatar-Net's page
    note: str = ""
    parts: Parts | None = None


def _johnson(steps: int) -> Johnson:
    return Johnson(FeatureExtractor(SPECS["vgg16"], "vgg16"), BaselineTrainingConfig(steps=steps, crop_size=256))


ROWS = (
    Row(
        "Gatys et al.", Gatys.published, "N/A", times=(12.18, 43.25), note="500 iterations of L-BFGS.",
        parts=Parts(500, 5, 2, "image"),
    ),
    Row(
        "Johnson et al.", _johnson, "1.68M", styles="1", note="40,000 steps of four crops of 256 px for a style.",
        parts=Parts(40_000, 2, 1, "style"),
    ),
    Row(
        "Li et al. (WCT)", lambda _: WCT.published(), "34.23M", times=(0.62, 0.93),
        note="34.24M rounded; the paper's figure is cut off.",
    ),
    Row("Huang et al. (AdaIN)", lambda _: AdaIN.published(), "7.01M", times=(0.053, 0.11)),
    Row("Shen et al. (meta networks)", lambda _: MetaNetwork.published(), "219.32M"),
    Row(
        "Sheng et al. (Avatar-Net)", lambda _: AvatarNet.published(), "147.22M", times=(0.071, 0.28),
        note="The count includes the fully connected layers of VGG-19, which no image needs; 7,055,555 parameters run.",
    ),
    Row(
        "Chen et al. (style swap)", lambda _: StyleSwap.published(), "1.48M", times=(0.064, 0.23),
        note="The layers of the paper add up to 1.11M; 1.48M is not explained.",
    ),
    Row(
        OURS, MetaStyleSystem, "1.68M", note="3,200 parameters of norms are not counted, as in Johnson's row.",
        parts=Parts(100, 100, 10, "style"),
    ),
    Row("MetaStyle, predicted", lambda _: MetaStyleSystem(0), "1.68M", note="No step: the predicted initialization."),
)  # fmt: skip


def compact_rows(weights: Path | None, gatys_iterations: int, steps: int) -> dict[str, Baseline[Any]]:
    """Return the systems whose quality is compared, on `compact` features; those without trained tensors are left out.

    Args:
        weights: folder of train_baseline.py.
        gatys_iterations: of pixel optimization with Adam.
        steps: of MetaStyle's adaptation.
    """
    loss = PerceptualLoss(load_feature_extractor(), LossWeights.paper())
    config = GatysConfig(iterations=gatys_iterations)
    found: dict[str, Baseline[Any]] = {
        "gatys": Gatys(loss, config),
        "gatys, coarse to fine": Gatys(loss, config, scales=3),
    }
    for name, build in COMPACT_SYSTEMS.items():
        if weights and name != "johnson" and (file := weights / f"{name}.safetensors").exists():
            found[name] = build()
            found[name].load_trained_state(load_file(file))
    return found | {"metastyle, predicted": MetaStyleSystem(0), f"metastyle, {steps} steps": MetaStyleSystem(steps)}
