"""Operations that ONNX lacks, in operations that it has: gradients of layers, batch norm, a small linear system.

The gradient of a linear operation is its adjoint. Padding, pooling and resizing are separable, y = A^T x B, so the
adjoint is two products with matrices, A g B^T; the matrix of an operation is what it makes of unit vectors. That of a
convolution is a convolution: with respect to its input, of the gradient with the flipped kernel; with respect to its
kernel, of the input with the gradient as a kernel, batch and channels swapped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["DECOMPOSITIONS"]

aten = torch.ops.aten

_Pair = Sequence[int]


def reflection_pad2d_backward(gradient: Tensor, x: Tensor, padding: Sequence[int]) -> Tensor:
    """Gradient of reflection padding: (B, C, H', W') -> (B, C, H, W)."""
    left, right, top, bottom = padding
    rows = aten.reflection_pad2d(_identity(x, x.shape[-2]), [top, bottom, 0, 0])
    return _adjoint(gradient, rows, aten.reflection_pad2d(_identity(x, x.shape[-1]), [left, right, 0, 0]))


def avg_pool2d_backward(
    gradient: Tensor, x: Tensor, kernel: _Pair, stride: _Pair, padding: _Pair, ceil_mode: bool, *rest: Any
) -> Tensor:
    """Gradient of average pooling without padding: (B, C, H', W') -> (B, C, H, W)."""
    if any(padding):
        raise NotImplementedError("average pooling with padding")
    rows, columns = (
        aten.avg_pool2d(
            _identity(x, x.shape[dim]), [1, kernel[dim]], [1, (stride or kernel)[dim]], [0, 0], ceil_mode, *rest
        )
        for dim in (-2, -1)
    )
    return _adjoint(gradient, rows, columns)


def upsample_bilinear2d_backward(
    gradient: Tensor, output_size: _Pair, input_size: Sequence[int], align_corners: bool, *scales: float | None
) -> Tensor:
    """Gradient of bilinear resizing: (B, C, H', W') -> (B, C, H, W)."""
    rows, columns = (
        aten.upsample_bilinear2d(_identity(gradient, n), [n, m], align_corners, 1.0, scale)
        for n, m, scale in zip(input_size[-2:], output_size, scales or (None, None), strict=True)
    )
    return _adjoint(gradient, rows, columns)


def upsample_nearest2d_backward(
    gradient: Tensor, output_size: _Pair, input_size: Sequence[int], *scales: float | None
) -> Tensor:
    """Gradient of nearest resizing: (B, C, H', W') -> (B, C, H, W)."""
    rows, columns = (
        aten.upsample_nearest2d(_identity(gradient, n), [n, m], 1.0, scale)
        for n, m, scale in zip(input_size[-2:], output_size, scales or (None, None), strict=True)
    )
    return _adjoint(gradient, rows, columns)


def convolution_backward(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    bias_sizes: Sequence[int] | None,
    stride: _Pair,
    padding: _Pair,
    dilation: _Pair,
    transposed: bool,
    output_padding: _Pair,
    groups: int,
    output_mask: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of a convolution (B, I, H, W) -> (B, O, H', W') with respect to input, kernel (O, I, k, k) and bias."""
    if transposed or groups != 1 or any(d != 1 for d in dilation):
        raise NotImplementedError("the gradient of a transposed, grouped or dilated convolution")
    kernel, x_gradient, weight_gradient = weight.shape[-2:], None, None
    if output_mask[0] and all(s == 1 for s in stride):
        border = [k - 1 - p for k, p in zip(kernel, padding, strict=True)]
        x_gradient = F.conv2d(gradient, weight.flip(2, 3).transpose(0, 1), padding=border)
    elif output_mask[0]:
        sides = zip(x.shape[-2:], gradient.shape[-2:], kernel, stride, padding, strict=True)
        rest = [n - ((m - 1) * s + k - 2 * p) for n, m, k, s, p in sides]
        x_gradient = F.conv_transpose2d(gradient, weight, None, stride, padding, rest)
    if output_mask[1]:
        swapped = F.conv2d(x.transpose(0, 1), gradient.transpose(0, 1), None, 1, padding, stride)
        weight_gradient = swapped[..., : kernel[0], : kernel[1]].transpose(0, 1)
    return x_gradient, weight_gradient, gradient.sum((0, 2, 3)) if output_mask[2] else None


