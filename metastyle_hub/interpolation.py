"""Interpolation: weighted combinations of the parameters of styles adapted from one base (the paper, section 6).

w = sum_k a_k w_k,   a_k >= 0,   sum_k a_k = 1

Extrapolation leaves out a_k >= 0, on request.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence

from torch import Tensor

from metastyle_hub.errors import InterpolationError
from metastyle_hub.networks.param_groups import Parameters

__all__ = ["check_weights", "interpolate_parameters"]


def check_weights(weights: Sequence[float] | None, count: int, *, convex: bool = True) -> list[float]:
    """Return one weight for each of `count` styles; None gives equal weights.

    Raises:
        InterpolationError: for no style, a wrong number of weights, an infinite one or, if `convex`, a negative one, or
            a sum other than 1.

    >>> check_weights(None, 4)
    [0.25, 0.25, 0.25, 0.25]
    """
    if count == 0:
        raise InterpolationError("There is no style to interpolate; pass at least one.")
    if weights is None:
        return [1 / count] * count
    if not isinstance(weights, Sequence) or not all(isinstance(w, numbers.Real) for w in weights):
        raise InterpolationError(f"weights must be a list of {count} numbers, got {weights!r}.")
    if len(weights) != count:
        raise InterpolationError(f"There are {len(weights)} weights for {count} styles; pass one for each.")
    values = [float(w) for w in weights]
    if not all(math.isfinite(w) and (w >= 0 or not convex) for w in values) or abs(sum(values) - 1) > 1e-6:
        bounds = ">= 0 (or convex=False)" if convex else "finite"
        raise InterpolationError(f"Weights must be {bounds} and sum to 1, got {', '.join(f'{w:g}' for w in values)}.")
    return values


def interpolate_parameters(
    styles: Sequence[Mapping[str, Tensor]], weights: Sequence[float] | None = None, *, convex: bool = True
) -> Parameters:
    """Return sum_k weights_k * styles_k, parameter by parameter. Weights (1, 0) give the first style bit for bit.

    Args:
        styles: parameter dictionaries of the same names and shapes.
        weights: one for each; None for equal weights.
        convex: whether weights below 0 are refused.

    Raises:
        InterpolationError: see `check_weights`; also for different names or shapes.

    >>> interpolate_parameters([{"bias": torch.zeros(2)}, {"bias": torch.ones(2)}], [0.75, 0.25])
    {'bias': tensor([0.2500, 0.2500])}
    """
    values = check_weights(weights, len(styles), convex=convex)
    shapes = [{name: p.shape for name, p in style.items()} for style in styles]
    if any(s != shapes[0] for s in shapes):
        raise InterpolationError("Styles of different architectures cannot be interpolated; adapt them from one base.")
    # zero weights are left out: 0 * inf is not a number, and (1, 0) must be exact
    used = [(style, w) for style, w in zip(styles, values, strict=True) if w]
    if len(used) == 1:
        return {name: p.clone() for name, p in used[0][0].items()}
    total = sum(w for _, w in used)
    mixed: Parameters = {}
    for name in shapes[0]:
        value = used[0][0][name] * (used[0][1] / total)
        for style, w in used[1:]:
            value = value + style[name] * (w / total)
        mixed[name] = value
    return mixed
