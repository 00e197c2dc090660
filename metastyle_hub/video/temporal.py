"""Temporal smoothing: what is static in a video stays static in its stylized version.

The network stylizes every frame independently, so the two or three levels of noise that a camera and a codec add to a
static wall become flickering strokes. Where a frame equals the one before it, the earlier output is blended in:

    d_t = |x_t - r_{t-1}|, mean over 5 x 5 pixels           distance of the frame from the reference
    h_t = blend * max(0, 1 - d_t / motion_threshold)        weight of the earlier output
    y_t = (1 - h_t) M(x_t) + h_t y_{t-1}                    output
    r_t = (1 - h_t) x_t    + h_t r_{t-1}                    reference: the frame that the output belongs to

Since r is updated with the same weights as y, the output never lags behind by more than the motion threshold: moving
regions, changes of light and cuts are new at once. Regions that move along the optical flow are held too:
`flow.warp_state` moves r and y, and allows a greater distance.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["TemporalState", "distance", "temporal_smoothing"]

_WINDOW = 5  # pixels a side over which noise is averaged


@dataclass(frozen=True)
class TemporalState:
    """The output, and the reference frame that it belongs to: (1, 3, H, W) in [0, 1] each."""

    reference: Tensor
    output: Tensor
    visible: Tensor | float = 1.0  # (1, 1, H, W) in [0, 1], 0 where nothing is to be held
    tolerance: Tensor | float = 1.0  # (1, 1, H, W), a factor of the motion threshold


def temporal_smoothing(
    previous: TemporalState | None, frame: Tensor, stylized: Tensor, motion_threshold: float, blend: float
) -> TemporalState:
    """Return the next state, whose output is the frame to show.

    Args:
        previous: the state of the frame before, which `flow.warp_state` may have moved; None for the first.
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
    threshold = motion_threshold * previous.tolerance
    weight = blend * previous.visible * (1 - distance(frame, previous.reference) / threshold).clamp(min=0)
    return TemporalState(torch.lerp(frame, previous.reference, weight), torch.lerp(stylized, previous.output, weight))


def distance(frame: Tensor, reference: Tensor) -> Tensor:
    """Return d_t, (1, 1, H, W): the difference of the most different channel, averaged over 5 x 5 pixels."""
    margin = _WINDOW // 2
    difference = (frame - reference).abs().amax(1, keepdim=True)
    return F.avg_pool2d(F.pad(difference, 4 * (margin,), mode="replicate"), _WINDOW, 1)
