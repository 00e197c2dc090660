"""Decoded frames of any kind to upright sRGB with square pixels.

FFmpeg converts the color matrix and scales. What its builds for Python lack, the conversion of high dynamic range and
wide gamut, is arithmetic of the ITU's recommendations here:

    PQ (BT.2100):    L = 10000 (max(E^(1/m2) - c1, 0) / (c2 - c3 E^(1/m2)))^(1/m1)      nit
    HLG (BT.2100):   S = E^2 / 3 for E <= 1/2, else (exp((E - c) / a) + b) / 12;   L = 1000 Y(S)^0.2 S
    gamut (BT.2087): R'G'B' of BT.709 = M (R'G'B' of BT.2020), negative values are 0
    tone mapping:    x = L / 203 (reference white, BT.2408), of the greatest channel; all scaled by f(x) / x

f is Mobius' curve of FFmpeg's filter `tonemap`: x up to a knee of 0.85, then smooth up to 1 at 1000 nit.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["linear_to_srgb", "to_sdr", "upright_rgb"]

_UNSPECIFIED, _HD_HEIGHT = 2, 720  # as in players, an unspecified color matrix is BT.709 from 720 lines on
_BT2020, _P3_D65 = 9, 12  # primaries in H.273
_PQ, _HLG = 16, 18  # transfer functions in H.273
_WHITE, _PEAK = 203.0, 1000.0  # nit
_KNEE = 0.85
_TO_BT709 = {
    _BT2020: ((1.660491, -0.587641, -0.072850), (-0.124550, 1.132900, -0.008349), (-0.018151, -0.100579, 1.118730)),
    _P3_D65: ((1.224940, -0.224940, 0.0), (-0.042057, 1.042057, 0.0), (-0.019638, -0.078636, 1.098274)),
}
_MAX_PIXEL_ASPECT = 8  # a greater one is an error in the file


def upright_rgb(
    decoded: Any, pixel_aspect: Fraction | None, transfer: int, primaries: int
) -> tuple[Tensor, Tensor | None]:
    """Convert an av.VideoFrame to what players show: rotated as the file states, with square pixels, in sRGB.

    Args:
        decoded: the frame.
        pixel_aspect: width of a pixel by its height, if stated.
        transfer: function of the stream, as numbered in H.273.
        primaries: of the stream, as numbered in H.273.

    Returns:
        The image (1, 3, H, W) in [0, 1], over white where it is transparent, and its alpha (1, 1, H, W) if it has one.
    """
    wide = transfer in (_PQ, _HLG) or primaries in _TO_BT709
    has_alpha = any(component.is_alpha for component in decoded.format.components)
    width, height = _square_size(decoded.width, decoded.height, pixel_aspect)
    is_hd = int(decoded.colorspace) == _UNSPECIFIED and decoded.height >= _HD_HEIGHT
    rgb = decoded.reformat(
        width,
        height,
        format=("rgba64le" if wide else "rgba") if has_alpha else ("rgb48le" if wide else "rgb24"),
        src_colorspace="ITU709" if is_hd else None,
        interpolation="BICUBIC" if (width, height) != (decoded.width, decoded.height) else None,
    )
    array = torch.from_numpy(rgb.to_ndarray().astype(np.float32) if wide else rgb.to_ndarray())  # (H, W, 3 or 4)
    array = _oriented(array, decoded)
    pixels = array.permute(2, 0, 1)[None].contiguous().float().div_(65535 if wide else 255)  # (1, 3 or 4, H, W)
    image, alpha = pixels[:, :3], pixels[:, 3:] if has_alpha else None
    if wide:
        image = to_sdr(image, transfer, primaries)
    return image if alpha is None else torch.lerp(torch.ones_like(image), image, alpha), alpha


def to_sdr(image: Tensor, transfer: int, primaries: int) -> Tensor:
    """Convert R'G'B' of high dynamic range or wide gamut to sRGB; reference white (203 nit) becomes 0.97.

    Args:
        image: (B, 3, H, W) in [0, 1].
        transfer: 16 for PQ, 18 for HLG, otherwise that of sRGB.
        primaries: 9 for BT.2020, 12 for P3, otherwise those of BT.709; as numbered in H.273.

    >>> to_sdr(torch.full((1, 3, 1, 1), 0.5807), transfer=16, primaries=9)[0, :, 0, 0]  # 203 nit in PQ
    tensor([0.9669, 0.9669, 0.9669])
    """
    if transfer == _PQ:
        root = image.clamp(0, 1).pow(1 / 78.84375)
        light = ((root - 0.8359375).clamp(min=0) / (18.8515625 - 18.6875 * root)).pow(1 / 0.1593017578125) * 10_000
    elif transfer == _HLG:
        upper = (((image - 0.55991073) / 0.17883277).exp() + 0.28466892) / 12
        scene = torch.where(image <= 0.5, image.square() / 3, upper)
        luma = torch.tensor([0.2627, 0.6780, 0.0593], dtype=image.dtype, device=image.device).view(3, 1, 1)
        light = 1000 * (scene * luma).sum(1, keepdim=True).pow(0.2) * scene
    else:
        light = torch.where(image <= 0.04045, image / 12.92, ((image.clamp(min=0) + 0.055) / 1.055).pow(2.4))
    if transfer in (_PQ, _HLG):
        light = light / _WHITE
        primaries = _BT2020 if primaries == _UNSPECIFIED else primaries
    if primaries in _TO_BT709:
        matrix = torch.tensor(_TO_BT709[primaries], dtype=image.dtype, device=image.device)
        light = torch.einsum("ij,bjhw->bihw", matrix, light).clamp(min=0)
    if transfer in (_PQ, _HLG):
        greatest = light.amax(1, keepdim=True).clamp(min=1e-6)
        light = light * (_tone_curve(greatest) / greatest)
    return linear_to_srgb(light.clamp(0, 1))


def linear_to_srgb(light: Tensor) -> Tensor:
    """Return the sRGB values of linear ones in [0, 1] (IEC 61966-2-1)."""
    return torch.where(light <= 0.0031308, light * 12.92, 1.055 * light.clamp(min=1e-6).pow(1 / 2.4) - 0.055)


def _tone_curve(light: Tensor) -> Tensor:
    knee, peak = _KNEE, _PEAK / _WHITE
    a = -(knee**2) * (peak - 1) / (knee**2 - 2 * knee + peak)
    b = (knee**2 - 2 * knee * peak + peak) / (peak - 1)
    curve = (b * b + 2 * b * knee + knee * knee) / (b - a) * (light + a) / (light + b)
    return torch.where(light <= knee, light, curve.clamp(max=1))


def _square_size(width: int, height: int, aspect: Fraction | None) -> tuple[int, int]:
    """Return the size with square pixels; the side whose pixels are longer grows."""
    if not aspect or not Fraction(1, _MAX_PIXEL_ASPECT) <= aspect <= _MAX_PIXEL_ASPECT:
        return width, height
    return (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))


def _oriented(array: Tensor, decoded: Any) -> Tensor:
    """Turn and mirror (H, W, C) by the display matrix: phones store videos as their sensors lie."""
    try:
        data = decoded.side_data["DISPLAYMATRIX"]
    except KeyError:
        return array
    except ValueError:  # other side data, of a kind that this PyAV does not know
        return torch.rot90(array, round(decoded.rotation / 90) % 4)
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()  # x' = a x + c y, y' = b x + d y, y downwards
    if abs(b) + abs(c) > abs(a) + abs(d):
        array, (a, d) = array.transpose(0, 1), (c, b)
    return array.flip([axis for axis, sign in ((0, d), (1, a)) if sign < 0])
