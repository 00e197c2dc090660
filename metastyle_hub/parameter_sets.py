"""The parameters of a base or style together with what describes them: compared, faded, and moved between devices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self
from weakref import WeakKeyDictionary, WeakValueDictionary

import torch
from torch import Tensor

from metastyle_hub.artifacts.config import ArtifactConfig, BaseReference
from metastyle_hub.artifacts.files import fingerprint
from metastyle_hub.devices import resolve_device
from metastyle_hub.errors import SettingError
from metastyle_hub.hub.reading import Snapshot
from metastyle_hub.interpolation import combine
from metastyle_hub.network import ImageTransformationNetwork
from metastyle_hub.parameters import Parameters, moving_parameters
from metastyle_hub.skeletons import resolve_dtype, skeleton

__all__ = ["ParameterSet"]


class ParameterSet:
    """Parameters that are never changed; see `MetaStyle` for the attributes."""

    def __init__(
        self,
        config: ArtifactConfig,
        parameters: Mapping[str, Tensor],
        base: Self | None = None,
        origin: Snapshot | None = None,
        dtype: torch.dtype | None = None,
        predictor: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Made by `from_pretrained`, `adapt` and `interpolate`. It holds the tensors themselves, not copies of them."""
        self.config = config
        self.parameters: Parameters = dict(parameters)
        self.base: Self = base or self
        self.device = next(iter(self.parameters.values())).device
        self.dtype: torch.dtype = dtype or (base.dtype if base is not None else torch.float32)
        self.origin = origin
        self.predictor: Parameters | None = None if predictor is None else dict(predictor)

    @property
    def is_base(self) -> bool:
        """Whether this is a base rather than a style."""
        return self.config.kind == "base"

    @property
    def name(self) -> str:
        """A name for people."""
        return self.config.name or ("base" if self.is_base else "style")

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the parameters."""
        if not hasattr(self, "_fingerprint"):
            self._fingerprint = fingerprint(self.parameters)
        return self._fingerprint

    def __repr__(self) -> str:
        steps = "mixed" if self.config.steps is None else f"{self.config.steps} steps"
        what = self.config.kind if self.is_base else f"style of {self.config.parameters} parameters, {steps}"
        return f"{type(self).__name__}({self.name!r}, {what}, on {self.device})"

    def to(
        self, device: str | torch.device | torch.dtype | None = None, dtype: str | torch.dtype | None = None
    ) -> Self:
        """The same on another device or in another dtype, together with its base; what is left out stays as it is.

        Raises:
            DeviceError: no such device or dtype.

        >>> style.to("cuda", torch.bfloat16), style.to(dtype=torch.float32)
        """
        if isinstance(device, torch.dtype):
            dtype, device = device, None
        where = self.device if device is None else resolve_device(device)
        arithmetic = resolve_dtype(dtype or self.dtype)
        if (where, arithmetic) == (self.device, self.dtype):
            return self
        elsewhere = _MOVED.setdefault(self, WeakValueDictionary())
        if (known := elsewhere.get((where, arithmetic))) is not None:
            return known  # type: ignore[return-value]
        base = None if self.base is self else self.base.to(where, arithmetic)
        parameters = {
            name: p.to(where) if base is None or p is not self.base.parameters[name] else base.parameters[name]
            for name, p in self.parameters.items()
        }
        predictor = self.predictor and {name: p.to(where) for name, p in self.predictor.items()}
        moved = type(self)(self.config, parameters, base, self.origin, arithmetic, predictor)
        elsewhere[where, arithmetic] = moved
        return moved

    @property
    def _network(self) -> ImageTransformationNetwork:
        return skeleton(self.config.architecture, self.config.output or "sigmoid", self.dtype)

    @property
    def _own_parameters(self) -> Parameters:
        """The network's parameters in a file of this: of a style what adaptation moved, the rest is the base's."""
        return self.parameters if self.is_base else moving_parameters(self.parameters, self.config.parameters)

    @property
    def _reference(self) -> BaseReference:
        """How a style of this names its base."""
        if not self.is_base and self.config.base_model is not None:
            return self.config.base_model
        origin, number = self.base.origin, self.base.fingerprint
        if origin is None:
            return BaseReference(number, "unshared")
        if origin.in_package:
            return BaseReference(number)
        return BaseReference(number, origin.repo_id or str(origin.folder.resolve()), origin.commit)

    def _at(self, strength: float) -> Parameters:
        """The parameters that are `strength` of the way from the base's to these."""
        if not 0 <= strength <= 1:
            raise SettingError(f"strength must be from 0 to 1, got {strength}.")
        if strength == 1:
            return self.parameters
        own = self._own_parameters
        mixed = combine([own, {name: self.base.parameters[name] for name in own}], [strength, 1 - strength])
        return {**self.base.parameters, **mixed}


# one copy of a base on every device, however many styles go there
_MOVED: WeakKeyDictionary[ParameterSet, WeakValueDictionary[tuple[torch.device, torch.dtype], ParameterSet]]
_MOVED = WeakKeyDictionary()
