"""Feature networks: the eyes of the perceptual loss. Named taps in, feature maps out.

`compact` ships with the package: a slim VGG-like network distilled from VGG-19 by `scripts/distill_features.py`.
`vgg16` (the paper's) and `vgg19` are torchvision's, cut after the last tap and cached as that slice.

All are one class, a stack of 3x3 convolutions described by a `FeatureSpec`; a new one is a new entry in `SPECS`.
Input normalisation lives here and nowhere else.
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

from metastyle_hub.errors import MetaStyleError, first_line
from metastyle_hub.padding import ReflectionConv2d

__all__ = ["SPECS", "FeatureNetwork", "FeatureSpec", "FeaturesError", "feature_names", "load_features"]

Features = dict[str, Tensor]
"""Feature maps by tap name: each (B, C_i, H_i, W_i)."""

_PRETRAINED = Path(__file__).parent / "pretrained"
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class FeaturesError(MetaStyleError, ValueError):
    """A feature network cannot be had; the message says which, why, and what to use instead."""


@dataclass(frozen=True)
class FeatureSpec:
    """A feature network: stages of 3x3 convolutions with ReLU, a 2x2 pooling between stages.

    The tap `relu{s}_{c}` is the output of the c-th ReLU of stage s, both counted from 1 as in the literature.
    """

    stages: tuple[tuple[int, ...], ...]  # output channels of every convolution, stage by stage
    content_tap: str  # where content is compared
    style_taps: tuple[str, ...]  # where Gram matrices are compared
    heads: tuple[tuple[str, int], ...] = ()  # (tap, channels): a 1x1 convolution and ReLU read out at that tap
    pool: str = "max"  # "max" or "avg"; Gatys et al. 2016 found that averages give smoother pictures
    padding: Literal["zeros", "reflect"] = "zeros"  # of the convolutions; "reflect" leaves no dark frame
    mean: tuple[float, float, float] = _IMAGENET_MEAN  # subtracted from RGB in [0, 1]
    std: tuple[float, float, float] = _IMAGENET_STD  # then divided by


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
    # the original weights of Simonyan and Zisserman, which expect another normalisation; a judge and a teacher
    "vgg19_oxford": FeatureSpec(
        stages=((64, 64), (128, 128), (256,) * 4),
        content_tap="relu2_2",
        style_taps=("relu1_2", "relu2_2", "relu3_4"),
        mean=(123.68 / 255, 116.779 / 255, 103.939 / 255),
        std=(1 / 255,) * 3,
    ),
}


class FeatureNetwork(nn.Module):
    """Pictures (B, 3, H, W) in [0, 1] -> feature maps at named taps.

    Its parameters never ask for gradients. Layers are numbered as in torchvision's VGG, whose weights load as they are.

    >>> features = load_features("compact")
    >>> maps = features(images, features.spec.style_taps)      # {"relu1_2": (B, 32, H, W), ...}
    """

    def __init__(self, spec: FeatureSpec, name: str = "") -> None:
        super().__init__()
        self.spec, self.name = spec, name
        layers: list[nn.Module] = []
        self._taps: dict[str, int] = {}
        channels = 3
        for s, stage in enumerate(spec.stages, 1):
            if s > 1:
                layers.append(nn.AvgPool2d(2) if spec.pool == "avg" else nn.MaxPool2d(2))
            for c, width in enumerate(stage, 1):
                layers += [_convolution(channels, width, spec.padding), nn.ReLU()]
                self._taps[f"relu{s}_{c}"] = len(layers) - 1
                channels = width
        self.features = nn.Sequential(*layers)
        widths = {f"relu{s}_{c}": w for s, stage in enumerate(spec.stages, 1) for c, w in enumerate(stage, 1)}
        self.heads = nn.ModuleDict({tap: nn.Conv2d(widths[tap], n, 1) for tap, n in spec.heads})
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1), persistent=False)
        self.mean: Tensor
        self.std: Tensor
        self.requires_grad_(False).eval().to(memory_format=torch.channels_last)

    @property
    def least_size(self) -> int:
        """The least side in pixels of a picture that has features at every tap."""
        return 2 ** len(self.spec.stages)

    def forward(self, images: Tensor, taps: Iterable[str] | None = None) -> Features:
        """The maps at `taps` (default: content and style taps), in the arithmetic of the network's own dtype.

        Raises:
            ValueError: when a tap does not exist; the message lists those that do.
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

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the arithmetic, that of the weights."""
        return next(self.parameters()).dtype


def _convolution(inputs: int, outputs: int, padding: str) -> nn.Conv2d:
    return ReflectionConv2d(inputs, outputs, 3) if padding == "reflect" else nn.Conv2d(inputs, outputs, 3, padding=1)


def feature_names() -> tuple[str, ...]:
    """The names that `load_features` accepts."""
    return tuple(SPECS)


def load_features(
    name: str = "compact",
    *,
    file: str | os.PathLike[str] | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> FeatureNetwork:
    """A feature network with its trained weights, ready on `device`.

    Args:
        name: "compact" (in the package), "vgg16" or "vgg19" (torchvision's ImageNet weights; the first use
            downloads 528 or 548 MB and writes the slice that is needed, 30 or 39 MB, which is all that later uses
            read; the whole file stays in `torch.hub`'s cache beside it and may be deleted).
        file: a safetensors file with the weights, instead of the usual place.

    Raises:
        FeaturesError: an unknown name, or weights that cannot be had on this machine.
    """
    if name not in SPECS:
        raise FeaturesError(f"Unknown feature network {name!r}; choose one of {', '.join(SPECS)}.")
    with torch.inference_mode(False):  # made in a caller's inference mode, it could never be differentiated through
        return _load_features(name, file).to(device=device, dtype=dtype)


def _load_features(name: str, file: str | os.PathLike[str] | None) -> FeatureNetwork:
    with torch.random.fork_rng(devices=()):  # the random start, soon forgotten, is none of the caller's draws
        network = FeatureNetwork(SPECS[name], name)
    if file is None and name == "vgg19_oxford":
        raise FeaturesError("vgg19_oxford has no download of its own; name the file of its weights, or use 'vgg19'.")
    if file is None:
        file = _PRETRAINED / "compact.safetensors" if name == "compact" else _torchvision_slice(name, network)
    try:
        state = {key: value.float() for key, value in load_file(file).items()}
        network.load_state_dict(state, strict=True)
    except Exception as error:
        raise FeaturesError(f"{file} does not hold the weights of {name}: {first_line(error)}.") from error
    return network


def _torchvision_slice(name: str, network: FeatureNetwork) -> Path:
    """The cached slice of torchvision's VGG that `network` needs, made on first use."""
    cached = Path(torch.hub.get_dir()) / "metastyle_hub" / f"{name}_features.safetensors"
    if cached.exists():
        return cached
    from torchvision import models

    weights = models.get_model_weights(name).IMAGENET1K_V1
    try:
        full = weights.get_state_dict(progress=True, check_hash=True)
    except Exception as error:  # offline, a proxy, a broken download: all end the same way for the user
        raise FeaturesError(
            f"The weights of {name} could not be downloaded ({first_line(error)}); features='compact' is in the "
            "package."
        ) from error
    state = {key: full[key].clone() for key in network.state_dict()}
    cached.parent.mkdir(parents=True, exist_ok=True)
    aside = cached.with_suffix(f".{os.getpid()}.tmp")
    save_file(state, aside, metadata={"format": "pt"})
    aside.replace(cached)
    return cached
