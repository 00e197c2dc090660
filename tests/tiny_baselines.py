"""The systems of Table 1 on random features so small that an image takes milliseconds."""

from __future__ import annotations

from typing import Any

import tiny
import torch

from metastyle_hub.baselines.adain import AdaIN
from metastyle_hub.baselines.avatar_net import AvatarNet
from metastyle_hub.baselines.gatys import Gatys, GatysConfig
from metastyle_hub.baselines.johnson import Johnson
from metastyle_hub.baselines.meta_networks import MetaNetwork
from metastyle_hub.baselines.style_swap import StyleSwap
from metastyle_hub.baselines.system import Baseline
from metastyle_hub.baselines.training import BaselineTrainingConfig
from metastyle_hub.baselines.wct import WCT
from metastyle_hub.data.datasets import InMemoryDataset
from metastyle_hub.losses import LossWeights, PerceptualLoss
from metastyle_hub.networks.feature_extractor import FeatureExtractor, FeatureSpec

LEVELS = FeatureSpec(  # the widths of VGG-19 at its first three levels
    stages=((4,), (6,), (8,)),
    content_tap="relu2_1",
    style_taps=("relu1_1", "relu2_1", "relu3_1"),
    heads=(("relu1_1", 64), ("relu2_1", 128), ("relu3_1", 256)),
    pool="avg",
    padding="reflect",
)
CONFIG = BaselineTrainingConfig(steps=3, batch_size=2, crop_size=32)


def levels() -> FeatureExtractor:
    return tiny.features(spec=LEVELS)


def system(name: str) -> Baseline[Any]:
    """A system with random weights, the same ones every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return {
            "gatys": lambda: Gatys(PerceptualLoss(tiny.features(), LossWeights.paper()), GatysConfig(iterations=3)),
            "gatys_multi": lambda: Gatys(
                PerceptualLoss(tiny.features(), LossWeights.paper()), GatysConfig(iterations=4), 2
            ),
            "johnson": lambda: Johnson(tiny.features(), CONFIG, contents(), network=tiny.NETWORK),
            "wct": lambda: WCT([levels()] * 3),
            "adain": lambda: AdaIN(levels()),
            "meta_networks": lambda: MetaNetwork(levels(), width=2),
            "avatar_net": lambda: AvatarNet(levels()),
            "style_swap": lambda: StyleSwap(levels()),
        }[name]()


def contents() -> InMemoryDataset:
    return InMemoryDataset([tiny.tensor(tiny.content(48, 48, i))[0] for i in range(3)])


def styles() -> InMemoryDataset:
    return InMemoryDataset([tiny.tensor(tiny.style(48, 48, i))[0] for i in range(3)])
