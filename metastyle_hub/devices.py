"""Placement: which device, and which arithmetic it is quick at. accelerate knows the devices; we ask it late."""

from __future__ import annotations

import torch

from metastyle_hub.errors import MetaStyleError

__all__ = ["DeviceError", "resolve_device", "training_dtype"]


class DeviceError(MetaStyleError, ValueError):
    """A device that this machine does not have, or a placement that makes no sense for so small a network."""


def resolve_device(device: str | torch.device | None = None) -> torch.device:
    """The torch device for "auto" or None (accelerate's choice: cuda, mps, xpu, ... cpu), or for a name.

    >>> resolve_device("cpu")
    device(type='cpu')

    Raises:
        DeviceError: an unknown name, or a device that is not there.
    """
    if device is None or device == "auto":
        from accelerate import PartialState

        return torch.device(PartialState().device)
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise DeviceError(
            f"Unknown device {device!r}; use 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps' (the network is 7 MB, so a "
            "device_map has nothing to divide)."
        ) from error
    if resolved.type not in ("cpu", "meta"):
        try:
            torch.empty(1, device=resolved)
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise DeviceError(
                f"Device {str(device)!r} is not to be had here ({reason}); use 'auto' or 'cpu'."
            ) from error
    elif resolved.type == "meta":
        raise DeviceError("Device 'meta' holds no numbers; use 'auto', 'cpu' or 'cuda'.")
    return resolved


def training_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware multiplies it natively (about twice as fast), else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    if device.type == "cpu":
        native = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return torch.bfloat16 if any(getattr(torch.cpu, f, bool)() for f in native) else torch.float32
    return torch.float32
