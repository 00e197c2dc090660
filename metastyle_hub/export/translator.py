"""From a function of tensors to an ONNX graph: `make_fx` records the operations, each becomes one or two ONNX nodes.

`torch.onnx.export` refuses gradients. `make_fx` records them like anything else, after autograd has done its work, as
operations on tensors of known shapes. `decompositions.py` replaces those that ONNX lacks. What is left are some fifty
operations, one function each below. Common subexpressions are written once, and results that nobody uses are left out.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from metastyle_hub.export.decompositions import DECOMPOSITIONS
from metastyle_hub.export.graphs import OPSET
from metastyle_hub.version import __version__

__all__ = ["translate"]

aten = torch.ops.aten

_IR_VERSION = 10  # of ONNX files; what onnxruntime of 2024 reads
_END = 2**63 - 1  # as the end of a slice
_Handler = Callable[..., Any]
_HANDLERS: dict[Any, _Handler] = {}


def translate(
    function: Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], Mapping[str, Tensor]],
    inputs: Mapping[str, Sequence[int]],
    constants: Mapping[str, Tensor],
) -> onnx.ModelProto:
    """Return the graph of a function of float32 tensors.

    Args:
        function: (inputs, constants) -> outputs by name. It may call `torch.autograd.grad`.
        inputs: the shape of each input by name. All sizes are fixed.
        constants: become constants of the graph under their names, in their dtype.

    Raises:
        NotImplementedError: for an operation that is not among those below.

    >>> graph = translate(lambda i, c: {"y": i["x"] @ c["w"]}, {"x": (1, 2)}, {"w": torch.eye(2)})
    >>> [node.op_type for node in graph.graph.node]
    ['MatMul', 'Identity']
    """
    given = [*inputs, *constants]
    outputs: list[str] = []

    def flat(*tensors: Tensor) -> list[Tensor]:
        values = dict(zip(given, tensors, strict=True))
        results = function({n: values[n] for n in inputs}, {n: values[n].float() for n in constants})
        outputs[:] = results
        return list(results.values())

    with torch.inference_mode(False), torch.enable_grad():
        examples = [torch.empty(tuple(shape)) for shape in inputs.values()]
        recorded = make_fx(flat, decomposition_table=DECOMPOSITIONS, tracing_mode="fake")(
            *examples, *(value.detach() for value in constants.values())
        )
    recorded.graph.eliminate_dead_code()
    builder = _Builder()
    for name, value in constants.items():
        builder.initializers[name] = numpy_helper.from_array(value.detach().contiguous().numpy(), name)
    results = _run(recorded, given, builder)
    return builder.model(inputs, outputs, results)


class _Builder:
    """The graph so far. Equal nodes and equal constants exist once."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, TensorProto] = {}
        self._known: dict[Any, list[str]] = {}
        self._reshaped: dict[str, tuple[str, Sequence[int] | None]] = {}  # the input of a Reshape, and its shape

    def constant(self, value: Any, dtype: type = np.float32) -> str:
        """Return the name of a constant with this value."""
        array: np.ndarray = np.asarray(value, dtype)
        key = array.dtype.str, array.shape, array.tobytes()
        if key not in self._known:
            name = f"c{len(self._known)}"
            self.initializers[name] = numpy_helper.from_array(array, name)
            self._known[key] = [name]
        return self._known[key][0]

    def integers(self, *values: int) -> str:
        return self.constant(values, np.int64)

    def reshape(self, x: str, before: Sequence[int] | None, after: Sequence[int]) -> str:
        """Reshape x, of the shape `before` if that is known; of several reshapes in a row the last one is left."""
        x, before = self._reshaped.get(x, (x, before))
        if before is not None and tuple(before) == tuple(after):
            return x
        name = self.node("Reshape", x, self.integers(*after))
        self._reshaped[name] = x, before
        return name

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        return self.multi_node(kind, 1, *inputs, **attributes)[0]

    def multi_node(self, kind: str, count: int, *inputs: str, **attributes: Any) -> list[str]:
        key = kind, inputs, repr(sorted(attributes.items()))
        if key not in self._known:
            names = [f"n{len(self._known)}_{i}" if count > 1 else f"n{len(self._known)}" for i in range(count)]
            self.nodes.append(helper.make_node(kind, inputs, names, **attributes))
            self._known[key] = names
        return self._known[key]

    def model(
        self, inputs: Mapping[str, Sequence[int]], outputs: Sequence[str], results: Sequence[tuple[str, Sequence[int]]]
    ) -> onnx.ModelProto:
        """Return the model, without what does not lead to an output."""
        nodes = [helper.make_node("Identity", [name], [out]) for out, (name, _) in zip(outputs, results, strict=True)]
        needed = {name for node in nodes for name in node.input}
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                needed.update(node.input)
                nodes.append(node)
        graph = helper.make_graph(
            nodes[::-1],
            "metastyle_hub",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
            [
                helper.make_tensor_value_info(out, TensorProto.FLOAT, shape)
                for out, (_, shape) in zip(outputs, results, strict=True)
            ],
            [tensor for name, tensor in self.initializers.items() if name in needed],
        )
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
        model.producer_name, model.producer_version = "metastyle_hub", __version__
        return model


