"""Run a graph in onnxruntime, and compare what it returns with PyTorch."""

from __future__ import annotations

import os
from collections.abc import Mapping

import onnxruntime
import torch
from torch import Tensor

from metastyle_hub.errors import ExportError, first_line

__all__ = ["check_graph", "run_graph"]


def run_graph(graph: str | os.PathLike[str] | bytes, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the outputs of a graph by name, computed on the CPU.

    Args:
        graph: the file, or its bytes if it has no external data.
        inputs: by name.

    Example::

        run_graph("starry.onnx", {"image": torch.rand(1, 3, 64, 64)})["stylized"].shape
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    outputs = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    return {o.name: torch.from_numpy(value) for o, value in zip(session.get_outputs(), outputs, strict=True)}


def check_graph(
    name: str,
    graph: str | os.PathLike[str] | bytes,
    inputs: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    tolerance: float,
) -> None:
    """Compare outputs of a graph with those of PyTorch.

    Args:
        name: for messages.
        graph: see `run_graph`.
        inputs: by name.
        expected: outputs by name; others are not compared.
        tolerance: largest difference, relative to the largest value of an output.

    Raises:
        ExportError: if the graph does not run, or differs by more.
    """
    try:
        outputs = run_graph(graph, inputs)
    except Exception as error:  # onnxruntime's classes have no base of their own
        raise ExportError(f"onnxruntime refuses {name} ({first_line(error)}); update onnx and onnxruntime.") from error
    for key, value in expected.items():
        difference = float((outputs[key] - value).abs().max() / value.abs().max())
        if not difference <= tolerance:
            raise ExportError(
                f"{name} differs from PyTorch by {difference:.1e} of {key}, more than {tolerance:.1e}; "
                "update onnx and onnxruntime."
            )
