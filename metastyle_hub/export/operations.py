"""The operations of PyTorch that a step of adaptation consists of, as ONNX nodes: one function each.

A function gets the graph in the making, the recorded operation with its shapes, and its arguments: a tensor is the name
of its value in the graph. It returns the name of the result.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from onnx import TensorProto
from torch import fx

from metastyle_hub.export.builder import GraphBuilder

__all__ = ["OPERATIONS", "Operation"]

Operation = Callable[..., Any]
OPERATIONS: dict[Any, Operation] = {}
"""The functions by the target of an operation; `getitem` takes one of several results."""

aten = torch.ops.aten

_END = 2**63 - 1  # as the end of a slice


def _operation(*targets: Any) -> Callable[[Operation], Operation]:
    def register(handler: Operation) -> Operation:
        OPERATIONS.update(dict.fromkeys(targets, handler))
        return handler

    return register


def _shape(node: Any) -> tuple[int, ...]:
    return tuple(node.meta["val"].shape)


# ---- elementwise

for _target, _kind in {
    aten.log.default: "Log",
    aten.neg.default: "Neg",
    aten.relu.default: "Relu",
    aten.sigmoid.default: "Sigmoid",
    aten.sqrt.default: "Sqrt",
}.items():
    OPERATIONS[_target] = lambda b, node, x, kind=_kind: b.node(kind, x)


@_operation(aten.add.Tensor, aten.add.Scalar)
def _add(b: GraphBuilder, node: fx.Node, x: str, y: str | float, alpha: float = 1) -> str:
    return b.node("Add", x, _scaled(b, y, alpha))


@_operation(aten.sub.Tensor, aten.sub.Scalar)
def _sub(b: GraphBuilder, node: fx.Node, x: str, y: str | float, alpha: float = 1) -> str:
    return b.node("Sub", x, _scaled(b, y, alpha))


@_operation(aten.rsub.Scalar)
def _rsub(b: GraphBuilder, node: fx.Node, x: str, y: float, alpha: float = 1) -> str:
    return b.node("Sub", b.constant(y), _scaled(b, x, alpha))


def _scaled(b: GraphBuilder, x: str | float, alpha: float = 1) -> str:
    if not isinstance(x, str):
        return b.constant(x * alpha)
    return x if alpha == 1 else b.node("Mul", x, b.constant(alpha))


@_operation(aten.mul.Tensor, aten.mul.Scalar)
def _mul(b: GraphBuilder, node: fx.Node, x: str, y: str | float) -> str:
    return b.node("Mul", x, _scaled(b, y))


@_operation(aten.div.Tensor, aten.div.Scalar)
def _div(b: GraphBuilder, node: fx.Node, x: str, y: str | float) -> str:
    return b.node("Div", x, _scaled(b, y))


@_operation(aten.pow.Tensor_Scalar)
def _pow(b: GraphBuilder, node: fx.Node, x: str, exponent: float) -> str:
    if exponent == 1:
        return x
    return b.node("Mul", x, x) if exponent == 2 else b.node("Pow", x, b.constant(exponent))


@_operation(aten.rsqrt.default)
def _rsqrt(b: GraphBuilder, node: fx.Node, x: str) -> str:
    return b.node("Reciprocal", b.node("Sqrt", x))


@_operation(aten.clamp.default)
def _clamp(b: GraphBuilder, node: fx.Node, x: str, low: float | None = None, high: float | None = None) -> str:
    bounds = ["" if bound is None else b.constant(bound) for bound in (low, high)]
    return b.node("Clip", x, *bounds)


@_operation(aten.eq.Scalar)
def _eq(b: GraphBuilder, node: fx.Node, x: str, value: float) -> str:
    return b.node("Equal", x, b.constant(value))


# in place: of a gradient that nothing else has seen
@_operation(aten.masked_fill.Scalar, aten.masked_fill_.Scalar)
def _masked_fill(b: GraphBuilder, node: fx.Node, x: str, mask: str, value: float) -> str:
    return b.node("Where", mask, b.constant(value), x)


@_operation(aten.threshold_backward.default)
def _threshold_backward(b: GraphBuilder, node: fx.Node, gradient: str, y: str, threshold: float) -> str:
    if threshold:
        raise NotImplementedError("the gradient of a threshold other than 0")
    # 0 or 1: bool masks leave the GPU in onnxruntime-web
    return b.node("Mul", gradient, b.node("HardSigmoid", y, alpha=1e30, beta=0.0))


# ---- shapes


@_operation(
    aten.alias.default, aten.clone.default, aten.detach.default, aten.detach_.default, aten.lift_fresh_copy.default
)
def _identity(b: GraphBuilder, node: fx.Node, x: str) -> str:
    return x


@_operation(aten._to_copy.default)
def _to_copy(b: GraphBuilder, node: fx.Node, x: str) -> str:
    types = {torch.float32: TensorProto.FLOAT, torch.float16: TensorProto.FLOAT16}
    before, after = node.args[0].meta["val"].dtype, node.meta["val"].dtype  # type: ignore[union-attr]
    return x if before == after else b.node("Cast", x, to=types[after])


_VIEWS = (
    aten.view.default, aten._unsafe_view.default, aten.reshape.default, aten.squeeze.dim, aten.unsqueeze.default
)  # fmt: skip


@_operation(*_VIEWS)
def _view(b: GraphBuilder, node: fx.Node, x: str, *_: Any) -> str:
    return b.reshape(x, _shape(node.args[0]), _shape(node))


@_operation(aten.expand.default)
def _expand(b: GraphBuilder, node: fx.Node, x: str, *_: Any) -> str:
    return x if _shape(node) == _shape(node.args[0]) else b.node("Expand", x, b.integers(*_shape(node)))


@_operation(aten.repeat.default)
def _repeat(b: GraphBuilder, node: fx.Node, x: str, counts: Sequence[int]) -> str:
    padded = (1,) * (len(counts) - len(_shape(node.args[0]))) + _shape(node.args[0])
    x = b.reshape(x, _shape(node.args[0]), padded)
    return b.node("Tile", x, b.integers(*counts)) if any(n != 1 for n in counts) else x


@_operation(aten.permute.default)
def _permute(b: GraphBuilder, node: fx.Node, x: str, dims: Sequence[int]) -> str:
    return b.node("Transpose", x, perm=[d % len(dims) for d in dims])


@_operation(aten.transpose.int, aten.t.default)
def _transpose(b: GraphBuilder, node: fx.Node, x: str, first: int = 0, second: int = 1) -> str:
    dims = list(range(len(_shape(node))))
    dims[first], dims[second] = dims[second], dims[first]
    return b.node("Transpose", x, perm=dims)


@_operation(aten.cat.default)
def _cat(b: GraphBuilder, node: fx.Node, tensors: Sequence[str], dim: int = 0) -> str:
    return b.node("Concat", *tensors, axis=dim)


@_operation(aten.stack.default)
def _stack(b: GraphBuilder, node: fx.Node, tensors: Sequence[str], dim: int = 0) -> str:
    shape = list(_shape(node))
    shape[dim] = 1
    return b.node("Concat", *(b.reshape(x, None, shape) for x in tensors), axis=dim)


@_operation(aten.split_with_sizes.default)
def _split(b: GraphBuilder, node: fx.Node, x: str, sizes: Sequence[int], dim: int = 0) -> list[str]:
    return b.multi_node("Split", len(sizes), x, b.integers(*sizes), axis=dim)


@_operation(operator.getitem)
def _getitem(b: GraphBuilder, node: fx.Node, values: Sequence[str], index: int) -> str:
    return values[index]


@_operation(aten.slice.Tensor)
def _slice(
    b: GraphBuilder,
    node: fx.Node,
    x: str,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> str:
    if _shape(node) == _shape(node.args[0]):
        return x
    bounds = (b.integers(i) for i in (start or 0, _END if end is None else end, dim, step))
    return b.node("Slice", x, *bounds)


@_operation(aten.slice_backward.default)
def _slice_backward(
    b: GraphBuilder, node: fx.Node, x: str, shape: Sequence[int], dim: int, start: int, end: int, step: int
) -> str:
    if step != 1:
        raise NotImplementedError("the gradient of a slice with steps")
    length, dim = _shape(node.args[0])[dim], dim % len(shape)
    start = max(0, start + shape[dim] if start < 0 else start)
    pads = [0] * (2 * len(shape))
    pads[dim], pads[dim + len(shape)] = start, shape[dim] - start - length
    return b.node("Pad", x, b.integers(*pads)) if any(pads) else x


@_operation(aten.select.int)
def _select(b: GraphBuilder, node: fx.Node, x: str, dim: int, index: int) -> str:
    end = _END if index == -1 else index + 1
    part = b.node("Slice", x, *(b.integers(i) for i in (index, end, dim, 1)))
    return b.reshape(part, None, _shape(node))


@_operation(aten.flip.default)
def _flip(b: GraphBuilder, node: fx.Node, x: str, dims: Sequence[int]) -> str:
    ones = [-1] * len(dims)
    return b.node("Slice", x, *(b.integers(*part) for part in (ones, [-_END] * len(dims), dims, ones)))


@_operation(aten.eye.default)
def _eye(b: GraphBuilder, node: fx.Node, size: int) -> str:
    return b.node("EyeLike", b.node("ConstantOfShape", b.integers(size, size)))


@_operation(aten.ones_like.default)
def _ones_like(b: GraphBuilder, node: fx.Node, x: str) -> str:
    return b.node("Expand", b.constant(1), b.integers(*_shape(node)))


# ---- sums and products


_REDUCTIONS: dict[Any, str] = {
    aten.sum.dim_IntList: "ReduceSum",
    aten.sum.default: "ReduceSum",
    aten.mean.dim: "ReduceMean",
    aten.mean.default: "ReduceMean",
}


@_operation(*_REDUCTIONS)
def _reduce(b: GraphBuilder, node: fx.Node, x: str, dims: Sequence[int] = (), keepdim: bool = False) -> str:
    axes = [b.integers(*dims)] if dims else []  # without axes over all
    return b.node(_REDUCTIONS[node.target], x, *axes, keepdims=int(keepdim))


@_operation(aten.linalg_vector_norm.default)
def _vector_norm(
    b: GraphBuilder, node: fx.Node, x: str, order: float = 2, dims: Sequence[int] = (), keepdim: bool = False
) -> str:
    if order != 2:
        raise NotImplementedError("a norm other than the Euclidean one")
    return b.node("ReduceL2", x, b.integers(*dims), keepdims=int(keepdim))


@_operation(aten.mm.default, aten.bmm.default)
def _matmul(b: GraphBuilder, node: fx.Node, x: str, y: str) -> str:
    # PyTorch expands one matrix to a batch of equal ones; MatMul broadcasts it
    first: Any = node.args[0]
    while isinstance(first, fx.Node) and first.target in (*_VIEWS, aten.expand.default):
        first = first.args[0]
        if _shape(first) == _shape(node.args[0])[-2:]:
            return b.node("MatMul", first.meta["name"], y)
    return b.node("MatMul", x, y)


# ---- layers


@_operation(aten.convolution.default)
def _convolution(
    b: GraphBuilder,
    node: fx.Node,
    x: str,
    weight: str,
    bias: str | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> str:
    more = {"output_padding": list(output_padding)} if transposed else {}
    return b.node(
        "ConvTranspose" if transposed else "Conv",
        *(x, weight) if bias is None else (x, weight, bias),
        kernel_shape=list(_shape(node.args[1])[2:]),
        strides=list(stride),
        pads=[*padding, *padding],
        dilations=list(dilation),
        group=groups,
        **more,
    )


@_operation(aten.reflection_pad2d.default)
def _reflection_pad(b: GraphBuilder, node: fx.Node, x: str, padding: Sequence[int]) -> str:
    left, right, top, bottom = padding
    return b.node("Pad", x, b.integers(0, 0, top, left, 0, 0, bottom, right), mode="reflect")


@_operation(aten.constant_pad_nd.default)
def _constant_pad(b: GraphBuilder, node: fx.Node, x: str, padding: Sequence[int], value: float = 0) -> str:
    rank = len(_shape(node))
    before, after = [0] * rank, [0] * rank
    for i in range(len(padding) // 2):  # the last dimension comes first
        before[rank - 1 - i], after[rank - 1 - i] = padding[2 * i : 2 * i + 2]
    return b.node("Pad", x, b.integers(*before, *after), b.constant(value))


@_operation(aten.avg_pool2d.default)
def _avg_pool(
    b: GraphBuilder,
    node: fx.Node,
    x: str,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0, 0),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> str:
    if any(padding) or divisor_override:
        raise NotImplementedError("average pooling with padding or another divisor")
    return b.node("AveragePool", x, kernel_shape=list(kernel), strides=list(stride or kernel), ceil_mode=int(ceil_mode))


@_operation(aten.upsample_bilinear2d.default, aten.upsample_nearest2d.default)
def _upsample(b: GraphBuilder, node: fx.Node, x: str, size: Sequence[int], *rest: Any) -> str:
    bilinear = node.target == aten.upsample_bilinear2d.default
    if bilinear and rest and rest[0]:
        raise NotImplementedError("bilinear resizing with aligned corners")
    scales = [n / m for n, m in zip(_shape(node), _shape(node.args[0]), strict=True)]
    how = {"mode": "linear"} if bilinear else {"mode": "nearest", "nearest_mode": "floor"}
    transformation = "half_pixel" if bilinear else "asymmetric"
    return b.node("Resize", x, "", b.constant(scales), coordinate_transformation_mode=transformation, **how)


# the empty results of a decomposition, and the check of them
@_operation(aten.new_empty.default, aten._linalg_check_errors.default)
def _nothing(b: GraphBuilder, node: fx.Node, *_: Any, **__: Any) -> None:
    return None