def _run(recorded: fx.GraphModule, given: Sequence[str], builder: _Builder) -> list[tuple[str, tuple[int, ...]]]:
    """Translate all operations; return name and shape of the results."""
    names, values = iter(given), dict[fx.Node, Any]()
    for node in recorded.graph.nodes:
        if node.op == "placeholder":
            values[node] = node.meta["name"] = next(names)
        elif node.op == "get_attr":
            values[node] = builder.constant(getattr(recorded, node.target).numpy())
        elif node.op == "output":
            return [(values[result], tuple(result.meta["val"].shape)) for result in node.args[0]]
        else:
            if node.target not in _HANDLERS:
                raise NotImplementedError(f"{node.target} has no translation to ONNX.")
            args, kwargs = (fx.node.map_arg(part, values.__getitem__) for part in (node.args, node.kwargs))
            kwargs = {key: value for key, value in kwargs.items() if key not in _PLACEMENT}
            values[node] = node.meta["name"] = _HANDLERS[node.target](builder, node, *args, **kwargs)
    raise AssertionError("a graph ends with its output")


_PLACEMENT = ("dtype", "layout", "device", "pin_memory", "memory_format")


def _operation(*targets: Any) -> Callable[[_Handler], _Handler]:
    def register(handler: _Handler) -> _Handler:
        _HANDLERS.update(dict.fromkeys(targets, handler))
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
    _HANDLERS[_target] = lambda b, node, x, kind=_kind: b.node(kind, x)


def _operand(b: _Builder, x: str | float) -> str:
    return x if isinstance(x, str) else b.constant(x)


@_operation(aten.add.Tensor, aten.add.Scalar)
def _add(b: _Builder, node: fx.Node, x: str, y: str | float, alpha: float = 1) -> str:
    return b.node("Add", x, _scaled(b, y, alpha))


@_operation(aten.sub.Tensor, aten.sub.Scalar)
def _sub(b: _Builder, node: fx.Node, x: str, y: str | float, alpha: float = 1) -> str:
    return b.node("Sub", x, _scaled(b, y, alpha))


@_operation(aten.rsub.Scalar)
def _rsub(b: _Builder, node: fx.Node, x: str, y: float, alpha: float = 1) -> str:
    return b.node("Sub", b.constant(y), _scaled(b, x, alpha))


def _scaled(b: _Builder, x: str | float, alpha: float) -> str:
    if not isinstance(x, str):
        return b.constant(x * alpha)
    return x if alpha == 1 else b.node("Mul", x, b.constant(alpha))


@_operation(aten.mul.Tensor, aten.mul.Scalar)
def _mul(b: _Builder, node: fx.Node, x: str, y: str | float) -> str:
    return b.node("Mul", x, _operand(b, y))


@_operation(aten.div.Tensor, aten.div.Scalar)
def _div(b: _Builder, node: fx.Node, x: str, y: str | float) -> str:
    return b.node("Div", x, _operand(b, y))


@_operation(aten.pow.Tensor_Scalar)
def _pow(b: _Builder, node: fx.Node, x: str, exponent: float) -> str:
    if exponent == 1:
        return x
    return b.node("Mul", x, x) if exponent == 2 else b.node("Pow", x, b.constant(exponent))


@_operation(aten.rsqrt.default)
def _rsqrt(b: _Builder, node: fx.Node, x: str) -> str:
    return b.node("Reciprocal", b.node("Sqrt", x))


@_operation(aten.clamp.default)
def _clamp(b: _Builder, node: fx.Node, x: str, low: float | None = None, high: float | None = None) -> str:
    bounds = ["" if bound is None else b.constant(bound) for bound in (low, high)]
    return b.node("Clip", x, *bounds)


@_operation(aten.eq.Scalar)
def _eq(b: _Builder, node: fx.Node, x: str, value: float) -> str:
    return b.node("Equal", x, b.constant(value))


