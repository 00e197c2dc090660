"""What most tests share: networks small enough for a CPU, and images drawn by NumPy. Nothing here is trained."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from metastyle_hub import MetaStyle
from metastyle_hub.adaptation import AdaptationConfig
from metastyle_hub.artifacts.config import ArtifactConfig, BaseReference
from metastyle_hub.artifacts.serialization import Artifact, artifact_files
from metastyle_hub.artifacts.storage import write_files
from metastyle_hub.networks.feature_extractor import FeatureExtractor, FeatureSpec
from metastyle_hub.networks.param_groups import Parameters, is_norm_parameter, trainable_parameters
from metastyle_hub.networks.transformer_net import NetworkConfig, TransformerNet

NETWORK = NetworkConfig(width=4, residual_blocks=1)
FEATURES = FeatureSpec(
    stages=((4, 6), (8,)), content_tap="relu1_2", style_taps=("relu1_2", "relu2_1"), pool="avg", padding="reflect"
)
QUICK = AdaptationConfig(
    steps=2, crop_size=64, style_size=32, batch_size=1, trainable="all", precision="float32", learning_rate=1e-2,
    norm_learning_rate=5e-2,
)  # fmt: skip


def parameters(
    seed: int = 0, config: NetworkConfig = NETWORK, dtype: torch.dtype = torch.float32, spread: float = 0.3
) -> Parameters:
    """Random parameters in which no norm weight is 1 and no norm bias is 0, so that forgetting either shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        values = TransformerNet(config).parameter_dict()
    return {
        name: (p + spread * torch.randn(p.shape, generator=generator) if is_norm_parameter(name) else p).to(dtype)
        for name, p in values.items()
    }


def random_style(base: MetaStyle, folder: Path, trainable: str = "decoder", seed: int = 0) -> MetaStyle:
    """A style of random values in its own parameters, saved in a folder, whose name is the style's."""
    generator = torch.Generator().manual_seed(seed)
    own = {
        name: p + 0.1 * torch.randn(p.shape, generator=generator)
        for name, p in trainable_parameters(base.state_dict(), trainable).items()
    }
    config = ArtifactConfig(
        kind="style", architecture=base.config.architecture, base_model=BaseReference(base.fingerprint, "unshared"),
        name=folder.name, trainable=trainable, steps=3,
    )  # fmt: skip
    write_files(folder, artifact_files(Artifact(config, own)))
    return base.load_style(folder)


def features(seed: int = 0, spec: FeatureSpec = FEATURES, dtype: torch.dtype = torch.float32) -> FeatureExtractor:
    """A feature extractor of random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return FeatureExtractor(spec, "tiny").to(dtype)


def content(height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    """An image with a gradient, edges and grain: (height, width, 3) uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    pixels = np.stack([x, y, 1 - x], -1) * rng.uniform(0.3, 1, 3)
    for _ in range(4):
        center, radius = rng.uniform(0, 1, 2), rng.uniform(0.05, 0.3)
        pixels[np.hypot(y - center[0], x - center[1]) < radius] = rng.uniform(0, 1, 3)
    pixels = pixels + rng.normal(0, 0.03, pixels.shape)
    return (pixels.clip(0, 1) * 255).round().astype(np.uint8)


def style(height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    """An image that is texture everywhere, colored stripes: (height, width, 3) uint8."""
    rng = np.random.default_rng(1000 + seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x * rng.uniform(0.2, 1) + y * rng.uniform(0.2, 1) + rng.uniform(0, 6)) for _ in range(3)]
    pixels = 0.5 + 0.45 * np.stack(waves, -1) * rng.uniform(0.5, 1, 3)
    return (pixels.clip(0, 1) * 255).round().astype(np.uint8)


def tensor(pixels: np.ndarray, dtype: torch.dtype = torch.float32) -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, H, W) in [0, 1]."""
    return (torch.from_numpy(pixels).permute(2, 0, 1)[None].to(dtype) / 255).contiguous()


def contents(count: int, size: int = 32, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """A batch of images: (count, 3, size, size)."""
    return torch.cat([tensor(content(size, size, seed + i), dtype) for i in range(count)])


def image(pixels: np.ndarray) -> Image.Image:
    """(H, W, 3) uint8 -> a PIL image."""
    return Image.fromarray(pixels)


def same(first: Parameters, second: Parameters) -> bool:
    """Whether two parameter dictionaries are equal bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def changed(first: Parameters, second: Parameters) -> set[str]:
    """The names of the parameters that differ."""
    return {name for name in first if not torch.equal(first[name], second[name])}


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A fresh Python that finds this package, installed or not."""
    path = os.pathsep.join([str(Path(__file__).resolve().parent.parent), os.environ.get("PYTHONPATH", "")])
    variables = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=variables, check=False)
