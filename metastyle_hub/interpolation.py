"""Interpolation: a convex combination of the parameters of styles adapted from one base (the paper, section 6)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from metastyle_hub.errors import MetaStyleError
from metastyle_hub.parameters import Parameters

__all__ = ["InterpolationError", "check_weights", "combine"]


class InterpolationError(MetaStyleError, ValueError):
    """Weights that are no convex combination, or styles that do not share a base."""


def check_weights(weights: Sequence[float], count: int) -> list[float]:
    """The weights as floats, one for each of `count` styles.

    Raises:
        InterpolationError: a wrong number of weights, a negative or non-finite one, or a sum that is not 1.
    """
    if count == 0 or len(weights) != count:
        raise InterpolationError(
            f"{count} styles need {count} weights, at least one of each, got {len(weights)} weights."
        )
    values = [float(w) for w in weights]
    if not all(math.isfinite(w) and w >= 0 for w in values) or abs(sum(values) - 1) > 1e-6:
        raise InterpolationError(f"Weights must be >= 0 and sum to 1, got {', '.join(f'{w:g}' for w in values)}.")
    return values


def combine(styles: Sequence[Mapping[str, Tensor]], weights: Sequence[float]) -> Parameters:
    """sum_k weights_k * styles_k, parameter by parameter. Weights (1, 0) give the first style bit for bit.

    >>> middle = combine([starry, wave], [0.5, 0.5])

    Raises:
        InterpolationError: see `check_weights`; or parameters of different names or shapes.
    """
    values = check_weights(weights, len(styles))
    shapes = [{name: p.shape for name, p in style.items()} for style in styles]
    if any(s != shapes[0] for s in shapes):
        raise InterpolationError("Only styles of one architecture can be combined; these have different parameters.")
    # zero weights are left out: 0 * inf is not a number, and (1, 0) must be exact
    used = [(style, w) for style, w in zip(styles, values, strict=True) if w > 0]
    if len(used) == 1:
        return {name: p.clone() for name, p in used[0][0].items()}
    total = sum(w for _, w in used)
    result: Parameters = {}
    for name in shapes[0]:
        mixed = used[0][0][name] * (used[0][1] / total)
        for style, w in used[1:]:
            mixed = mixed + style[name] * (w / total)
        result[name] = mixed
    return result
