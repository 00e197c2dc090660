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

import torch
from torch import Tensor

from metastyle_hub.artifacts.config import ArtifactConfig
from metastyle_hub.artifacts.serialization import Artifact, checked_artifact
from metastyle_hub.config import expanded
from metastyle_hub.errors import ArtifactError
from metastyle_hub.networks.transformer_net import NetworkConfig

__all__ = ["convert_johnson"]

# saved by old versions of PyTorch; instance norm always uses the statistics of its input
_IGNORED = ("running_mean", "running_var", "num_batches_tracked")
_LAYERS = {
    **{f"conv{i + 1}.conv2d": f"encoder.{i}.conv" for i in range(3)},
    **{f"in{i + 1}": f"encoder.{i}.norm" for i in range(3)},
    **{f"deconv{i + 1}.conv2d": f"decoder.{i}.conv" for i in range(2)},
    **{f"in{i + 4}": f"decoder.{i}.norm" for i in range(2)},
    "deconv3.conv2d": "to_rgb",
}
_BLOCK_LAYERS = {"conv1.conv2d": "first.conv", "in1": "first.norm", "conv2.conv2d": "second.conv", "in2": "second.norm"}


def convert_johnson(file: str | os.PathLike[str], name: str | None = None) -> Artifact:
    """Convert a state dictionary of the PyTorch examples' fast_neural_style.

    Only tensors are read (`weights_only`); a file that holds anything else is refused.

    Args:
        file: the .pth file.
        name: of the result, default that of the file.

    Raises:
        ArtifactError: if there is no such file, or it is no state dictionary of that network.

    Example::

        artifact = convert_johnson("candy.pth")
        MetaStyle(artifact.config, artifact.parameters).save_pretrained("candy")
    """
    path, remedy = expanded(file), "convert a network of fast_neural_style"
    if not path.is_file():
        raise ArtifactError(f"There is no file {path}; check the path.")
    try:
        state: Mapping[object, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
            raise TypeError("no state dictionary")
    except Exception as error:  # unpickling fails in many ways
        raise ArtifactError(
            f"{path} is damaged, or holds more than a dictionary of tensors, which could run code; save the network's "
            "state_dict() and convert that."
        ) from error
    parameters: dict[str, Tensor] = {}
    for key, value in state.items():
        if str(key).endswith(_IGNORED):
            continue
        if (new := _new_name(str(key))) is None:
            raise ArtifactError(f"{path} holds {key}, which that network does not have; {remedy}.")
        parameters[new] = value.detach().clone()
    if "encoder.0.conv.weight" not in parameters:
        raise ArtifactError(f"{path} lacks conv1.conv2d.weight; {remedy}.")
    width = parameters["encoder.0.conv.weight"].shape[0]
    blocks = len({key.split(".")[1] for key in parameters if key.startswith("residual_blocks.")})
    config = ArtifactConfig(
        kind="base",
        architecture=NetworkConfig(width, blocks, logit_skip=False, upsampling="nearest", noise_injection=False),
        name=name or path.stem,
        output_activation="clamp",
        feature_extractor="vgg16",
        training={"converted_from": "fast_neural_style of the PyTorch examples"},
    )
    artifact = checked_artifact(config, parameters, str(path), remedy)
    artifact.parameters["encoder.0.conv.weight"] *= 255
    artifact.parameters["to_rgb.weight"] /= 255
    artifact.parameters["to_rgb.bias"] /= 255
    return artifact


def _new_name(key: str) -> str | None:
    """The name of a parameter in this library, or None."""
    layer, _, kind = key.removeprefix("module.").rpartition(".")
    new = _LAYERS.get(layer)
    if (found := re.fullmatch(r"res(\d+)\.(.+)", layer)) and found[2] in _BLOCK_LAYERS:
        new = f"residual_blocks.{int(found[1]) - 1}.{_BLOCK_LAYERS[found[2]]}"
    return f"{new}.{kind}" if new and kind in ("weight", "bias") else None
