"""Convert networks of the PyTorch examples' fast_neural_style (Johnson et al. 2016) from their `.pth` files.

That network has the same layers, padding and norms. Two differences are translated exactly:

    its input is in 0..255, ours in [0, 1]             the weights of the first convolution are multiplied by 255
    its output is clamped to 0..255, not a sigmoid     the last convolution is divided by 255; "clamp" in config.json

The result is a base in the terms of this library, since it was not adapted from one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from metastyle_hub.artifacts.config import ArtifactConfig
from metastyle_hub.artifacts.serialization import Artifact, checked_parameters
from metastyle_hub.errors import ArtifactError
from metastyle_hub.networks.param_groups import Parameters
from metastyle_hub.networks.transformer_net import NetworkConfig

__all__ = ["convert_johnson"]

# saved by old versions of PyTorch; instance norm always uses the statistics of its input
_IGNORED = re.compile(r"(.*\.)?in\d+\.(running_mean|running_var|num_batches_tracked)")
_LAYERS = (
    (r"conv([123])\.conv2d\.(weight|bias)", "encoder.{0}.conv.{1}"),
    (r"in([123])\.(weight|bias)", "encoder.{0}.norm.{1}"),
    (r"res(\d+)\.conv1\.conv2d\.(weight|bias)", "residual_blocks.{0}.first.conv.{1}"),
    (r"res(\d+)\.in1\.(weight|bias)", "residual_blocks.{0}.first.norm.{1}"),
    (r"res(\d+)\.conv2\.conv2d\.(weight|bias)", "residual_blocks.{0}.second.conv.{1}"),
    (r"res(\d+)\.in2\.(weight|bias)", "residual_blocks.{0}.second.norm.{1}"),
    (r"deconv([12])\.conv2d\.(weight|bias)", "decoder.{0}.conv.{1}"),
    (r"in([45])\.(weight|bias)", "decoder.{0}.norm.{1}"),
)


def convert_johnson(file: str | os.PathLike[str], name: str | None = None) -> Artifact:
    """Convert a state dictionary of the PyTorch examples' fast_neural_style.

    Only tensors are read (`weights_only`); a file that holds anything else is refused.

    Args:
        file: the .pth file.
        name: of the result, default that of the file.

    Raises:
        ArtifactError: if there is no such file, or it is no state dictionary of that network.

    >>> artifact = convert_johnson("candy.pth")
    >>> MetaStyle(artifact.config, artifact.parameters).save_pretrained("candy")
    """
    path = Path(file)
    if not path.is_file():
        raise ArtifactError(f"There is no file {path}; check the path.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling fails in many ways
        raise ArtifactError(
            f"{path} holds more than tensors or is damaged, and is not read, since pickled files can run code; save "
            "its state_dict() and convert that."
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ArtifactError(f"{path} is no state dictionary; save the network's state_dict() and convert that.")
    parameters = _renamed({str(k).removeprefix("module."): v for k, v in state.items()}, path)
    architecture = NetworkConfig(
        width=parameters["encoder.0.conv.weight"].shape[0],
        residual_blocks=len({key.split(".")[1] for key in parameters if key.startswith("residual_blocks.")}),
        logit_skip=False,
        noise_injection=False,
        upsampling="nearest",
    )
    config = ArtifactConfig(
        kind="base",
        architecture=architecture,
        name=name or path.stem,
        output_activation="clamp",
        feature_extractor="vgg16",
        training={"converted_from": "fast_neural_style of the PyTorch examples"},
    )
    remedy = "convert a network of fast_neural_style"
    checked = checked_parameters(parameters, config, str(path), remedy)
    checked["encoder.0.conv.weight"] = checked["encoder.0.conv.weight"] * 255
    for key in ("to_rgb.weight", "to_rgb.bias"):
        checked[key] = checked[key] / 255
    return Artifact(config, checked)


def _renamed(state: Mapping[str, Tensor], path: Path) -> Parameters:
    result: Parameters = {}
    for key, value in state.items():
        if _IGNORED.fullmatch(key):
            continue
        new = _new_name(key)
        if new is None or not value.is_floating_point():
            raise ArtifactError(f"{path} holds {key}, which a network of fast_neural_style does not have.")
        result[new] = value.detach().float()
    if "encoder.0.conv.weight" not in result:
        raise ArtifactError(f"{path} lacks conv1.conv2d.weight; convert a network of fast_neural_style.")
    return result


def _new_name(key: str) -> str | None:
    """The name of a parameter in this library."""
    if found := re.fullmatch(r"deconv3\.conv2d\.(weight|bias)", key):
        return f"to_rgb.{found[1]}"
    for pattern, new in _LAYERS:
        if found := re.fullmatch(pattern, key):
            return new.format(int(found[1]) - (4 if key.startswith(("in4", "in5")) else 1), found[2])
    return None