# in place: of a gradient that nothing else has seen
@_operation(aten.masked_fill.Scalar, aten.masked_fill_.Scalar)
def _masked_fill(b: _Builder, node: fx.Node, x: str, mask: str, value: float) -> str:
    return b.node("Where", mask, b.constant(value), x)


@_operation(aten.threshold_backward.default)
def _threshold_backward(b: _Builder, node: fx.Node, gradient: str, y: str, threshold: float) -> str:
    if threshold:
        raise NotImplementedError("the gradient of a threshold other than 0")
    # 0 or 1: bool masks leave the GPU in onnxruntime-web
    return b.node("Mul", gradient, b.node("HardSigmoid", y, alpha=1e30, beta=0.0))


# ---- shapes


@_operation(
    aten.alias.default, aten.clone.default, aten.detach.default, aten.detach_.default, aten.lift_fresh_copy.default
)
def _identity(b: _Builder, node: fx.Node, x: str) -> str:
    return x


@_operation(aten._to_copy.default)
def _to_copy(b: _Builder, node: fx.Node, x: str) -> str:
    types = {torch.float32: TensorProto.FLOAT, torch.float16: TensorProto.FLOAT16}
    before, after = node.args[0].meta["val"].dtype, node.meta["val"].dtype  # type: ignore[union-attr]
    return x if before == after else b.node("Cast", x, to=types[after])


_VIEWS = (
    aten.view.default, aten._unsafe_view.default, aten.reshape.default, aten.squeeze.dim, aten.unsqueeze.default
)  # fmt: skip


@_operation(*_VIEWS)
def _view(b: _Builder, node: fx.Node, x: str, *_: Any) -> str:
    return b.reshape(x, _shape(node.args[0]), _shape(node))


@_operation(aten.expand.default)
def _expand(b: _Builder, node: fx.Node, x: str, *_: Any) -> str:
    return x if _shape(node) == _shape(node.args[0]) else b.node("Expand", x, b.integers(*_shape(node)))


@_operation(aten.repeat.default)
def _repeat(b: _Builder, node: fx.Node, x: str, counts: Sequence[int]) -> str:
    padded = (1,) * (len(counts) - len(_shape(node.args[0]))) + _shape(node.args[0])
    x = b.reshape(x, _shape(node.args[0]), padded)
    return b.node("Tile", x, b.integers(*counts)) if any(n != 1 for n in counts) else x


@_operation(aten.permute.default)
def _permute(b: _Builder, node: fx.Node, x: str, dims: Sequence[int]) -> str:
    return b.node("Transpose", x, perm=[d % len(dims) for d in dims])


@_operation(aten.transpose.int)
def _transpose(b: _Builder, node: fx.Node, x: str, first: int, second: int) -> str:
    dims = list(range(len(_shape(node))))
    dims[first], dims[second] = dims[second], dims[first]
    return b.node("Transpose", x, perm=dims)


@_operation(aten.t.default)
def _t(b: _Builder, node: fx.Node, x: str) -> str:
    return b.node("Transpose", x, perm=[1, 0])


@_operation(aten.cat.default)
def _cat(b: _Builder, node: fx.Node, tensors: Sequence[str], dim: int = 0) -> str:
    return b.node("Concat", *tensors, axis=dim)


@_operation(aten.stack.default)
def _stack(b: _Builder, node: fx.Node, tensors: Sequence[str], dim: int = 0) -> str:
    shape = list(_shape(node))
    shape[dim] = 1
    return b.node("Concat", *(b.reshape(x, None, shape) for x in tensors), axis=dim)


@_operation(aten.split_with_sizes.default)
def _split(b: _Builder, node: fx.Node, x: str, sizes: Sequence[int], dim: int = 0) -> list[str]:
    return b.multi_node("Split", len(sizes), x, b.integers(*sizes), axis=dim)


@_operation(operator.getitem)
def _getitem(b: _Builder, node: fx.Node, values: Sequence[str], index: int) -> str:
    return values[index]


