"""Networks of others in our format: the `.pth` files of the PyTorch examples' fast_neural_style (Johnson et al. 2016).

That network has our layers, paddings and norms. Two things differ, and both are exact to translate:

    it reads 0..255 where ours reads [0, 1]         the first convolution's weights take the factor 255
    it ends in 0..255, clamped, without a sigmoid   the last convolution is divided by 255, and config.json says "clamp"

The result is a network of its own: a base in our terms, since it was not learned from one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from metastyle_hub.artifacts.config import ArtifactError
from metastyle_hub.artifacts.serialization import expected_parameters
from metastyle_hub.model import MetaStyle
from metastyle_hub.networks.transformer_net import NetworkConfig
from metastyle_hub.networks.param_groups import Parameters

__all__ = ["convert_johnson"]

# what old versions of PyTorch saved along; instance norm here always takes the statistics of the picture at hand
_IGNORED = re.compile(r"(.*\.)?in\d+\.(running_mean|running_var|num_batches_tracked)")
_LAYERS = (
    (r"conv([123])\.conv2d\.(weight|bias)", "down.{0}.conv.{1}"),
    (r"in([123])\.(weight|bias)", "down.{0}.norm.{1}"),
    (r"res(\d+)\.conv1\.conv2d\.(weight|bias)", "trunk.{0}.first.conv.{1}"),
    (r"res(\d+)\.in1\.(weight|bias)", "trunk.{0}.first.norm.{1}"),
    (r"res(\d+)\.conv2\.conv2d\.(weight|bias)", "trunk.{0}.second.conv.{1}"),
    (r"res(\d+)\.in2\.(weight|bias)", "trunk.{0}.second.norm.{1}"),
    (r"deconv([12])\.conv2d\.(weight|bias)", "up.{0}.conv.{1}"),
    (r"in([45])\.(weight|bias)", "up.{0}.norm.{1}"),
)


def convert_johnson(file: str | os.PathLike[str], name: str | None = None) -> MetaStyle:
    """The network in a state dictionary of the PyTorch examples' fast_neural_style.

    Only tensors are read from the file (`weights_only`); a file that holds anything else is refused unread.

    Raises:
        ArtifactError: no such file, not a state dictionary, or of another network.

    >>> convert_johnson("candy.pth").save_pretrained("candy")
    """
    path = Path(file)
    if not path.is_file():
        raise ArtifactError(f"There is no file {path}; check the path.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle fails in as many ways as there are bytes
        raise ArtifactError(
            f"{path} holds more than tensors or is damaged; it is not read, since pickled files can run "
            "code: save its state_dict() and convert that."
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ArtifactError(f"{path} is no state dictionary; save the network's state_dict() and convert that.")
    parameters = _renamed({str(k).removeprefix("module."): v for k, v in state.items()}, path)
    config = NetworkConfig(
        width=parameters["down.0.conv.weight"].shape[0],
        residual_blocks=len({key.split(".")[1] for key in parameters if key.startswith("trunk.")}),
        logit_skip=False,
        noise_injection=False,
        upsampling="nearest",
    )
    expected = expected_parameters(config)
    for key, p in expected.items():
        found = parameters.get(key)
        if found is None or found.shape != p.shape or not bool(torch.isfinite(found).all()):
            what = "nothing" if found is None else f"{tuple(found.shape)}, or numbers that are not finite,"
            raise ArtifactError(f"{path} has {what} where {key} {tuple(p.shape)} belongs; it is of another network.")
    parameters["down.0.conv.weight"] = parameters["down.0.conv.weight"] * 255
    for key in ("out.weight", "out.bias"):
        parameters[key] = parameters[key] / 255
    return MetaStyle.from_parameters(
        {key: parameters[key] for key in expected},
        config,
        name=name or path.stem,
        output="clamp",
        features="vgg16",
        training={"converted_from": "fast_neural_style of the PyTorch examples"},
    )


def _renamed(state: Mapping[str, Tensor], path: Path) -> Parameters:
    result: Parameters = {}
    for key, value in state.items():
        if _IGNORED.fullmatch(key):
            continue
        ours = _name(key)
        if ours is None or not value.is_floating_point():
            raise ArtifactError(f"{path} holds {key}, which the fast_neural_style network does not have.")
        result[ours] = value.detach().float()
    if "down.0.conv.weight" not in result:
        raise ArtifactError(f"{path} lacks conv1.conv2d.weight; it is no network of fast_neural_style.")
    return result


def _name(key: str) -> str | None:
    """Our name of a parameter of theirs."""
    if found := re.fullmatch(r"deconv3\.conv2d\.(weight|bias)", key):
        return f"out.{found[1]}"
    for pattern, ours in _LAYERS:
        if found := re.fullmatch(pattern, key):
            number = int(found[1]) - (4 if key.startswith(("in4", "in5")) else 1)
            kind = {"weight": "scale", "bias": "shift"}[found[2]] if ".norm." in ours else found[2]
            return ours.format(number, kind)
    return None
