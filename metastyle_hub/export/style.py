"""One style as an ONNX model that maps images to images, for other programs, phones and other languages."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from metastyle_hub.artifacts.config import ArtifactConfig
from metastyle_hub.artifacts.storage import write_files
from metastyle_hub.data.examples import example
from metastyle_hub.errors import SettingError
from metastyle_hub.export.check import check_graph
from metastyle_hub.export.graphs import fixed_style_graph
from metastyle_hub.export.half import half_precision
from metastyle_hub.images.io import load_image, to_tensor
from metastyle_hub.images.transforms import resize_short_side
from metastyle_hub.networks.transformer_net import meta_network, transform

__all__ = ["export_style"]

_TOLERANCE, _HALF_TOLERANCE = 1 / 255, 2 / 255


def export_style(
    config: ArtifactConfig, parameters: Mapping[str, Tensor], path: str | os.PathLike[str], *, half: bool = False
) -> Path:
    """Write a base or style as one file: image (1, 3, H, W) -> stylized (1, 3, H, W), both float32 in [0, 1].

    H and W are free multiples of 4, from 32. Before it is written it is run and compared with PyTorch.

    Args:
        config: of the base or style.
        parameters: of the whole network.
        path: ends in .onnx.
        half: parameters and arithmetic in float16: 5 instead of 10 MB, off by a fifth of an 8-bit level.

    Raises:
        SettingError: for another ending.
        ExportError: if the file differs from PyTorch.
        ArtifactError: if it cannot be written.

    >>> style = MetaStyle.from_pretrained("starry")
    >>> export_style(style.config, style.state_dict(), "starry.onnx")
    PosixPath('starry.onnx')
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise SettingError(f"The file of an exported style ends in .onnx, got {path}.")
    architecture, activation = config.architecture, config.output_activation
    graph = fixed_style_graph(architecture, parameters, activation)
    if half:
        graph = half_precision(graph)
    graph.metadata_props.add(key="name", value=config.name or path.stem)
    image = resize_short_side(to_tensor(load_image(example("temple"))), 96)[..., :92, :128]
    with torch.no_grad():
        expected = {"stylized": transform(meta_network(architecture, activation), parameters, image)}
    data = graph.SerializeToString()
    check_graph(path.name, data, {"image": image.contiguous()}, expected, _HALF_TOLERANCE if half else _TOLERANCE)
    write_files(path.parent, {path.name: data})
    return path