@_operation(aten.slice.Tensor)
def _slice(
    b: _Builder, node: fx.Node, x: str, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> str:
    if _shape(node) == _shape(node.args[0]):
        return x
    bounds = (b.integers(i) for i in (start or 0, _END if end is None else end, dim, step))
    return b.node("Slice", x, *bounds)


@_operation(aten.slice_backward.default)
def _slice_backward(
    b: _Builder, node: fx.Node, x: str, shape: Sequence[int], dim: int, start: int, end: int, step: int
) -> str:
    if step != 1:
        raise NotImplementedError("the gradient of a slice with steps")
    length, dim = _shape(node.args[0])[dim], dim % len(shape)
    start = max(0, start + shape[dim] if start < 0 else start)
    pads = [0] * (2 * len(shape))
    pads[dim], pads[dim + len(shape)] = start, shape[dim] - start - length
    return b.node("Pad", x, b.integers(*pads)) if any(pads) else x


@_operation(aten.select.int)
def _select(b: _Builder, node: fx.Node, x: str, dim: int, index: int) -> str:
    end = _END if index == -1 else index + 1
    part = b.node("Slice", x, *(b.integers(i) for i in (index, end, dim, 1)))
    return b.reshape(part, None, _shape(node))


@_operation(aten.flip.default)
def _flip(b: _Builder, node: fx.Node, x: str, dims: Sequence[int]) -> str:
    ones = [-1] * len(dims)
    return b.node("Slice", x, *(b.integers(*part) for part in (ones, [-_END] * len(dims), dims, ones)))


@_operation(aten.eye.default)
def _eye(b: _Builder, node: fx.Node, size: int) -> str:
    return b.node("EyeLike", b.node("ConstantOfShape", b.integers(size, size)))


@_operation(aten.ones_like.default)
def _ones_like(b: _Builder, node: fx.Node, x: str) -> str:
    return b.node("Expand", b.constant(1), b.integers(*_shape(node)))


# ---- sums and products


@_operation(aten.sum.dim_IntList)
def _sum(b: _Builder, node: fx.Node, x: str, dims: Sequence[int], keepdim: bool = False) -> str:
    return b.node("ReduceSum", x, b.integers(*dims), keepdims=int(keepdim))


@_operation(aten.mean.dim)
def _mean(b: _Builder, node: fx.Node, x: str, dims: Sequence[int], keepdim: bool = False) -> str:
    return b.node("ReduceMean", x, b.integers(*dims), keepdims=int(keepdim))


@_operation(aten.sum.default)
def _sum_of_all(b: _Builder, node: fx.Node, x: str) -> str:
    return b.node("ReduceSum", x, keepdims=0)


@_operation(aten.mean.default)
def _mean_of_all(b: _Builder, node: fx.Node, x: str) -> str:
    return b.node("ReduceMean", x, keepdims=0)


@_operation(aten.linalg_vector_norm.default)
def _vector_norm(
    b: _Builder, node: fx.Node, x: str, order: float = 2, dims: Sequence[int] = (), keepdim: bool = False
) -> str:
    if order != 2:
        raise NotImplementedError("a norm other than the Euclidean one")
    return b.node("ReduceL2", x, b.integers(*dims), keepdims=int(keepdim))


@_operation(aten.mm.default, aten.bmm.default)
def _matmul(b: _Builder, node: fx.Node, x: str, y: str) -> str:
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
    b: _Builder,
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
def _reflection_pad(b: _Builder, node: fx.Node, x: str, padding: Sequence[int]) -> str:
    left, right, top, bottom = padding
    return b.node("Pad", x, b.integers(0, 0, top, left, 0, 0, bottom, right), mode="reflect")


@_operation(aten.constant_pad_nd.default)
def _constant_pad(b: _Builder, node: fx.Node, x: str, padding: Sequence[int], value: float = 0) -> str:
    rank = len(_shape(node))
    before, after = [0] * rank, [0] * rank
    for i in range(len(padding) // 2):  # the last dimension comes first
        before[rank - 1 - i], after[rank - 1 - i] = padding[2 * i : 2 * i + 2]
    return b.node("Pad", x, b.integers(*before, *after), b.constant(value))


@_operation(aten.avg_pool2d.default)
def _avg_pool(
    b: _Builder,
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
def _upsample(b: _Builder, node: fx.Node, x: str, size: Sequence[int], *rest: Any) -> str:
    bilinear = node.target == aten.upsample_bilinear2d.default
    if bilinear and rest and rest[0]:
        raise NotImplementedError("bilinear resizing with aligned corners")
    scales = [n / m for n, m in zip(_shape(node), _shape(node.args[0]), strict=True)]
    how = {"mode": "linear"} if bilinear else {"mode": "nearest", "nearest_mode": "floor"}
    transformation = "half_pixel" if bilinear else "asymmetric"
    return b.node("Resize", x, "", b.constant(scales), coordinate_transformation_mode=transformation, **how)


# the empty results of a decomposition, and the check of them
@_operation(aten.new_empty.default, aten._linalg_check_errors.default)
def _nothing(b: _Builder, node: fx.Node, *_: Any, **__: Any) -> None:
    return None
