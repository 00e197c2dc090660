"""Fidelity: how well the unadapted output of a base reproduces the content image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from metastyle_hub.networks.param_groups import Parameters
from metastyle_hub.networks.transformer_net import transform

__all__ = ["Fidelity", "fidelity", "psnr"]


@dataclass(frozen=True)
class Fidelity:
    """PSNR in decibels of the base's step 0 against the content images."""

    images: int
    mean: float
    least: float
    above_20: float  # share of the images
    above_24: float


@torch.no_grad()
def fidelity(network: nn.Module, theta: Parameters, contents: Tensor) -> Fidelity:
    """Return the PSNR of M(contents; theta) against the contents (B, 3, H, W) in [0, 1].

    Example::

        fidelity(TransformerNet(), base.state_dict(), contents).mean
    """
    values = torch.cat([psnr(transform(network, theta, image[None]), image[None]) for image in contents]).cpu()  # (B,)
    above_20, above_24 = (float((values > limit).float().mean()) for limit in (20, 24))
    return Fidelity(len(values), float(values.mean()), float(values.min()), above_20, above_24)


def psnr(images: Tensor, reference: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio in decibels of every image: (B, 3, H, W) in [0, 1] twice -> (B,)."""
    error = (images - reference).square().flatten(1).mean(1)
    return -10 * torch.log10(error.clamp_min(1e-10))
