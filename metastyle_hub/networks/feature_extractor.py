"""Feature extractors of the perceptual loss: images in, feature maps at named taps out.

`compact` ships with the package: a slim VGG-like network, distilled from VGG-19 by `scripts/distill_features.py`.
`vgg16` (the paper's) and `vgg19` are torchvision's, cut after the last tap; the cut file is cached.

All are one class, a stack of 3x3 convolutions that a `FeatureSpec` describes; a new one is a new entry of `SPECS`.
Input normalization is here and nowhere else.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from metastyle_hub.errors import FeatureExtractorError, first_line
from metastyle_hub.networks.layers import ReflectionConv2d

__all__ = ["SPECS", "FeatureExtractor", "FeatureSpec", "Features", "load_feature_extractor"]

Features = dict[str, Tensor]
"""Feature maps by tap: each (B, C_i, H_i, W_i)."""

_COMPACT = Path(__file__).parents[1] / "pretrained" / "compact.safetensors"
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class FeatureSpec:
    """Architecture of a feature extractor: stages of 3x3 convolutions with ReLU, and a 2x2 pooling between stages.

    The tap `relu{s}_{c}` is the output of ReLU c of stage s, both counted from 1, as in the literature.
    """

    stages: tuple[tuple[int, ...], ...]  # output channels of every convolution, by stage
    content_tap: str  # where content is compared
    style_taps: tuple[str, ...]  # where Gram matrices are compared
    heads: tuple[tuple[str, int], ...] = ()  # (tap, channels): a 1x1 convolution and ReLU on top of that tap
    pool: str = "max"  # "max" or "avg"; Gatys et al. 2016 found average pooling smoother
    padding: Literal["zeros", "reflect"] = "zeros"  # of the convolutions; "reflect" has no border artifacts
    mean: tuple[float, float, float] = _IMAGENET_MEAN  # subtracted from RGB in [0, 1]
    std: tuple[float, float, float] = _IMAGENET_STD  # then divided by

    @property
    def gram_channels(self) -> tuple[int, ...]:
        """The sizes C_i of the Gram matrices (C_i, C_i) of one scale, by style tap."""
        widths = {f"relu{s}_{c}": n for s, stage in enumerate(self.stages, 1) for c, n in enumerate(stage, 1)}
        return tuple((widths | dict(self.heads))[tap] for tap in self.style_taps)


_VGG16 = FeatureSpec(
    stages=((64, 64), (128, 128), (256, 256, 256), (512, 512, 512)),
    content_tap="relu2_2",
    style_taps=("relu1_2", "relu2_2", "relu3_3", "relu4_3"),
)

SPECS: dict[str, FeatureSpec] = {
    "compact": FeatureSpec(
        stages=((32, 32), (64, 64), (128, 128, 128)),
        content_tap="relu2_2",
        style_taps=("relu1_2", "relu2_2", "relu3_3"),
        heads=(("relu1_2", 64), ("relu2_2", 128), ("relu3_3", 256)),
        pool="avg",
        padding="reflect",
        mean=(0.45, 0.45, 0.45),
        std=(0.225, 0.225, 0.225),
    ),
    "vgg16": _VGG16,
    "vgg19": replace(
        _VGG16,
        stages=((64, 64), (128, 128), (256,) * 4, (512,) * 4),
        style_taps=("relu1_2", "relu2_2", "relu3_4", "relu4_4"),
    ),
    # the original weights of Simonyan and Zisserman, with their own normalization: for evaluation and as a teacher
    "vgg19_oxford": FeatureSpec(
        stages=((64, 64), (128, 128), (256,) * 4),
        content_tap="relu2_2",
        style_taps=("relu1_2", "relu2_2", "relu3_4"),
        mean=(123.68 / 255, 116.779 / 255, 103.939 / 255),
        std=(1 / 255,) * 3,
    ),
}


class FeatureExtractor(nn.Module):
    """Images (B, 3, H, W) in [0, 1] -> feature maps at named taps.

    Its parameters never require gradients. Layers are numbered as in torchvision's VGG, whose weights load unchanged.

    >>> extractor = load_feature_extractor("compact")
    >>> extractor(torch.rand(1, 3, 64, 64), ["relu2_2"])["relu2_2"].shape
    torch.Size([1, 128, 32, 32])
    """

    def __init__(self, spec: FeatureSpec, name: str = "") -> None:
        super().__init__()
        self.spec, self.name = spec, name
        layers: list[nn.Module] = []
        self._taps: dict[str, int] = {}
        widths: dict[str, int] = {}
        channels = 3
        for s, stage in enumerate(spec.stages, 1):
            if s > 1:
                layers.append(nn.AvgPool2d(2) if spec.pool == "avg" else nn.MaxPool2d(2))
            for c, width in enumerate(stage, 1):
                layers += [_convolution(channels, width, spec.padding), nn.ReLU()]
                self._taps[f"relu{s}_{c}"], widths[f"relu{s}_{c}"] = len(layers) - 1, width
                channels = width
        self.features = nn.Sequential(*layers)
        self.heads = nn.ModuleDict({tap: nn.Conv2d(widths[tap], n, 1) for tap, n in spec.heads})
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1), persistent=False)
        self.mean: Tensor
        self.std: Tensor
        self.requires_grad_(False).eval().to(memory_format=torch.channels_last)

    @property
    def min_size(self) -> int:
        """The smallest side in pixels of an image that has features at every tap."""
        return 2 ** len(self.spec.stages)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights, and so of the arithmetic."""
        return next(self.parameters()).dtype

    def forward(self, images: Tensor, taps: Iterable[str] | None = None) -> Features:
        """Return the feature maps at `taps` (default: the content and style taps).

        Raises:
            ValueError: for an unknown tap; the message lists the known ones.
        """
        wanted = set(taps if taps is not None else (self.spec.content_tap, *self.spec.style_taps))
        if unknown := wanted - self._taps.keys():
            raise ValueError(f"{self.name} has no tap {sorted(unknown)}; it has {', '.join(self._taps)}.")
        last = max((self._taps[tap] for tap in wanted), default=-1)
        names = {index: tap for tap, index in self._taps.items() if tap in wanted}
        x = ((images - self.mean) / self.std).to(self.dtype)
        x = x.contiguous(memory_format=torch.channels_last)
        maps: Features = {}
        for index, layer in enumerate(self.features[: last + 1]):
            x = layer(x)
            if tap := names.get(index):
                maps[tap] = F.relu(self.heads[tap](x)) if tap in self.heads else x
        return maps


