"""The network as a function of pictures and parameters: it holds no numbers, and paints in the dtype asked for."""

from __future__ import annotations

import threading

import torch
from torch import Tensor

from metastyle_hub.devices import DeviceError
from metastyle_hub.network import ImageTransformationNetwork, NetworkConfig

__all__ = ["new_skeleton", "resolve_dtype", "skeleton"]

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_THREAD = threading.local()


def resolve_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """The dtype of a name, if pictures can be made in it.

    Raises:
        DeviceError: any other than float32, bfloat16 and float16.

    >>> resolve_dtype("bfloat16")
    torch.bfloat16
    """
    found = _DTYPES.get(str(dtype).removeprefix("torch."))
    if found is None:
        raise DeviceError(f"Pictures are made in {', '.join(_DTYPES)}, not in {dtype}; leave out dtype for float32.")
    return found


def skeleton(
    architecture: NetworkConfig, output: str, dtype: torch.dtype = torch.float32
) -> ImageTransformationNetwork:
    """A network without numbers, those come as a parameter dictionary (`network.transform`).

    One for every thread: `functional_call` lends the module its parameters for the time of the call, so two
    threads that shared one would paint with each other's.
    """
    known: dict[object, ImageTransformationNetwork] = _THREAD.__dict__.setdefault("networks", {})
    if (architecture, output, dtype) not in known:
        known[architecture, output, dtype] = new_skeleton(architecture, output, dtype)
    return known[architecture, output, dtype]


def new_skeleton(
    architecture: NetworkConfig, output: str | None = None, dtype: torch.dtype = torch.float32
) -> ImageTransformationNetwork:
    """One of one's own, for who hands it from thread to thread. `output` is as in config.json, None for a sigmoid."""
    output = output or "sigmoid"
    with torch.device("meta"):
        if dtype == torch.float32:
            return ImageTransformationNetwork(architecture, output).eval()
        return _InHalfPrecision(architecture, output, dtype).eval()


class _InHalfPrecision(ImageTransformationNetwork):
    """Convolutions in half precision, parameters and logits in float32: eight bits of sigmoid would band.

    Only as a whole: `tiling` calls the parts one by one, in float32, whose statistics of large pictures are exact.
    """

    def __init__(self, config: NetworkConfig, output: str, dtype: torch.dtype) -> None:
        super().__init__(config, output)
        self.dtype = dtype

    def forward(self, images: Tensor, streams: list[Tensor] | None = None, corner: tuple[int, int] = (0, 0)) -> Tensor:
        with torch.autocast(images.device.type, self.dtype):
            return super().forward(images, streams, corner).float()
