"""The flat parameter vector: the parameters of the group "decoder", one after the other, in the order of their names.

safetensors writes float32 tensors in this order, so the vector equals the data of a style's `model.safetensors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from metastyle_hub.networks.param_groups import Parameters, trainable_parameters

__all__ = ["GROUP", "ParameterLayout"]

GROUP = "decoder"  # what an adaptation trains by default; it contains the group "norm"


@dataclass(frozen=True)
class ParameterLayout:
    """Names and shapes of the parameters in a flat vector of `count` values.

    >>> layout = ParameterLayout.of(MetaStyle.from_pretrained().state_dict())
    >>> layout.count
    103235
    """

    shapes: dict[str, tuple[int, ...]]  # by name, in the order of the vector

    @classmethod
    def of(cls, parameters: Mapping[str, Tensor]) -> Self:
        """Return the layout for the parameters of a whole network."""
        group = trainable_parameters(parameters, GROUP)
        return cls({name: tuple(group[name].shape) for name in sorted(group)})

    @property
    def sizes(self) -> dict[str, int]:
        """The number of values of each parameter, by name."""
        return {name: torch.Size(shape).numel() for name, shape in self.shapes.items()}

    @property
    def count(self) -> int:
        """The length of the vector."""
        return sum(self.sizes.values())

    def flatten(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """Return the vector (N,) of the parameters; others than those of the layout are left out."""
        return torch.cat([parameters[name].reshape(-1) for name in self.shapes])

    def unflatten(self, vector: Tensor) -> Parameters:
        """Return the parameters by name, as views of the vector (N,)."""
        parts = vector.split(list(self.sizes.values()))
        return {name: part.view(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}

    def to_json(self) -> list[dict[str, Any]]:
        """Return name, offset in values, and shape of each parameter."""
        offsets = torch.tensor([0, *self.sizes.values()]).cumsum(0).tolist()
        return [
            {"name": name, "offset": offset, "shape": list(shape)}
            for (name, shape), offset in zip(self.shapes.items(), offsets, strict=False)
        ]