def _convolution(in_channels: int, out_channels: int, padding: str) -> nn.Conv2d:
    if padding == "reflect":
        return ReflectionConv2d(in_channels, out_channels, 3)
    return nn.Conv2d(in_channels, out_channels, 3, padding=1)


def load_feature_extractor(
    name: str = "compact",
    *,
    file: str | os.PathLike[str] | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> FeatureExtractor:
    """Load a feature extractor with its trained weights.

    Args:
        name: "compact" (in the package), "vgg16" or "vgg19" (torchvision's ImageNet weights: the first use downloads
            528 or 548 MB and caches the 30 or 39 MB that are needed; the download stays in `torch.hub`'s cache and may
            be deleted).
        file: a safetensors file of weights to use instead.
        device: where to put the weights.
        dtype: of weights and arithmetic.

    Raises:
        FeatureExtractorError: for an unknown name, or weights that are not available.

    >>> load_feature_extractor().spec.content_tap
    'relu2_2'
    """
    if name not in SPECS:
        raise FeatureExtractorError(f"Unknown feature extractor {name!r}; choose one of {', '.join(SPECS)}.")
    with torch.inference_mode(False):  # weights made in inference mode could not be differentiated through
        return _load(name, file).to(device=device, dtype=dtype)


def _load(name: str, file: str | os.PathLike[str] | None) -> FeatureExtractor:
    with torch.random.fork_rng(devices=()):  # the random initialization must not draw from the caller's generator
        network = FeatureExtractor(SPECS[name], name)
    if file is None and name == "vgg19_oxford":
        raise FeatureExtractorError("vgg19_oxford has no download; pass the file of its weights, or use 'vgg19'.")
    if file is None:
        file = _COMPACT if name == "compact" else _torchvision_weights(name, network)
    try:
        state = {key: value.float() for key, value in load_file(file).items()}
        network.load_state_dict(state, strict=True)
    except Exception as error:
        reason = first_line(error)
        raise FeatureExtractorError(
            f"{file} does not hold the weights of {name} ({reason}); fetch it again."
        ) from error
    return network


def _torchvision_weights(name: str, network: FeatureExtractor) -> Path:
    """Return the cached file with the part of torchvision's VGG that `network` needs; make it on first use."""
    cached = Path(torch.hub.get_dir()) / "metastyle_hub" / f"{name}_features.safetensors"
    if cached.exists():
        return cached
    from torchvision import models

    weights = models.get_model_weights(name).IMAGENET1K_V1
    try:
        full = weights.get_state_dict(progress=True, check_hash=True)
    except Exception as error:  # offline, proxy, interrupted download: the remedy is the same
        reason = first_line(error)
        raise FeatureExtractorError(
            f"The weights of {name} could not be downloaded ({reason}); use feature_extractor='compact'."
        ) from error
    state = {key: full[key].clone() for key in network.state_dict()}
    cached.parent.mkdir(parents=True, exist_ok=True)
    temporary = cached.with_suffix(f".{os.getpid()}.tmp")
    save_file(state, temporary, metadata={"format": "pt"})
    temporary.replace(cached)
    return cached
