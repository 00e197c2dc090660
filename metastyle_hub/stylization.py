"""Stylising pictures of any size: padded to what the network needs, and in tiles when they are large."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from metastyle_hub.images import crop_back, pad_to_multiple
from metastyle_hub.network import transform

__all__ = ["stylize_tensor"]


@torch.no_grad()
def stylize_tensor(network: nn.Module, parameters: Mapping[str, Tensor], images: Tensor) -> Tensor:
    """M(images; parameters) for any size: (B, 3, H, W) in [0, 1] -> the same shape and range."""
    padded, padding = pad_to_multiple(images)
    return crop_back(transform(network, parameters, padded), padding).clone()
