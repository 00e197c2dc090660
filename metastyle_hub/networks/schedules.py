"""Schedules that adaptation, meta-training and the training of baselines share."""

from __future__ import annotations

import math

__all__ = ["average_decay", "cosine_decay"]


def cosine_decay(progress: float, final: float = 0.0) -> float:
    """Return half a cosine, from 1 at progress 0 to `final` at progress 1 and beyond.

    >>> [cosine_decay(progress, final=0.1) for progress in (0, 0.5, 1, 2)]
    [1.0, 0.55, 0.1, 0.1]
    """
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def average_decay(decay: float, updates: int) -> float:
    """Return the decay of a moving average after so many updates: smaller at first, to forget the start.

    >>> average_decay(0.9, 0), average_decay(0.9, 1000)
    (0.1, 0.9)
    """
    return min(decay, (1 + updates) / (10 + updates))
