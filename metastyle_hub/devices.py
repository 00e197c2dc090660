"""Placement: which device, which arithmetic it is quick at, and what to say when it cannot."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator

import torch

from metastyle_hub.errors import MetaStyleError, capital, first_line

__all__ = [
    "DeviceError",
    "at_least_float32",
    "enough_memory",
    "keep_freed_memory",
    "resolve_device",
    "training_dtype",
]

_NO_MEMORY = ("out of memory", "can't allocate memory")  # as torch's allocators put it in a bare RuntimeError


class DeviceError(MetaStyleError, ValueError):
    """A device that this machine does not have, that is too small, or a placement that makes no sense here."""


def resolve_device(device: str | torch.device | None = None) -> torch.device:
    """The torch device for "auto" or None (cuda, mps, xpu, ... if there is one, else cpu), or for a name.

    The result has its number: "cuda" and "cuda:0" are one device. ACCELERATE_USE_CPU makes "auto" the cpu.

    >>> resolve_device("cpu")
    device(type='cpu')

    Raises:
        DeviceError: an unknown name, or a device that is not there.
    """
    if device is None or device == "auto":
        # not accelerate's PartialState, which joins the process group of whatever script it is called in
        told = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes", "y", "t", "on")
        device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() and not told else None
        device = device or torch.device("cpu")
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise DeviceError(
            f"Unknown device {device!r}; use 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps' (the network is 7 MB, so a "
            "device_map has nothing to divide)."
        ) from error
    if resolved.type == "meta":
        raise DeviceError("Device 'meta' holds no numbers; use 'auto', 'cpu' or 'cuda'.")
    if resolved.type == "cpu":
        return torch.device("cpu")
    try:
        return torch.empty(1, device=resolved).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise DeviceError(
            f"Device {str(device)!r} is not to be had here ({first_line(error)}); use 'auto' or 'cpu'."
        ) from error


def training_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware multiplies it natively (about twice as fast), else float32."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    if device.type == "cpu":
        native = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return torch.bfloat16 if any(getattr(torch.cpu, f, bool)() for f in native) else torch.float32
    return torch.float32


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """Half precision as float32, anything else as it is."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


@contextlib.contextmanager
def enough_memory(doing: str, device: torch.device, instead: str) -> Iterator[None]:
    """Turn the ways in which a device gives up into one sentence.

    Args:
        doing: the action as a noun phrase, such as "painting".
        instead: what needs less memory, such as "a smaller size".

    Raises:
        DeviceError: memory ran out within, or the device lacks an operation.

    >>> with enough_memory("painting", photo.device, "a smaller size"):
    ...     picture = transform(network, parameters, photo)
    """
    other = " or device='cpu'" if device.type != "cpu" else ""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, NotImplementedError) and device.type != "cpu":
            raise DeviceError(f"{capital(doing)} fails on {device} ({first_line(error)}); use device='cpu'.") from error
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or any(t in str(error) for t in _NO_MEMORY):
            raise DeviceError(f"There is not enough memory on {device} for {doing}; use {instead}{other}.") from error
        raise


def keep_freed_memory() -> bool:
    """Keep what tensors on the CPU give back for the next ones, instead of returning it to the system every time.

    The system hands out zeroed pages, which takes longer than many a layer: a photo of 1024 x 1024 is stylised in
    3.0 s instead of 5.1 (docs/performance.md). The price: the process stays as large as it ever was, so this is for
    programs to decide, and the library never calls it by itself. The command line does.

    Returns:
        Whether it is so: only glibc can be told.
    """
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library; TypeError on Windows
        return False
    return bool(mallopt(mmap_threshold, 2**30) and mallopt(trim_threshold, 2**31 - 1))
