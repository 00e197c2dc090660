"""What keeps still places of a film still.

A network paints every frame anew, and what a camera and a codec add to a still wall, two or three levels of noise,
comes out as strokes that boil. Where a frame is what the one before it was, the painting of then is held:

    d_t = |x_t - r_{t-1}|, mean over 5 x 5 pixels           how far the frame is from what is held
    h_t = hold * max(0, 1 - d_t / still)                    how much of it stays
    y_t = (1 - h_t) M(x_t) + h_t y_{t-1}                    what is shown
    r_t = (1 - h_t) x_t    + h_t r_{t-1}                    the frame that it belongs to

As r goes the way that y goes, nothing lags behind by more than `still`: what moves, or lights up, or is cut to, is new.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Held", "steadied"]

_WINDOW = 5  # pixels a side over which noise is averaged


@dataclass(frozen=True)
class Held:
    """What is shown, and the frame that it belongs to: (1, 3, H, W) in [0, 1] each."""

    frame: Tensor
    shown: Tensor


def steadied(before: Held | None, frame: Tensor, painted: Tensor, still: float, hold: float) -> Held:
    """The next picture to show.

    Args:
        frame: x_t, (1, 3, H, W) in [0, 1].
        painted: M(x_t), of that size.
        still: the distance, 0 to 1, from which on nothing is held; 0 holds nothing at all.
        hold: the share that stays where nothing changes at all, 0 to 1.

    >>> held = steadied(None, frame, painted, still=10 / 255, hold=0.9)
    >>> held = steadied(held, next_frame, next_painted, still=10 / 255, hold=0.9)
    """
    if before is None or not still or before.frame.shape != frame.shape:
        return Held(frame, painted)
    distance = (frame - before.frame).abs().amax(1, keepdim=True)  # (1, 1, H, W)
    margin = _WINDOW // 2
    distance = F.avg_pool2d(F.pad(distance, 4 * (margin,), mode="replicate"), _WINDOW, 1)
    stays = hold * (1 - distance / still).clamp(min=0)
    return Held(torch.lerp(frame, before.frame, stays), torch.lerp(painted, before.shown, stays))
