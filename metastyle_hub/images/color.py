"""Color profiles: convert images to sRGB, from embedded profiles and from what cameras and PNG files say instead."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageCms

__all__ = ["color_profile", "to_srgb"]

_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
# x and y of white, red, green and blue, as in the cHRM chunk of a PNG
_SRGB = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_ADOBE_RGB = (0.3127, 0.3290, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
_ADOBE_GAMMA = 563 / 256


def color_profile(image: Image.Image) -> bytes | None:
    """Return the ICC profile of an opened image, or one made from other statements about its colors; None for sRGB.

    Cameras set to Adobe RGB embed no profile but the EXIF interoperability index "R03" (DCF 2.0); PNG files may have
    gAMA and cHRM chunks.
    """
    info = image.info
    if icc := info.get("icc_profile"):
        return icc if isinstance(icc, bytes) else None
    with contextlib.suppress(Exception):  # broken metadata is no reason to refuse an image that decodes
        if image.getexif().get_ifd(ExifTags.IFD.Interop).get(ExifTags.Interop.InteropIndex) == "R03":
            return _matrix_profile(_ADOBE_RGB, _ADOBE_GAMMA)
    with contextlib.suppress(Exception):
        if image.format == "PNG" and "gamma" in info and "srgb" not in info:
            primaries, gamma = info.get("chromaticity", _SRGB), 1 / float(info["gamma"])
            # 1 / 2.2 and the primaries of sRGB mean sRGB, whose curve is no power
            if abs(gamma - 2.2) > 0.05 or not np.allclose(primaries, _SRGB, atol=0.002):
                return _matrix_profile(primaries, gamma)
    return None


def to_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    """Convert an opaque 8-bit image to a new "RGB" image in sRGB, through a color profile if it is usable."""
    if icc:
        # viewers ignore a broken profile, or one of another kind of image
        with contextlib.suppress(Exception):
            profile = ImageCms.ImageCmsProfile(BytesIO(icc))
            mode = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}[profile.profile.xcolor_space.strip()]
            fits = (mode == "CMYK") == (image.mode == "CMYK") and (mode != "L" or image.mode in ("1", "L"))
            transform = ImageCms.buildTransform(
                profile,
                ImageCms.createProfile("sRGB"),
                mode,
                "RGB",
                ImageCms.Intent.RELATIVE_COLORIMETRIC,
                ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
            if fits and (mode != "RGB" or not _is_identity(transform)):
                return transform.apply(image.convert(mode))
    return image.convert("RGB")


def _is_identity(transform: ImageCms.ImageCmsTransform) -> bool:
    """Most profiles are sRGB; applying them costs time and changes pixels by one level."""
    levels = np.linspace(0, 255, 9).round().astype(np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(27, 27, 3)
    converted = np.asarray(transform.apply(Image.fromarray(cube)))
    return int(np.abs(converted.astype(int) - cube).max()) <= 1


def _matrix_profile(chromaticities: Sequence[float], gamma: float) -> bytes:
    """Return an ICC profile (version 2) of an RGB space: x and y of white, red, green and blue, and one gamma."""
    xy = np.asarray(chromaticities, dtype=float).reshape(4, 2)
    xyz = np.stack([xy[:, 0] / xy[:, 1], np.ones(4), (1 - xy.sum(1)) / xy[:, 1]])  # (3, 4), columns
    white, primaries = xyz[:, 0], xyz[:, 1:]
    colorants = primaries * np.linalg.solve(primaries, white)
    adaptation = np.linalg.solve(_BRADFORD, np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white)) @ _BRADFORD)
    colorants = adaptation @ colorants  # (3, 3), relative to D50

    def xyz_tag(values: Any) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(float(v) * 65536) for v in values))

    curve = b"curv\0\0\0\0" + struct.pack(">IH2x", 1, round(gamma * 256))
    tags = {b"wtpt": xyz_tag(_D50)} | {c + b"XYZ": xyz_tag(colorants[:, i]) for i, c in enumerate((b"r", b"g", b"b"))}
    tags |= {c + b"TRC": curve for c in (b"r", b"g", b"b")}
    table, data = struct.pack(">I", len(tags)), b""
    for name, tag in tags.items():
        table += name + struct.pack(">II", 128 + 4 + 12 * len(tags) + len(data), len(tag))
        data += tag
    header = struct.pack(">I4sI4s4s4s12x4s28x3i48x", 128 + len(table) + len(data), b"", 0x02100000, b"mntr", b"RGB ",
                         b"XYZ ", b"acsp", *(round(v * 65536) for v in _D50))  # fmt: skip
    return header + table + data
