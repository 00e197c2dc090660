"""Constants of a graph that point into safetensors files, so that a graph has a few kB and no weight is stored twice.

A safetensors file is the length of its header (8 bytes), the header (JSON), and raw little-endian tensors; ONNX
external data is a file with raw little-endian tensors at any offset.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import onnx

__all__ = ["TensorFile", "make_external"]

_TYPES = {"F32": onnx.TensorProto.FLOAT, "F16": onnx.TensorProto.FLOAT16}


@dataclass(frozen=True)
class TensorFile:
    """Where the tensors of a safetensors file are.

    Example::

        TensorFile.read("base/model.safetensors", location="base/model.safetensors").offsets["to_rgb.bias"]
    """

    location: str  # relative to the graph's file
    offsets: dict[str, tuple[int, int]]  # name -> first byte in the file, number of bytes
    types: dict[str, int]  # name -> ONNX data type

    @classmethod
    def read(cls, path: str | os.PathLike[str], location: str) -> Self:
        """Read the header of a file of float32 and float16 tensors."""
        with Path(path).open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        offsets = {}
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            offsets[name] = (8 + length + begin, end - begin)
        return cls(location, offsets, {name: _TYPES[entry["dtype"]] for name, entry in header.items()})


def make_external(model: onnx.ModelProto, files: Sequence[TensorFile]) -> None:
    """Let constants of a model point into files instead of holding their values, if a file has a tensor of their name.

    Args:
        model: changed in place.
        files: the files.

    Raises:
        ValueError: if a constant has another type or size than the tensor of its name.
    """
    for tensor in model.graph.initializer:
        file = next((file for file in files if tensor.name in file.offsets), None)
        if file is None or tensor.data_location == onnx.TensorProto.EXTERNAL:
            continue
        offset, length = file.offsets[tensor.name]
        itemsize = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        if tensor.data_type != file.types[tensor.name] or math.prod(tensor.dims) * itemsize != length:
            raise ValueError(f"{tensor.name} has another type or size in {file.location}.")
        for field in ("raw_data", "float_data", "int32_data"):
            tensor.ClearField(field)
        for key, value in {"location": file.location, "offset": offset, "length": length}.items():
            tensor.external_data.add(key=key, value=str(value))
        tensor.data_location = onnx.TensorProto.EXTERNAL
