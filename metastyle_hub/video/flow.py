"""Follow movement: warp the state of temporal smoothing to the next frame by optical flow.

A moving camera moves everything, so nothing is static and every frame is stylized anew. The flow u from the frame x_t
back to the reference r, by dense inverse search (Kroeger et al., ECCV 2016; OpenCV's DISOpticalFlow), says where each
pixel was:

    r'(p) = r(p + u(p))        reference and output, as they look from the new position
    y'(p) = y(p + u(p))
    v(p)  = min(1, max(0, 1.5 - |u(p) + b(p + u(p))|))    visible: the flow b from r to x_t leads back

Where the two flows disagree by more than 1.5 pixels, a region is occluded or new, and nothing is held. Movement below a
quarter of a pixel is 0, and what is as close without warping is not warped, so that static regions are not resampled
again and again. Where the flow leads to the same thing, it may differ by three times the motion threshold: edges that
are resampled differ by as much. Measurements: docs/experiments.md.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from metastyle_hub.video.temporal import TemporalState, distance

__all__ = ["has_optical_flow", "sample", "warp_state"]

_SMALLEST_SIDE = 32  # pixels, below which the search has no coarse level
_STATIC = 0.25  # pixels
_TOLERANCE = 3.0  # times the motion threshold, of regions that move along with the flow


@cache
def has_optical_flow() -> bool:
    """Return whether OpenCV is installed (the extra `video`)."""
    try:
        import cv2
    except ImportError:
        return False
    return hasattr(cv2, "DISOpticalFlow_create")


def warp_state(previous: TemporalState, frame: Tensor) -> TemporalState:
    """Return the state as it looks in the next frame; the state itself where nothing moves.

    Args:
        previous: reference, output and visibility of the frame before.
        frame: x_t, (1, 3, H, W) in [0, 1].

    Example::

        state = temporal_smoothing(warp_state(state, frame), frame, stylized, 10 / 255, 0.9)
    """
    if previous.reference.shape != frame.shape or min(frame.shape[-2:]) < _SMALLEST_SIDE:
        return previous
    now, before = _gray(frame), _gray(previous.reference)
    if np.array_equal(now, before):
        return previous
    back = _flow(now, before).to(frame)  # (1, 2, H, W)
    back = back * (back.norm(dim=1, keepdim=True) >= _STATIC)
    if not bool(back.any()):
        return previous
    disagreement = back + sample(_flow(before, now).to(frame), back, "bilinear")
    visible = (1.5 - disagreement.norm(dim=1, keepdim=True)).clamp(0, 1)  # (1, 1, H, W)
    both = torch.cat([previous.reference, previous.output], 1)  # (1, 6, H, W)
    reference, output = sample(both, back).clamp(0, 1).split(3, 1)
    static = distance(frame, previous.reference) <= distance(frame, reference)
    return TemporalState(
        torch.where(static, previous.reference, reference),
        torch.where(static, previous.output, output),
        torch.where(static, 1.0, visible),
        torch.where(static, 1.0, _TOLERANCE),
    )


def _gray(image: Tensor) -> np.ndarray[Any, Any]:
    """(1, 3, H, W) in [0, 1] -> (H, W) uint8."""
    luma = torch.tensor([0.299, 0.587, 0.114], dtype=image.dtype, device=image.device).view(3, 1, 1)
    return (image[0] * luma).sum(0).mul(255).round().clamp(0, 255).byte().cpu().numpy()


def _flow(first: np.ndarray[Any, Any], second: np.ndarray[Any, Any]) -> Tensor:
    """Return the movement from the first to the second image, (1, 2, H, W) in pixels, x before y."""
    cv2: Any = importlib.import_module("cv2")  # which states no type for this
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return torch.from_numpy(search.calc(first, second, None)).permute(2, 0, 1)[None]


def sample(image: Tensor, flow: Tensor, mode: str = "bicubic") -> Tensor:
    """Return image(p + flow(p)), (1, C, H, W) for a flow (1, 2, H, W) in pixels; beyond the border its edge."""
    height, width = image.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height).to(flow), torch.arange(width).to(flow), indexing="ij")
    grid = torch.stack([(x + flow[0, 0]) * 2 / (width - 1) - 1, (y + flow[0, 1]) * 2 / (height - 1) - 1], -1)[None]
    return F.grid_sample(image, grid, mode=mode, padding_mode="border", align_corners=True)
