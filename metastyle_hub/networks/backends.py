"""Convolution backends, and the choice of the fastest one for this machine.

    reference   the modules of `transformer_net.py`, with torch's convolutions, on any device
    direct      the same function with less arithmetic (`inference.py`), with torch's convolutions
    winograd    direct, with the transform convolutions of NNPACK (Winograd and FFT), where torch has it

`auto` is `winograd` where NNPACK is there, exact and faster than torch's convolution, and `direct` elsewhere on a CPU.
One layer is timed once per process, which takes some hundredths of a second; the environment variable METASTYLE_BACKEND
replaces the measurement. Without gradients `inference.py` uses it; with them, `differentiable_convolution` does within
`fast_gradients`.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_weight

from metastyle_hub.errors import SettingError

__all__ = [
    "BACKENDS",
    "Convolve",
    "convolution",
    "differentiable_convolution",
    "fast_gradients",
    "fastest_backend",
    "gradients_are_fast",
    "resolve_backend",
]

BACKENDS = ("auto", "reference", "direct", "winograd")

Convolve = Callable[[Tensor, Tensor, "Tensor | None"], Tensor]
"""A convolution of stride 1 without padding: (C, H + k - 1, W + k - 1), (D, C, k, k), (D,) or None -> (D, H, W)."""

log = logging.getLogger(__name__)

_FAST_GRADIENTS = ContextVar("fast_gradients", default=False)

_TRIALS = 3
_STRIP = 48 * 1024  # samples of a map: NNPACK holds the transforms of all that it gets, twice as large
_SMALL = 60 * 60  # samples of a map below which the transform of the weights takes most of the time
_TILE = 6  # rows of a tile of F(6x6, 3x3)
_ERROR = 1e-4  # of the test, relative to the largest value; Winograd's F(6x6, 3x3) stays below 1e-5
_GAIN = 0.9  # a backend replaces another if it takes less than this share of its time


def resolve_backend(name: str, device: torch.device, dtype: torch.dtype = torch.float32) -> str:
    """Return the backend that a name stands for on a device.

    Args:
        name: one of `BACKENDS`.
        device: of the images; accelerators have the reference alone.
        dtype: of the arithmetic; half precision has the reference alone.

    Raises:
        SettingError: for an unknown name, or one that this device or this build of torch does not have.

    >>> resolve_backend("auto", torch.device("cuda"))
    'reference'
    """
    if name not in BACKENDS:
        raise SettingError(f"backend must be one of {', '.join(BACKENDS)}, got {name!r}.")
    if name == "auto":
        return fastest_backend() if (device.type, dtype) == ("cpu", torch.float32) else "reference"
    known = {"direct": (torch.float32, torch.float64), "winograd": (torch.float32,)}
    if name in known and (device.type != "cpu" or dtype not in known[name]):
        raise SettingError(f"backend {name!r} needs float32 on a CPU, got {dtype} on {device}; use 'auto'.")
    if name == "winograd" and not _nnpack_is_exact():
        raise SettingError("backend 'winograd' needs NNPACK, which this build of torch lacks; use 'auto'.")
    return name


def convolution(backend: str) -> Convolve:
    """Return the convolution of a resolved backend.

    >>> convolution("direct")(torch.rand(3, 66, 66), torch.rand(8, 3, 3, 3), None).shape
    torch.Size([8, 64, 64])
    """
    return _nnpack if backend == "winograd" else _direct


@cache
def fastest_backend() -> str:
    """Return the fastest backend of this machine's CPU, by measurement; the same one for all of the process."""
    forced = os.environ.get("METASTYLE_BACKEND", "auto")
    if forced != "auto":
        return resolve_backend(forced, torch.device("cpu"))
    if not _nnpack_is_exact():
        return "direct"
    x, weight = _trial()
    times: dict[Convolve, float] = {_direct: float("inf"), _nnpack: float("inf")}
    for _ in range(_TRIALS):  # by turns, so that other load meets both
        for convolve in times:
            started = time.perf_counter()
            convolve(x, weight, None)
            times[convolve] = min(times[convolve], time.perf_counter() - started)
    chosen = "winograd" if times[_nnpack] < _GAIN * times[_direct] else "direct"
    log.info("Convolutions: %s (NNPACK %.1f ms, torch %.1f ms).", chosen, 1e3 * times[_nnpack], 1e3 * times[_direct])
    return chosen


