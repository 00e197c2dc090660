"""Inference, M(.; w) without gradients: the function of `TransformerNet.forward`, which is what defines it.

    upsampling, 3x3 convolution    to phases, without the upsampled map (`phases.py`)     upsampled_convolution
    9x9 convolution to RGB         from phases to phases                                  phased_to_rgb
    norm, ReLU, padding            into the padded input of the next convolution          normalize, mirror

`infer` joins these parts for whole images, `tiling.py` for tiles. Maps are channels-first, one image at a time, so a
batch gives the values of its images bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from metastyle_hub.networks.backends import Convolve, convolution, resolve_backend
from metastyle_hub.networks.phases import phase_kernel, phases, upsampling_kernel
from metastyle_hub.networks.transformer_net import TransformerNet, logits_to_image, transform

__all__ = [
    "center",
    "conv_of",
    "infer",
    "mirror",
    "norm_of",
    "normalize",
    "phased_to_rgb",
    "residual_blocks",
    "upsampled_convolution",
]

_EPS = 1e-5  # of F.instance_norm


@torch.no_grad()
def infer(
    network: TransformerNet,
    parameters: Mapping[str, Tensor],
    images: Tensor,
    backend: str = "auto",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return M(images; parameters) as `transform` does, up to rounding: (B, 3, H, W) in [0, 1] -> the same.

    Args:
        network: gives the architecture.
        parameters: of the whole network; see `transform`.
        images: sides are multiples of 4 and at least 16.
        backend: one of `BACKENDS`.
        dtype: of the arithmetic.

    Raises:
        SettingError: for a backend that this machine does not have.

    >>> network = TransformerNet()
    >>> infer(network, network.parameter_dict(), torch.rand(1, 3, 64, 64)).shape
    torch.Size([1, 3, 64, 64])
    """
    chosen = resolve_backend(backend, images.device, getattr(network, "dtype", dtype))
    if chosen == "reference":
        return transform(network, parameters, images, dtype)
    logits = []
    for i, image in enumerate(images.to(dtype)):
        own = {n: (p[i] if p.ndim > network.get_parameter(n).ndim else p).to(dtype) for n, p in parameters.items()}
        logits.append(_logits(network, own, image, convolution(chosen)))
    return logits_to_image(network, torch.stack(logits))


def conv_of(parameters: Mapping[str, Tensor], layer: str) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a layer's convolution."""
    return parameters[f"{layer}.conv.weight"], parameters[f"{layer}.conv.bias"]


def norm_of(parameters: Mapping[str, Tensor], layer: str) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a layer's instance norm."""
    return parameters[f"{layer}.norm.weight"], parameters[f"{layer}.norm.bias"]


