"""Each operation in onnxruntime gives what it gives in PyTorch; equal expressions are computed once."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

pytest.importorskip("onnxruntime", reason="onnx is not installed: pip install '.[export]'")

from metastyle_hub.export.check import run_graph
from metastyle_hub.export.translator import translate

X, Y = (2, 3, 8, 6), (2, 3, 8, 6)
Function = Callable[..., Tensor]


def gradient(function: Function) -> Function:
    """The gradient of the mean square of a function."""

    def run(*inputs: Tensor) -> Tensor:
        leaves = [x.detach().requires_grad_() for x in inputs]
        mean = function(*leaves).square().mean()
        return torch.cat([g.reshape(-1) for g in torch.autograd.grad(mean, leaves)])

    return run


# function, shapes of its inputs
CASES: dict[str, tuple[Function, tuple[tuple[int, ...], ...]]] = {
    "add": (lambda x, y: torch.add(x, y, alpha=3) + 1, (X, (3, 1, 6))),
    "sub": (lambda x, y: torch.sub(x, y, alpha=0.5) - 2, (X, (6,))),
    "rsub": (lambda x: 1 - x, (X,)),
    "mul": (lambda x, y: x * y * 0.3, (X, (8, 1))),
    "div": (lambda x, y: x / (y * y + 1) / 3, (X, Y)),
    "pow": (lambda x: (x**2 + 1) ** 1.5 + x**1, (X,)),
    "roots": (lambda x: (x * x + 1).sqrt() + (x * x + 2).rsqrt(), (X,)),
    "log": (lambda x: -(x * x + 1).log(), (X,)),
    "clamp": (lambda x: x.clamp(-0.2, 0.5) + x.clamp(min=0.1) + x.clamp(max=0.3), (X,)),
    "relu": (F.relu, (X,)),
    "sigmoid": (torch.sigmoid, (X,)),
    "masked_fill": (lambda x: x.relu().masked_fill(x.relu() == 0, 7.0), (X,)),
    "views": (lambda x: x.view(6, 48).reshape(3, 2, 8, 6).flatten(1, 2).unsqueeze(1).squeeze(1), (X,)),
    "expand": (lambda x: x[None].expand(4, 3, 6) * 1.0, ((3, 6),)),
    "repeat": (lambda x: x.repeat(2, 3, 1), ((3, 6),)),
    "transposes": (lambda x: x.permute(0, 2, 3, 1).transpose(-1, 1), (X,)),
    "matrix transpose": (lambda x: x.t() @ x, ((4, 3),)),
    "cat": (lambda x, y: torch.cat([x, y], -3), (X, (2, 1, 8, 6))),
    "stack": (lambda x, y: torch.stack([x, y], 1), (X, Y)),
    "split": (lambda x: torch.cat(x.split([1, 5, 2], 2)[::-1], 2), (X,)),
    "slices": (lambda x: x[1:, :, 2:-1, ::2] + x[:1, 1:2, -5:, :3], (X,)),
    "select": (lambda x: x[1] + x[-1, 0] + x[..., -2:-1] * x[0, 2, 5, 1], (X,)),
    "flip": (lambda x: x.flip(2, 3) - x.flip(0), (X,)),
    "eye": (lambda x: x + torch.eye(6), ((6, 6),)),
    "ones_like": (lambda x: torch.ones_like(x) - x, (X,)),
    "sums": (lambda x: x.sum((0, 2)) + x.sum((0, 2, 3), keepdim=True).view(3, 1) + x.sum(), (X,)),
    "means": (lambda x: x.mean((2, 3), keepdim=True) + x.mean(), (X,)),
    "norm": (lambda x: torch.linalg.vector_norm(x, dim=1), (X,)),
    "matrices": (lambda x, y: x @ y, ((4, 7), (7, 5))),
    "batches of matrices": (lambda x, y: x.mT @ y, ((2, 7, 4), (2, 7, 5))),
    "matrix and batch": (lambda x, y: x @ y, ((4, 8), X)),
    "batch and matrix": (lambda x, y: x @ y, (X, (6, 5))),
    "linear system": (lambda x, y: torch.linalg.solve(x @ x.mT + torch.eye(3), y), ((2, 3, 5), (2, 3, 4))),
    "convolution": (lambda x, w, b: F.conv2d(x, w, b, 2, 1), (X, (4, 3, 3, 3), (4,))),
    "large kernel": (F.conv2d, ((1, 3, 11, 12), (4, 3, 9, 9))),
    "constant padding": (lambda x: F.pad(x, (1, 2, 3, 0), value=0.5), (X,)),
    "reflection": (lambda x: F.pad(x, (1, 2, 3, 0), mode="reflect"), (X,)),
    "pooling": (lambda x: F.avg_pool2d(x, 2, ceil_mode=True), ((2, 3, 7, 9),)),
    "pooling of a part": (lambda x: F.avg_pool2d(x, 16, ceil_mode=True), ((1, 3, 20, 36),)),
    "pooling with overlap": (lambda x: F.avg_pool2d(x, 4, 1), (X,)),
    "bilinear": (lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), (X,)),
    "nearest": (lambda x: F.interpolate(x, scale_factor=2), (X,)),
    "instance norm": (lambda x, w, b: F.instance_norm(x, weight=w, bias=b), (X, (3,), (3,))),
}
NO_GRADIENT = {"clamp", "slices", "select", "linear system", "constant padding"}  # nothing here differentiates them


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name):
    function, shapes = CASES[name]
    functions = {"value": function} | ({} if name in NO_GRADIENT else {"gradient": gradient(function)})
    torch.manual_seed(0)
    inputs = {f"x{i}": torch.randn(shape) for i, shape in enumerate(shapes)}

    def named(given: Mapping[str, Tensor], constants: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {key: f(*given.values()) for key, f in functions.items()}

    graph = translate(named, {name: x.shape for name, x in inputs.items()}, {})
    found = run_graph(graph.SerializeToString(), inputs)
    for key, expected in named(inputs, {}).items():
        assert found[key].shape == expected.shape
        # float32, sums of up to a thousand terms in another order
        torch.testing.assert_close(found[key], expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_the_gradient_of_a_norm_of_zeros_is_zero():
    graph = translate(lambda i, c: {"y": gradient(CASES["norm"][0])(i["x"])}, {"x": X}, {})
    zeros = run_graph(graph.SerializeToString(), {"x": torch.zeros(X)})["y"]
    assert torch.equal(zeros, torch.zeros_like(zeros))


def test_equal_expressions_and_constants_are_there_once_and_unused_ones_are_not():
    def function(i: Mapping[str, Tensor], c: Mapping[str, Tensor]) -> dict[str, Tensor]:
        unused = i["x"].exp() if False else i["x"].sigmoid() @ c["w"]
        assert unused.shape == (2, 2)
        return {"y": (i["x"] * 2).relu() + (i["x"] * 2).relu() @ c["w"], "z": c["w"] + 2}

    graph = translate(function, {"x": (2, 2)}, {"w": torch.eye(2), "v": torch.eye(2)}).graph
    assert sorted(node.op_type for node in graph.node) == [
        "Add",
        "Add",
        "Identity",
        "Identity",
        "MatMul",
        "Mul",
        "Relu",
    ]
    assert len(graph.initializer) == 2 and "w" in {tensor.name for tensor in graph.initializer}


def test_constants_keep_their_type_and_are_used_in_float32():
    graph = translate(lambda i, c: {"y": i["x"] @ c["w"]}, {"x": (2, 2)}, {"w": torch.eye(2).half() / 3})
    (weight,) = graph.graph.initializer
    assert (weight.name, weight.data_type) == ("w", 10)  # FLOAT16
    found = run_graph(graph.SerializeToString(), {"x": torch.ones(2, 2)})["y"]
    assert torch.equal(found, (torch.ones(2, 2).half() / 3).float())


def test_unknown_operations_are_named():
    with pytest.raises(NotImplementedError, match=r"aten\.erf"):
        translate(lambda i, c: {"y": torch.erf(i["x"])}, {"x": (2, 2)}, {})
