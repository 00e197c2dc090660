"""What WebGPU cannot run, in nodes that it can.

A shader may have eight storage buffers (WebGPU's `maxStorageBuffersPerShaderStage`), and onnxruntime gives one to each
output of a Split; it splits a Concat with many inputs itself.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

__all__ = ["slice_wide_splits"]

_MOST_OUTPUTS = 4


def slice_wide_splits(model: onnx.ModelProto) -> None:
    """Replace every Split with more than four outputs, of constant sizes, by one Slice for each output; in place."""
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    constants |= {node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant"}
    nodes: list[onnx.NodeProto] = []
    added: dict[str, int] = {}
    for node in graph.node:
        if node.op_type != "Split" or len(node.output) <= _MOST_OUTPUTS:
            nodes.append(node)
            continue
        sizes = numpy_helper.to_array(constants[node.input[1]])
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
        ends = np.cumsum(sizes)
        for output, start, end in zip(node.output, ends - sizes, ends, strict=True):
            bounds = [f"slice_bound_{value}" for value in (start, end, axis)]
            added |= dict(zip(bounds, (start, end, axis), strict=True))
            nodes.append(helper.make_node("Slice", [node.input[0], *bounds], [output]))
    graph.initializer.extend(numpy_helper.from_array(np.array([v], np.int64), name) for name, v in added.items())
    del graph.node[:]
    graph.node.extend(nodes)