def _logits(network: TransformerNet, parameters: Mapping[str, Tensor], image: Tensor, convolve: Convolve) -> Tensor:
    """Return the logits of one image: (3, H, W) -> (3, H, W)."""
    n, mode = network.config.width, network.config.upsampling
    height, width = image.shape[-2:]
    conv, norm = partial(conv_of, parameters), partial(norm_of, parameters)

    def padded(x: Tensor, name: str, bias_map: Tensor | None = None, edge: int = 1) -> Tensor:
        """The input of the next 3x3 convolution: relu(norm(x)), padded by 1."""
        buffer = x.new_empty(x.shape[0], x.shape[1] + 2, x.shape[2] + 2)
        normalize(x[None, None], *norm(name), buffer[None, None, :, 1:-1, 1:-1], bias_map)
        return mirror(buffer, 1, (edge, edge), (edge, edge))

    x = convolve(F.pad(image, (4,) * 4, mode="reflect"), *conv("encoder.0"))  # (32, H, W)
    x = F.conv2d(padded(x, "encoder.0")[None], *conv("encoder.1"), stride=2)[0]  # (64, H/2, W/2)
    x = F.conv2d(padded(x, "encoder.1")[None], *conv("encoder.2"), stride=2)[0]  # (128, H/4, W/4)
    x = padded(x, "encoder.2", network.noise(image[None], 4 * n, 1))
    residual_blocks(network, parameters, x, convolve)
    mirror(x, 1, (0, 0), (0, 0))  # upsampling repeats the edge
    y = upsampled_convolution(x, *conv("decoder.0"), mode, convolve)  # (2, 2, 64, H/4, W/4)
    x = y.new_empty(2 * n, height // 2 + 2, width // 2 + 2)
    normalize(y, *norm("decoder.0"), phases(x[:, 1:-1, 1:-1]), network.noise(image[None], 2 * n, 2))
    mirror(x, 1, (0, 0), (0, 0))
    y = upsampled_convolution(x, *conv("decoder.1"), mode, convolve)  # (2, 2, 32, H/2, W/2)
    x = y.new_empty(2, 2, n, height // 2 + 4, width // 2 + 4)
    normalize(y, *norm("decoder.1"), x[..., 2:-2, 2:-2], network.content_logits(image[None]))
    return phased_to_rgb(x, parameters["to_rgb.weight"], parameters["to_rgb.bias"], convolve)


def residual_blocks(network: TransformerNet, parameters: Mapping[str, Tensor], x: Tensor, convolve: Convolve) -> None:
    """Apply the residual blocks in place: (128, H/4 + 2, W/4 + 2), padded by 1."""
    inner, y = x[None, None, :, 1:-1, 1:-1], torch.empty_like(x)
    for i in range(len(network.residual_blocks)):
        first, second = (f"residual_blocks.{i}.{part}" for part in ("first", "second"))
        z = convolve(x, *conv_of(parameters, first))
        normalize(z[None, None], *norm_of(parameters, first), y[None, None, :, 1:-1, 1:-1])
        z = convolve(mirror(y, 1), *conv_of(parameters, second))
        normalize(z[None, None], *norm_of(parameters, second), inner, relu=False, add=True)
        mirror(x, 1)


def center(x: Tensor) -> tuple[Tensor, Tensor]:
    """Subtract from a map (P, P, C, H, W) its mean per channel, in place; return mean and variance, (C,) each."""
    mean = x.mean((-2, -1)).mean((0, 1))
    x.sub_(mean[:, None, None])
    # norms of rows, then of the map: partial sums keep the rounding error of large maps small
    norm = torch.linalg.vector_norm(torch.linalg.vector_norm(x, dim=-1), dim=(0, 1, 3))
    return mean, norm.square() / x[:, :, 0].numel()


def normalize(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    target: Tensor,
    bias_map: Tensor | None = None,
    *,
    relu: bool = True,
    add: bool = False,
    moments: tuple[Tensor, Tensor] | None = None,
) -> None:
    """Write the instance norm of a map to `target`; x is changed.

    Args:
        x: (P, P, C, H, W), the phases of one map, or with P = 1 the map itself.
        weight: (C,).
        bias: (C,).
        target: the shape of x, any strides; may be x.
        bias_map: (1, N, P H, P W): what the first N biases scale instead of 1.
        relu: whether a ReLU follows.
        add: whether to add to the values of `target`.
        moments: mean and variance per channel to use instead of those of x.
    """
    if moments is None:
        _, variance = center(x)
    else:
        mean, variance = moments
        x.sub_(mean[:, None, None])
    scale, shift = (weight / (variance + _EPS).sqrt())[:, None, None], bias[:, None, None]
    maps = None if bias_map is None else (phases(bias_map[0]) if len(x) == 2 else bias_map[None])
    mapped = 0 if bias_map is None else bias_map.shape[1]
    for i, j in product(range(len(x)), repeat=2):
        out = target[i, j]
        if add:
            out.addcmul_(x[i, j], scale)
        else:
            torch.mul(x[i, j], scale, out=out)
        out[mapped:].add_(shift[mapped:])
        if maps is not None:
            out[:mapped].addcmul_(shift[:mapped], maps[i, j])
        if relu:
            out.relu_()


def mirror(x: Tensor, margin: int, rows: tuple[int, int] = (1, 1), columns: tuple[int, int] = (1, 1)) -> Tensor:
    """Fill the margin of (..., H + 2 margin, W + 2 margin) in place, and return it.

    Args:
        x: the padded map.
        margin: its width.
        rows: at the top and at the bottom, 1 to reflect about the center of the last sample, as reflection padding
            does; 0 about its edge. With a margin of 1 the latter repeats the last sample.
        columns: the same at the left and at the right.
    """
    for axis, (before, after) in ((-2, rows), (-1, columns)):
        size = x.shape[axis]
        x.narrow(axis, 0, margin).copy_(x.narrow(axis, margin + before, margin).flip(axis))
        x.narrow(axis, size - margin, margin).copy_(x.narrow(axis, size - 2 * margin - after, margin).flip(axis))
    return x


def upsampled_convolution(x: Tensor, weight: Tensor, bias: Tensor, mode: str, convolve: Convolve) -> Tensor:
    """Return the reflection-padded 3x3 convolution of a map upsampled by 2, as phases.

    Args:
        x: (C, H + 2, W + 2), with its last samples repeated.
        weight: (D, C, 3, 3).
        bias: (D,).
        mode: of the upsampling, "bilinear" or "nearest".
        convolve: the convolution.

    Returns:
        (2, 2, D, H, W).
    """
    y = convolve(x, upsampling_kernel(weight, mode), bias.repeat(4)).unflatten(0, (2, 2, -1))
    inner = x[:, 1:-1, 1:-1]
    flipped, sides = weight.flip(-2), weight.mT
    y[0, :, :, 0] = _first_row(inner, weight, bias, mode)
    y[1, :, :, -1] = _first_row(inner[:, -2:].flip(-2), flipped, bias, mode)
    y[:, 0, :, :, 0] = _first_row(inner.mT, sides, bias, mode)
    y[:, 1, :, :, -1] = _first_row(inner[..., -2:].flip(-1).mT, sides.flip(-2), bias, mode)
    return y


def _first_row(x: Tensor, weight: Tensor, bias: Tensor, mode: str) -> Tensor:
    """The first row of the map that `upsampled_convolution` returns: (C, H, W) -> (2, D, W)."""
    rows = F.interpolate(x[None, :, :2], scale_factor=2, mode=mode)[:, :, :2]
    row = F.conv2d(F.pad(rows, (1, 1, 1, 0), mode="reflect"), weight, bias)  # (1, D, 1, 2 W)
    return row[0, :, 0].unflatten(1, (-1, 2)).permute(2, 0, 1)


def phased_to_rgb(x: Tensor, weight: Tensor, bias: Tensor, convolve: Convolve) -> Tensor:
    """Return the reflection-padded 9x9 convolution of a map given as phases, whose margin of 2 is filled here.

    Args:
        x: (2, 2, C, H + 4, W + 4), phases.
        weight: (3, C, 9, 9).
        bias: (3,).
        convolve: the convolution.

    Returns:
        (3, 2 H, 2 W).
    """
    for i, j in product((0, 1), repeat=2):
        # an even phase starts with the map's first sample, and ends one before its last
        mirror(x[i, j], 2, (1 - i, i), (1 - j, j))
    y = convolve(x.flatten(0, 2), phase_kernel(weight), bias.repeat(4)).unflatten(0, (2, 2, -1))
    return y.permute(2, 3, 0, 4, 1).flatten(3).flatten(1, 2)
