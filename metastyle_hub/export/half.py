"""Half-precision arithmetic in a graph whose inputs and outputs stay float32."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["half_precision"]

_FLOAT32_INPUTS = {"Resize": (1, 2)}  # of these operators: region and scales


def half_precision(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy that computes in float16.

    Constants in the graph become float16; constants in other files, and inputs, are converted when the graph is loaded
    or run. The last operation of each output is in float32: in eight bits of precision a sigmoid shows as banding.
    """
    half = onnx.ModelProto()
    half.CopyFrom(model)
    graph, casts = half.graph, list[onnx.NodeProto]()
    kept = {node.input[i] for node in graph.node for i in _FLOAT32_INPUTS.get(node.op_type, ()) if i < len(node.input)}
    renamed: dict[str, str] = {}

    def cast(name: str) -> None:
        renamed[name] = f"{name}_half"
        casts.append(helper.make_node("Cast", [name], [renamed[name]], to=TensorProto.FLOAT16))

    for value in graph.input:
        cast(value.name)
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or tensor.name in kept:
            continue
        if tensor.data_location == TensorProto.EXTERNAL:
            cast(tensor.name)
        else:
            values = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    outputs = {value.name for value in graph.output}
    nodes = []
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        if node.op_type == "Cast":  # of constants that are float16 already
            node.attribute[0].i = TensorProto.FLOAT16
        if outputs.intersection(node.output):
            wide = [f"{name}_float" for name in node.input]
            pairs = zip(node.input, wide, strict=True)
            nodes += [helper.make_node("Cast", [name], [other], to=TensorProto.FLOAT) for name, other in pairs]
            node.input[:] = wide
        nodes.append(node)
    del graph.node[:]
    graph.node.extend([*casts, *nodes])
    return half
