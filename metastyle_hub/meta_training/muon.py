"""Muon: steps of equal length in every direction of a weight matrix (Jordan et al. 2024, "Muon").

    m_t = mu m_{t-1} + g_t,     u = g_t + mu m_t,     W <- W - rate * 0.2 sqrt(max(rows, columns)) * orth(u)

orth(u) = U V^T for u = U S V^T: the nearest orthogonal matrix. Gradients of convolutions are nearly of low rank, and
Adam's steps with them; what few styles need would wait for long. The factor gives a step the root mean square of an
Adam step, about 0.2 rate, so that both take the same learning rate (Liu et al. 2025, "Muon is scalable").
`torch.optim.Muon` does the same for matrices only; this takes convolutions, (out, in, k, k) as (out, in k k).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

__all__ = ["Muon", "has_directions", "orthogonal"]

_POLYNOMIAL = (
    3.4445,
    -4.7750,
    2.0315,
)  # of Newton and Schulz, steepest at 0: singular values of 0.01 reach 0.7 in five


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised. For weights of two or more dimensions; the rest belongs to another optimiser.

    >>> Muon(p for p in network.parameters() if p.ndim == 4)
    """

    def __init__(self, params: Iterable[Tensor] | Iterable[dict[str, Any]], lr: float = 1e-3, momentum: float = 0.95):
        super().__init__(params, {"lr": lr, "momentum": momentum})
        if flat := [tuple(p.shape) for group in self.param_groups for p in group["params"] if p.ndim < 2]:
            raise ValueError(
                f"Muon moves matrices and convolutions, not a parameter of shape {flat[0]}; use Adam there."
            )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step along the gradients in `.grad`."""
        value = None
        if closure is not None:
            with torch.enable_grad():
                value = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                state["momentum"].mul_(group["momentum"]).add_(p.grad)
                update = (p.grad + group["momentum"] * state["momentum"]).flatten(1)  # (out, in k k)
                length = 0.2 * max(update.shape) ** 0.5
                p.sub_(group["lr"] * length * orthogonal(update).view_as(p))
        return value


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """U V^T of matrix = U S V^T, by Newton-Schulz steps: (m, n) -> (m, n) with singular values from about 0.7 to 1.2.

    Far cheaper than an SVD, and that near to 1 is near enough for a step.
    """
    a, b, c = _POLYNOMIAL
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = wide / (wide.norm() + 1e-7)  # singular values in [0, 1], where the polynomial contracts
    for _ in range(steps):
        square = x @ x.T  # (min(m, n), min(m, n))
        x = a * x + (b * square + c * square @ square) @ x
    return x if wide is matrix else x.T


def has_directions(parameter: Tensor, least: int = 16) -> bool:
    """Whether a parameter is a matrix with directions enough, as norms, biases and the last convolution are not."""
    return parameter.ndim >= 2 and min(parameter.shape[0], parameter[0].numel()) >= least
