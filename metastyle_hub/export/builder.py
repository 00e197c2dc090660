"""An ONNX graph in the making: equal nodes and equal constants exist once, unused ones are left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from metastyle_hub.version import __version__

__all__ = ["OPSET", "GraphBuilder"]

OPSET = 18  # of ONNX
_IR_VERSION = 10  # of ONNX files; what onnxruntime of 2024 reads


class GraphBuilder:
    """The nodes and constants so far.

    Args:
        constants: tensors that keep their names and types.
    """

    def __init__(self, constants: Mapping[str, Tensor]) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._initializers = {
            name: numpy_helper.from_array(value.detach().contiguous().numpy(), name)
            for name, value in constants.items()
        }
        self._known: dict[Any, list[str]] = {}
        self._reshaped: dict[str, tuple[str, Sequence[int] | None]] = {}  # the input of a Reshape, and its shape

    def constant(self, value: Any, dtype: type = np.float32) -> str:
        """Return the name of a constant with this value."""
        array: np.ndarray = np.asarray(value, dtype)
        key = array.dtype.str, array.shape, array.tobytes()
        if key not in self._known:
            name = f"c{len(self._known)}"
            self._initializers[name] = numpy_helper.from_array(array, name)
            self._known[key] = [name]
        return self._known[key][0]

    def integers(self, *values: int) -> str:
        """Return the name of a constant list of integers."""
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
        """Return the name of the result of a node; an equal one that is there already serves."""
        return self.multi_node(kind, 1, *inputs, **attributes)[0]

    def multi_node(self, kind: str, count: int, *inputs: str, **attributes: Any) -> list[str]:
        """Return the names of the results of a node with several."""
        key = kind, inputs, repr(sorted(attributes.items()))
        if key not in self._known:
            names = [f"n{len(self._known)}_{i}" if count > 1 else f"n{len(self._known)}" for i in range(count)]
            self._nodes.append(helper.make_node(kind, inputs, names, **attributes))
            self._known[key] = names
        return self._known[key]

    def model(
        self, inputs: Mapping[str, Sequence[int]], outputs: Sequence[str], results: Sequence[tuple[str, Sequence[int]]]
    ) -> onnx.ModelProto:
        """Return the model, without what does not lead to an output.

        Args:
            inputs: their shapes, by name.
            outputs: names.
            results: name and shape of the value of each output.
        """
        nodes = [helper.make_node("Identity", [name], [out]) for out, (name, _) in zip(outputs, results, strict=True)]
        needed = {name for node in nodes for name in node.input}
        for node in reversed(self._nodes):
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
            [tensor for name, tensor in self._initializers.items() if name in needed],
        )
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
        model.producer_name, model.producer_version = "metastyle_hub", __version__
        return model
