"""Temporal smoothing: what is static in a video stays static in its stylized version.

The network stylizes every frame independently, so the two or three levels of noise that a camera and a codec add to a
static wall become flickering strokes. Where a frame equals the one before it, the earlier output is blended in:

    d_t = |x_t - r_{t-1}|, mean over 5 x 5 pixels           distance of the frame from the reference
    h_t = blend * max(0, 1 - d_t / motion_threshold)        weight of the earlier output
    y_t = (1 - h_t) M(x_t) + h_t y_{t-1}                    output
    r_t = (1 - h_t) x_t    + h_t r_{t-1}                    reference: the frame that the output belongs to

Since r is updated with the same weights as y, the output never lags behind by more than the motion threshold: moving
regions, changes of light and cuts are new at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["TemporalState", "temporal_smoothing"]

_WINDOW = 5  # pixels a side over which noise is averaged


@dataclass(frozen=True)
class TemporalState:
    """The output, and the reference frame that it belongs to: (1, 3, H, W) in [0, 1] each."""

    reference: Tensor
    output: Tensor


def temporal_smoothing(
    previous: TemporalState | None, frame: Tensor, stylized: Tensor, motion_threshold: float, blend: float
) -> TemporalState:
    """Return the next state, whose output is the frame to show.

    Args:
        previous: the state of the frame before; None for the first.
        frame: x_t, (1, 3, H, W) in [0, 1].
        stylized: M(x_t), of the same shape.
        motion_threshold: distance in [0, 1] from which on a region counts as moving; 0 disables smoothing.
        blend: weight of the earlier output where nothing changes, 0 to 1.

    >>> state = temporal_smoothing(None, content, stylized, motion_threshold=10 / 255, blend=0.9)
    >>> state = temporal_smoothing(state, content, content, motion_threshold=10 / 255, blend=0.9)
    >>> torch.allclose(state.output, 0.9 * stylized + 0.1 * content)
    True
    """
    if previous is None or not motion_threshold or previous.reference.shape != frame.shape:
        return TemporalState(frame, stylized)
    distance = (frame - previous.reference).abs().amax(1, keepdim=True)  # (1, 1, H, W)
    margin = _WINDOW // 2
    distance = F.avg_pool2d(F.pad(distance, 4 * (margin,), mode="replicate"), _WINDOW, 1)
    weight = blend * (1 - distance / motion_threshold).clamp(min=0)
    return TemporalState(torch.lerp(frame, previous.reference, weight), torch.lerp(stylized, previous.output, weight))