def native_batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Batch norm by the statistics of the batch; also the mean and the reciprocal standard deviation, (C,)."""
    if not training or running_mean is not None:
        raise NotImplementedError("batch norm with running statistics")
    mean = x.mean((0, 2, 3))
    centered = x - _channels(mean)
    scale = ((centered * centered).mean((0, 2, 3)) + eps).rsqrt()
    y = centered * _channels(scale)
    if weight is not None:
        y = y * _channels(weight)
    return (y if bias is None else y + _channels(bias)), mean, scale


def native_batch_norm_backward(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    mean: Tensor,
    scale: Tensor,
    training: bool,
    eps: float,
    output_mask: Sequence[bool],
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Gradients of batch norm with respect to input, weight and bias."""
    count = x.numel() // x.shape[1]
    normalized = (x - _channels(mean)) * _channels(scale)
    total, correlation = gradient.sum((0, 2, 3)), (gradient * normalized).sum((0, 2, 3))
    factor = scale if weight is None else scale * weight
    centered = gradient - _channels(total / count) - normalized * _channels(correlation / count)
    return centered * _channels(factor), correlation if output_mask[1] else None, total if output_mask[2] else None


def sigmoid_backward(gradient: Tensor, y: Tensor) -> Tensor:
    """Gradient of y = sigmoid(x)."""
    return gradient * y * (1 - y)


def linalg_solve_ex(
    matrix: Tensor, right: Tensor, *, left: bool = True, check_errors: bool = False
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Solve A X = B for positive definite A, (B, n, n) and (B, n, k) -> (B, n, k), by elimination without pivots.

    The other results, which only gradients and checks of errors need, are empty.
    """
    size = matrix.shape[-1]
    both = torch.cat([matrix, right], -1)  # (B, n, n + k)
    for i in range(size):
        row = both[..., i : i + 1, :] / both[..., i : i + 1, i : i + 1]
        # row i itself becomes `row`: p row - (p - 1) row, with p its pivot
        unit = torch.tensor([[float(j == i)] for j in range(size)], dtype=matrix.dtype)
        both = both - (both[..., i : i + 1] - unit) * row
    nothing = matrix.new_empty(0, dtype=torch.int32)
    return both[..., size:], nothing, nothing, nothing


DECOMPOSITIONS: dict[Any, Callable[..., Any]] = {
    aten.reflection_pad2d_backward.default: reflection_pad2d_backward,
    aten.avg_pool2d_backward.default: avg_pool2d_backward,
    aten.upsample_bilinear2d_backward.default: upsample_bilinear2d_backward,
    aten.upsample_nearest2d_backward.default: upsample_nearest2d_backward,
    aten.convolution_backward.default: convolution_backward,
    aten.native_batch_norm.default: native_batch_norm,
    aten.native_batch_norm_backward.default: native_batch_norm_backward,
    aten.sigmoid_backward.default: sigmoid_backward,
    aten._linalg_solve_ex.default: linalg_solve_ex,
}
"""Replacements of operations, for `make_fx`."""


def _identity(like: Tensor, size: int) -> Tensor:
    """The unit vectors as an image (1, 1, n, n): an operation on its columns gives the matrix of that operation."""
    return torch.eye(size, dtype=like.dtype)[None, None]


def _adjoint(gradient: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The adjoint of x -> rows^T x columns, with (1, 1, H, H') and (1, 1, W, W')."""
    return rows[0, 0] @ (gradient @ columns[0, 0].T)


def _channels(x: Tensor) -> Tensor:
    return x[:, None, None]
