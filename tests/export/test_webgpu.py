"""Nodes that WebGPU cannot run become others with the same values."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install '.[export]'")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install '.[export]'")

import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from metastyle_hub.export.webgpu import slice_wide_splits


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("sizes", [(1, 4, 2, 3, 5), (7, 8)])
def test_slices_replace_a_split_with_many_outputs(axis: int, sizes: tuple[int, ...]) -> None:
    names = [f"part_{i}" for i in range(len(sizes))]
    node = helper.make_node("Split", ["x", "sizes"], names, axis=axis)
    shape = [3, 3]
    shape[axis] = sum(sizes)
    graph = helper.make_graph(
        [node],
        "split",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names],
        [numpy_helper.from_array(np.array(sizes, np.int64), "sizes")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    slice_wide_splits(model)
    assert max(len(node.output) for node in model.graph.node) <= 4
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    found = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    for part, expected in zip(found, np.split(x, np.cumsum(sizes)[:-1], axis), strict=True):
        assert np.array_equal(part, expected)
