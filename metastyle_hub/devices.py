"""Devices and dtypes: resolve names, choose the dtype of training, translate memory failures, tune the allocator."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator

import torch

from metastyle_hub.errors import DeviceError, capitalized, first_line

__all__ = [
    "at_least_float32",
    "keep_freed_memory",
    "memory_errors",
    "resolve_device",
    "resolve_dtype",
    "training_dtype",
]

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_NO_MEMORY = ("out of memory", "can't allocate memory")  # what torch's allocators say in a bare RuntimeError


def resolve_device(device: str | torch.device) -> torch.device:
    """Return the torch device of a name; "auto" is the accelerator if there is one, else the CPU.

    The result carries its index: "cuda" and "cuda:0" are one device. ACCELERATE_USE_CPU makes "auto" the CPU, and of
    several processes that a launcher started each gets an accelerator of its own.

    Raises:
        DeviceError: for an unknown name, or a device that this machine does not have.

    >>> resolve_device("cpu")
    device(type='cpu')
    """
    if device == "auto":
        # not accelerate's PartialState, which joins the process group of the script that calls it
        use_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes", "y", "t", "on")
        found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() and not use_cpu else None
        device = found or torch.device("cpu")
        if found and (process := os.environ.get("LOCAL_RANK", "")).isdecimal():  # of accelerate launch and torchrun
            device = torch.device(found.type, int(process) % torch.accelerator.device_count())
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise DeviceError(f"Unknown device {device!r}; use 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'.") from error
    if resolved.type == "meta":
        raise DeviceError("Device 'meta' holds no values; use 'auto', 'cpu' or 'cuda'.")
    if resolved.type == "cpu":
        return torch.device("cpu")
    try:
        return torch.empty(1, device=resolved).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise DeviceError(
            f"Device {str(device)!r} is not available ({first_line(error)}); use 'auto' or 'cpu'."
        ) from error


def resolve_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """Return the torch dtype of a name.

    Raises:
        DeviceError: for anything but float32, bfloat16 and float16.

    >>> resolve_dtype("bfloat16")
    torch.bfloat16
    """
    found = _DTYPES.get(str(dtype).removeprefix("torch."))
    if found is None:
        raise DeviceError(f"dtype must be one of {', '.join(_DTYPES)}, got {dtype}; leave it out for float32.")
    return found


def training_dtype(device: torch.device) -> torch.dtype:
    """Return bfloat16 where the hardware multiplies it natively (about twice as fast), else float32.

    >>> training_dtype(torch.device("mps"))
    torch.float32
    """
    if device.type == "cuda":
        with torch.cuda.device(device):
            return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    if device.type == "cpu":
        native = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return torch.bfloat16 if any(getattr(torch.cpu, name, bool)() for name in native) else torch.float32
    return torch.float32


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """Return a half-precision tensor as float32, any other tensor unchanged."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


if hasattr(os, "register_at_fork"):
    # A forked process inherits the pool of OpenMP threads without the threads, and its first parallel loop would wait
    # for them for ever. One thread needs no pool; the workers of PyTorch's DataLoader do the same.
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


@contextlib.contextmanager
def memory_errors(action: str, device: torch.device, remedy: str) -> Iterator[None]:
    """Translate the failures of a device within the block into one sentence.

    Args:
        action: the action as a noun, such as "stylization".
        device: where it runs.
        remedy: what needs less memory, such as "a smaller size".

    Raises:
        DeviceError: if memory runs out, or the device lacks an operation.

    Example::

        with memory_errors("stylization", images.device, "a smaller size"):
            stylized = stylize(network, parameters, images)
    """
    other = " or device='cpu'" if device.type != "cpu" else ""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, NotImplementedError) and device.type != "cpu":
            reason = first_line(error)
            raise DeviceError(f"{capitalized(action)} fails on {device} ({reason}); use device='cpu'.") from error
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or any(t in str(error) for t in _NO_MEMORY):
            raise DeviceError(f"There is not enough memory on {device} for {action}; use {remedy}{other}.") from error
        if "forked subprocess" in str(error):
            raise DeviceError(
                f"{capitalized(action)} on {device} is not possible in a forked process; use device='cpu', or "
                'multiprocessing with the start method "spawn".'
            ) from error
        raise


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory for the next tensors instead of returning it to the system.

    The system hands out zeroed pages, which takes longer than many layers: 1024 x 1024 px are stylized in 1.9 s
    instead of 2.7 s (docs/performance.md). The process stays as large as it ever was, so the library never calls
    this by itself; the command line does.

    Returns:
        Whether it worked: only glibc has this setting.
    """
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library; TypeError on Windows
        return False
    return bool(mallopt(mmap_threshold, 2**30) and mallopt(trim_threshold, 2**31 - 1))
