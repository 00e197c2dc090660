"""Fidelity: whether the base is free of style, that is, whether its unadapted output returns the photo."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from metastyle_hub.networks.transformer_net import transform
from metastyle_hub.networks.param_groups import Parameters

__all__ = ["Fidelity", "fidelity", "psnr"]


@dataclass(frozen=True)
class Fidelity:
    """How well the unadapted output returns the photo (the base's step 0), in decibels of PSNR."""

    photos: int
    mean: float
    least: float
    above_20: float  # share of the photos
    above_24: float


@torch.no_grad()
def fidelity(network: nn.Module, theta: Parameters, contents: Tensor) -> Fidelity:
    """The PSNR of M(contents; theta) against the contents (B, 3, H, W) in [0, 1].

    >>> fidelity(TransformerNet(), base.parameters, photos).mean
    """
    values = torch.cat([psnr(transform(network, theta, photo[None]), photo[None]) for photo in contents]).cpu()
    above = [float((values > limit).float().mean()) for limit in (20, 24)]
    return Fidelity(len(values), float(values.mean()), float(values.min()), *above)


def psnr(images: Tensor, reference: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in decibels, per picture: (B, 3, H, W) twice in [0, 1] -> (B,)."""
    error = (images - reference).square().flatten(1).mean(1)
    return -10 * torch.log10(error.clamp_min(1e-10))
