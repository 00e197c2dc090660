"""Decompositions give what the operations that they replace give, in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from metastyle_hub.export.decompositions import DECOMPOSITIONS

X, W = (2, 3, 12, 10), (4, 3, 3, 3)

# function, shapes of its inputs
CASES: dict[str, tuple[Callable[..., Tensor], tuple[tuple[int, ...], ...]]] = {
    "reflection": (lambda x: F.pad(x, (4,) * 4, mode="reflect"), (X,)),
    "reflection, uneven": (lambda x: F.pad(x, (2, 1, 3, 0), mode="reflect"), (X,)),
    "pooling": (lambda x: F.avg_pool2d(x, 2), (X,)),
    "pooling, rounded up": (lambda x: F.avg_pool2d(x, 2, ceil_mode=True), ((2, 3, 11, 7),)),
    "pooling of a part": (lambda x: F.avg_pool2d(x, 16, ceil_mode=True), ((1, 3, 20, 40),)),
    "pooling with overlap": (lambda x: F.avg_pool2d(x, 4, 1), (X,)),
    "bilinear": (lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), (X,)),
    "bilinear to a size": (lambda x: F.interpolate(x, (17, 11), mode="bilinear"), (X,)),
    "bilinear, aligned": (lambda x: F.interpolate(x, (17, 11), mode="bilinear", align_corners=True), (X,)),
    "nearest": (lambda x: F.interpolate(x, scale_factor=2), (X,)),
    "convolution": (F.conv2d, (X, W, (4,))),
    "convolution without bias": (F.conv2d, (X, W)),
    "convolution, padded": (lambda x, w, b: F.conv2d(x, w, b, padding=1), (X, W, (4,))),
    "convolution, 9 x 9": (F.conv2d, (X, (4, 3, 9, 9), (4,))),
    "convolution, 1 x 1": (F.conv2d, (X, (4, 3, 1, 1), (4,))),
    "convolution with stride": (lambda x, w, b: F.conv2d(x, w, b, stride=2), (X, W, (4,))),
    "convolution with stride, odd": (lambda x, w, b: F.conv2d(x, w, b, stride=2), ((2, 3, 11, 13), W, (4,))),
    "batch norm": (lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True), (X, (3,), (3,))),
    "batch norm without bias": (lambda x, w: F.batch_norm(x, None, None, w, training=True), (X, (3,))),
    "instance norm": (lambda x, w, b: F.instance_norm(x, weight=w, bias=b), (X, (3,), (3,))),
    "instance norm without weight": (F.instance_norm, (X,)),
    "sigmoid": (torch.sigmoid, (X,)),
}


def recorded(function: Callable[..., Tensor], inputs: list[Tensor]) -> torch.fx.GraphModule:
    return make_fx(function, decomposition_table=DECOMPOSITIONS, tracing_mode="fake")(*inputs)


def with_gradients(function: Callable[..., Tensor]) -> Callable[..., list[Tensor]]:
    def run(*inputs: Tensor) -> list[Tensor]:
        leaves = [x.detach().requires_grad_() for x in inputs]
        y = function(*leaves)
        weights = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view(y.shape)
        return [y, *torch.autograd.grad((y * y * weights).sum(), leaves)]

    return run


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name):
    function, shapes = CASES[name]
    torch.manual_seed(0)
    inputs = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
    graph = recorded(with_gradients(function), inputs)
    assert not {node.target for node in graph.graph.nodes} & DECOMPOSITIONS.keys()
    for value, expected in zip(graph(*inputs), with_gradients(function)(*inputs), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-10)


def test_linear_systems():
    torch.manual_seed(0)
    points, right = torch.randn(3, 20, 5, dtype=torch.float64), torch.randn(3, 5, 9, dtype=torch.float64)
    matrix = points.mT @ points
    graph = recorded(torch.linalg.solve, [matrix, right])
    torch.testing.assert_close(graph(matrix, right), torch.linalg.solve(matrix, right), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.avg_pool2d(x, 3, padding=1),
        lambda x: F.conv2d(x, x.new_ones(3, 1, 3, 3), groups=3),
        lambda x: F.conv2d(x, x.new_ones(3, 3, 3, 3), dilation=2),
        lambda x: F.batch_norm(x, x.new_zeros(3), x.new_ones(3)),
    ],
)
def test_cases_that_are_not_covered_are_refused(function):
    with pytest.raises(NotImplementedError):
        recorded(with_gradients(function), [torch.randn(X)])
