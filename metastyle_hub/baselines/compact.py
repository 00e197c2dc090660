"""The systems of Table 1 on `compact` features, for a comparison of quality at one small size.

`compact` ends at a quarter of the resolution, at relu3. So every system here is shallower than the published one: AdaIN
and Avatar-Net have relu4_1 there, WCT relu5_1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from metastyle_hub.baselines.adain import AdaIN
from metastyle_hub.baselines.avatar_net import AvatarNet
from metastyle_hub.baselines.johnson import Johnson
from metastyle_hub.baselines.meta_networks import MetaNetwork
from metastyle_hub.baselines.style_swap import StyleSwap
from metastyle_hub.baselines.system import Baseline
from metastyle_hub.baselines.wct import WCT
from metastyle_hub.networks.feature_extractor import load_feature_extractor

__all__ = ["COMPACT_SYSTEMS"]

COMPACT_SYSTEMS: dict[str, Callable[[], Baseline[Any]]] = {
    "adain": lambda: AdaIN(load_feature_extractor()),
    "wct": lambda: WCT([load_feature_extractor()] * 3),
    "avatar_net": lambda: AvatarNet(load_feature_extractor()),
    "style_swap": lambda: StyleSwap(load_feature_extractor()),
    "meta_networks": lambda: MetaNetwork(load_feature_extractor(), width=8),
    "johnson": lambda: Johnson(load_feature_extractor()),
}
"""Constructors by name, each with random weights where something is trained."""