@cache
def _nnpack_is_exact() -> bool:
    """Whether NNPACK's convolution is there and gives torch's values. Its functions are not public."""
    try:
        if not torch._nnpack_available():  # this call also initializes it
            return False
        x, weight = _trial()
        expected = _direct(x, weight, None)
        error = (_nnpack(x, weight, None) - expected).abs().max()
        return bool(error < _ERROR * expected.abs().max())
    except (AttributeError, RuntimeError, TypeError):
        return False


@contextmanager
def fast_gradients() -> Iterator[None]:
    """Allow convolutions within the block that have first derivatives alone, and equal torch's up to rounding.

    Not in meta-training, whose second order differentiates twice, nor where operations are recorded for export.
    """
    token = _FAST_GRADIENTS.set(True)
    try:
        yield
    finally:
        _FAST_GRADIENTS.reset(token)


def gradients_are_fast() -> bool:
    """Return whether this is within `fast_gradients`."""
    return _FAST_GRADIENTS.get()


def differentiable_convolution(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return F.conv2d(x, weight, bias) for (B, C, H, W); within `fast_gradients` by the fastest backend.

    >>> differentiable_convolution(torch.rand(2, 3, 10, 10), torch.rand(4, 3, 3, 3), None).shape
    torch.Size([2, 4, 8, 8])
    """
    fast = gradients_are_fast() and weight.shape[-1] > 1 and (x.device.type, x.dtype) == ("cpu", torch.float32)
    if fast and fastest_backend() == "winograd":
        convolved: Tensor = _TransformConvolution.apply(x, weight, bias)  # type: ignore[no-untyped-call]
        return convolved
    return F.conv2d(x, weight, bias)


class _TransformConvolution(torch.autograd.Function):
    """NNPACK's convolution, which also is the gradient of its input; torch's gradient of the weights."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x = x.contiguous()
        ctx.save_for_backward(x if weight.requires_grad else None, weight)
        return _nnpack_batch(x, weight, bias)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        gradient = gradient.contiguous()  # channels-first: oneDNN's weight gradient is faster with AVX2 alone
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            padded = F.pad(gradient, (weight.shape[-1] - 1,) * 4)
            of_x = _nnpack_batch(padded, weight.flip(-1, -2).transpose(0, 1).contiguous(), None)
        if ctx.needs_input_grad[1]:
            of_weight = conv2d_weight(x, list(weight.shape), gradient)
        if ctx.needs_input_grad[2]:
            of_bias = gradient.sum((0, 2, 3))
        return of_x, of_weight, of_bias


def _nnpack_batch(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """NNPACK's own batches are slow: large maps go one by one, small ones below each other, as one map."""
    b, c, height, width = x.shape
    if b == 1 or height * width > _SMALL:
        return torch.stack([_nnpack(one, weight, bias) for one in x])
    below = weight.shape[2] - 1  # rows of the convolution that reach into the next map
    column = _nnpack(x.transpose(0, 1).reshape(c, b * height, width), weight, bias)
    maps = F.pad(column, (0, 0, 0, below)).unflatten(1, (b, height))[:, :, : height - below]
    return maps.transpose(0, 1).contiguous()


def _trial() -> tuple[Tensor, Tensor]:
    """Return input and weights of a residual block's convolution, at 48 x 48."""
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode(False):
        return torch.randn(128, 50, 50, generator=generator), torch.randn(128, 128, 3, 3, generator=generator)


def _direct(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.conv2d(x[None], weight, bias)[0]


def _nnpack(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    height, width = (side - kernel + 1 for side, kernel in zip(x.shape[1:], weight.shape[2:], strict=True))
    rows = max(_TILE, _STRIP // width // _TILE * _TILE)
    if height <= rows:
        return _transform_convolution(x, weight, bias)
    convolved = x.new_empty(len(weight), height, width)
    for top in range(0, height, rows):
        strip = x[:, top : top + rows + weight.shape[2] - 1]
        convolved[:, top : top + rows] = _transform_convolution(strip, weight, bias)
    return convolved


def _transform_convolution(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    convolved: Tensor = torch._nnpack_spatial_convolution(x[None], weight, bias, (0, 0), (1, 1))  # type: ignore[attr-defined]
    return convolved[0]
