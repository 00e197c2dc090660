"""Muon on convolution kernels: `torch.optim.Muon` (Jordan et al. 2024) takes matrices; a kernel is one, (out, in k k).

    m_t = mu m_{t-1} + g_t,     u = g_t + mu m_t,     W <- W - lr * 0.2 sqrt(max(rows, columns)) * orth(u)

orth(u) = U V^T for u = U S V^T. Gradients of kernels are nearly of low rank, and so are Adam's steps; what few styles
need would take many steps. The factor gives a step the RMS of an Adam step (Liu et al. 2025), so both optimizers
take the same learning rate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["KernelMuon", "is_kernel"]

_MIN_RANK = 16


def is_kernel(parameter: Tensor) -> bool:
    """Return whether a parameter is a matrix of at least rank 16, which norms, biases and the last convolution are not.

    >>> is_kernel(torch.zeros(64, 32, 3, 3)), is_kernel(torch.zeros(3, 32, 9, 9))
    (True, False)
    """
    return parameter.ndim >= 2 and min(parameter.shape[0], parameter[0].numel()) >= _MIN_RANK


class KernelMuon(torch.optim.Muon):
    """`torch.optim.Muon` on matrix views of kernels, without weight decay.

    Args:
        kernels: parameters of two or more dimensions; gradients are read from their `.grad`.
        lr: learning rate, comparable to Adam's.
        **group: further entries of the parameter group.

    Raises:
        ValueError: for a parameter of fewer than two dimensions.

    >>> optimizer = KernelMuon(p for p in TransformerNet().parameters() if is_kernel(p))
    """

    def __init__(self, kernels: Iterable[Tensor], lr: float = 1e-3, **group: Any) -> None:
        self.kernels = list(kernels)
        if flat := [tuple(p.shape) for p in self.kernels if p.ndim < 2]:
            raise ValueError(f"Muon takes matrices and kernels, not a parameter of shape {flat[0]}; use Adam for it.")
        matrices = [nn.Parameter(_as_matrix(p.detach())) for p in self.kernels]
        super().__init__([{"params": matrices, **group}], lr=lr, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")  # type: ignore[arg-type]

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:  # type: ignore[override]
        """Take one step along the gradients in `.grad` of the kernels; kernels without one stay unchanged."""
        value = None
        if closure is not None:
            with torch.enable_grad():
                value = closure()
        for kernel, matrix in zip(self.kernels, self.param_groups[0]["params"], strict=True):
            matrix.grad = None if kernel.grad is None else _as_matrix(kernel.grad, like=kernel)
        super().step()
        return value


def _as_matrix(tensor: Tensor, like: Tensor | None = None) -> Tensor:
    """(out, in, k, k) -> (out, in k k), as a view of `like`'s memory format.

    The order of the columns does not matter to an orthogonalization, so channels-last kernels are not copied.
    """
    layout = tensor if like is None else like
    if layout.ndim == 4 and layout.is_contiguous(memory_format=torch.channels_last) and not layout.is_contiguous():
        tensor = tensor.permute(0, 2, 3, 1)
    return tensor.flatten(1)
