"""From a function of tensors to an ONNX graph: `make_fx` records the operations, each becomes one or two ONNX nodes.

`torch.onnx.export` refuses gradients. `make_fx` records them like anything else, after autograd has done its work, as
operations on tensors of known shapes. `decompositions.py` replaces those that ONNX lacks. What is left are some fifty
operations, those of `operations.py`. Common subexpressions are written once, and results that nobody uses are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx
import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from metastyle_hub.export.builder import GraphBuilder
from metastyle_hub.export.decompositions import DECOMPOSITIONS
from metastyle_hub.export.operations import OPERATIONS

__all__ = ["translate"]

_PLACEMENT = ("dtype", "layout", "device", "pin_memory", "memory_format")  # arguments that a graph does not need


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
        NotImplementedError: for an operation that is not in `OPERATIONS`.

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
    builder = GraphBuilder(constants)
    results = _run(recorded, given, builder)
    return builder.model(inputs, outputs, results)


def _run(recorded: fx.GraphModule, given: Sequence[str], builder: GraphBuilder) -> list[tuple[str, tuple[int, ...]]]:
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
            if node.target not in OPERATIONS:
                raise NotImplementedError(f"{node.target} has no translation to ONNX.")
            args, kwargs = (fx.node.map_arg(part, values.__getitem__) for part in (node.args, node.kwargs))
            kwargs = {key: value for key, value in kwargs.items() if key not in _PLACEMENT}
            values[node] = node.meta["name"] = OPERATIONS[node.target](builder, node, *args, **kwargs)
    raise AssertionError("a graph ends with its output")
