"""Decode images of any kind to upright 8-bit sRGB, with limits that are checked before anything is decoded."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import struct
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError

from metastyle_hub.errors import ImageError, capitalized
from metastyle_hub.images.color import color_profile, to_srgb
from metastyle_hub.images.pages import is_raw_photo, select_full_page
from metastyle_hub.images.transparency import fill_hidden

__all__ = [
    "DEFAULT_LIMITS",
    "HEIF_SUFFIXES",
    "NEEDS_HEIF",
    "READABLE",
    "READABLE_FORMATS",
    "ImageLimits",
    "check_pixels",
    "check_range",
    "decode",
    "decode_array",
    "decode_deep",
    "decode_image",
    "has_heif",
    "is_decoded",
    "open_image",
    "quoted",
    "reason",
]

# Raster formats with a signature, decoded in this process. EPS starts Ghostscript, TGA accepts any bytes, ICO nests
# images of another size. HEIF needs the package pillow-heif.
READABLE_FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "PPM", "HEIF")
READABLE = "JPEG, PNG, WebP, AVIF, GIF, BMP, TIFF or PPM"
HEIF_SUFFIXES = (".heic", ".heif", ".hif")
NEEDS_HEIF = "HEIC needs pillow-heif: pip install 'metastyle-hub[heif]'"
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

# Encoders use about ten scans; a hostile file can request one more pass over all its pixels with 100 bytes.
_MAX_JPEG_SCANS = 50
_JPEG_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
_ORIENTATION = ExifTags.Base.Orientation
_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # TIFF tags
_ROUNDING = 1e-3  # by which values may lie outside [0, 1]
_OPEN_LOCK = threading.Lock()


@dataclass(frozen=True)
class ImageLimits:
    """How large an image may be, and how long its download may take.

    Attributes:
        max_pixels: width times height. Good cameras have 50 million, which decode to 200 MB.
        max_bytes: of the file. 200 MB hold 50 million uncompressed RGBA pixels.
        timeout: seconds for a URL.
    """

    max_pixels: int = 50_000_000
    max_bytes: int = 200_000_000
    timeout: float = 30.0


DEFAULT_LIMITS = ImageLimits()


def decode(data: bytes, name: str, limits: ImageLimits = DEFAULT_LIMITS) -> Image.Image:
    """Decode the bytes of an image file to "RGB" or "RGBA", see `io.load_image`.

    Args:
        data: the file.
        name: how error messages call it.
        limits: checked before pixels are decoded.

    Raises:
        ImageError: if it is too large, damaged or no image.

    >>> decode(Path("photo.jpg").read_bytes(), "photo.jpg").mode
    'RGB'
    """
    if is_raw_photo(data):
        raise ImageError(f"{name} is a raw photo, which is not developed here; export it as {READABLE}.")
    try:
        with open_image(data) as image:
            if (missing := select_full_page(image)) is not None:
                raise ImageError(f"{name} cannot be used: {missing}; export it as {READABLE}.")
            check_pixels(name, *image.size, limits)
            if image.format in ("JPEG", "MPO"):
                _check_scans(data, name)
            # the TIFF plugin compares with Pillow's limit once more
            with _without_pillow_limit() if image.format == "TIFF" else contextlib.nullcontext():
                image.load()
            return _to_srgb(image)
    except ImageError:
        raise
    except UnidentifiedImageError:
        if _is_heif(data) and not has_heif():
            raise ImageError(f"{name} cannot be decoded: {NEEDS_HEIF}, or export it as {READABLE}.") from None
        raise ImageError(
            f"{name} is no image in a format that can be read, or its header is damaged; export it as {READABLE}."
        ) from None
    except Exception as error:  # a malformed file makes plugins raise nearly anything
        raise ImageError(f"{name} cannot be decoded: {reason(error)}; fetch or export it again.") from error


def decode_image(image: Image.Image, limits: ImageLimits | None = DEFAULT_LIMITS) -> Image.Image:
    """Convert a PIL image of any mode to "RGB" or "RGBA", see `io.load_image`; `image` is not changed.

    Args:
        image: opened, not necessarily loaded.
        limits: None for no limit.

    Raises:
        ImageError: if it is too large or damaged.
    """
    try:
        check_pixels("the image", *image.size, limits)
        image.load()  # Image.open alone decodes nothing
        return _to_srgb(image)
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(f"The image cannot be decoded: {reason(error)}; open it again.") from error


def is_decoded(image: Image.Image) -> bool:
    """Return whether this is an image as `decode` makes them, which needs no conversion."""
    plain = type(image) is Image.Image and image.mode in ("RGB", "RGBA") and min(image.size) > 0
    return plain and image.info.keys() <= {"dpi"} and not image.getexif()


def decode_array(array: npt.NDArray[Any], limits: ImageLimits = DEFAULT_LIMITS) -> Image.Image:
    """Convert an array (H, W), (H, W, 3) or (H, W, 4), uint8 or float in [0, 1], to "RGB" or "RGBA".

    Raises:
        ImageError: for another shape or type, values outside [0, 1], or too many pixels.

    >>> decode_array(np.zeros((48, 64, 3))).size
    (64, 48)
    """
    is_float = np.issubdtype(array.dtype, np.floating)
    if not (is_float or array.dtype == np.uint8) or array.ndim not in (2, 3) or array.shape[2:] not in ((), (3,), (4,)):
        raise ImageError(
            f"An image array cannot be {array.dtype} of shape {array.shape}; pass uint8, or float in [0, 1], of shape "
            "(H, W), (H, W, 3) or (H, W, 4)."
        )
    check_pixels("the image array", array.shape[1], array.shape[0], limits)
    if is_float:
        array = array.astype(np.float32)
        check_range("image array", float(array.min()), float(array.max()))
        array = (array.clip(0, 1) * 255).round().astype(np.uint8)
    return _to_srgb(Image.fromarray(array))


def decode_deep(data: bytes) -> npt.NDArray[np.float32] | None:
    """Return a PNG or TIFF of 16 bits a channel as (H, W, 3) in [0, 1]; None for any other image.

    Pillow keeps the upper 8 bits of colors. Told that their bytes have the other order, it keeps the lower ones. None
    too for an image with a color profile or an orientation. The caller has decoded the file before, and so checked it.
    """
    with open_image(data) as image:
        select_full_page(image)
        raw = {_raw_mode(tile) for tile in image.tile}  # before the metadata: reading those of a PNG decodes it
        if len(raw) != 1 or ";16" not in (mode := raw.pop()):
            return None
        if color_profile(image) is not None or image.getexif().get(_ORIENTATION, 1) != 1:
            return None
        if image.mode == "I;16" and image.format == "PNG":
            gray = np.asarray(image).astype(np.float32) / 65535
            return np.repeat(gray[..., None], 3, axis=2)
        if image.mode not in ("RGB", "RGBA") or image.format not in ("PNG", "TIFF"):
            return None
    name, _, order = mode.partition(";16")
    order = order.replace("N", "L" if sys.byteorder == "little" else "B")
    if order not in ("B", "L"):
        return None
    halves = []
    for swapped in (f"{name};16{order}", f"{name};16{'BL'[order == 'B']}"):
        with open_image(data) as image:
            select_full_page(image)
            image.tile = [
                tile._replace(args=(swapped, *tile.args[1:]) if isinstance(tile.args, tuple) else swapped)
                for tile in image.tile
            ]
            with _without_pillow_limit() if image.format == "TIFF" else contextlib.nullcontext():
                halves.append(np.asarray(image)[..., :3])
    upper, lower = halves
    return (upper * np.float32(256) + lower) / np.float32(65535)


def _raw_mode(tile: Any) -> str:
    """The order of samples in a part of a file, such as "RGB;16B"."""
    return str(tile.args[0] if isinstance(tile.args, tuple) else tile.args)


def check_pixels(name: str, width: int, height: int, limits: ImageLimits | None) -> None:
    """Refuse an image without pixels, or with more than `limits` allows; `name` begins the sentence.

    Raises:
        ImageError: with the size.
    """
    if width < 1 or height < 1:
        raise ImageError(f"{capitalized(name)} has no pixels ({width}x{height}); pass an image of at least 1x1.")
    if limits is not None and width * height > limits.max_pixels:
        raise ImageError(
            f"{capitalized(name)} has {width}x{height} = {width * height / 1e6:,.1f} million pixels, more than "
            f"the limit of {limits.max_pixels / 1e6:,.1f} million; make it smaller or raise max_pixels."
        )


def check_range(name: str, low: float, high: float) -> None:
    """Refuse float images with values outside [0, 1]; rounding errors up to 0.001 are accepted.

    Raises:
        ImageError: with the values.
    """
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageError(f"The {name} holds NaN or infinite values; make every value a number in [0, 1].")
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        raise ImageError(
            f"The {name} holds values from {low:.4g} to {high:.4g} instead of [0, 1]; divide 8-bit values by 255 and "
            "undo any normalization."
        )


def open_image(file: bytes | Path) -> ImageFile.ImageFile:
    """Open an image file of a readable format without decoding it. The caller checks its size.

    Raises:
        UnidentifiedImageError: if no format matches. Damaged files raise nearly anything.
    """
    Image.init()
    if isinstance(file, bytes) and _is_heif(file):
        has_heif()
    with _without_pillow_limit():
        return Image.open(
            BytesIO(file) if isinstance(file, bytes) else file,
            formats=[name for name in READABLE_FORMATS if name in Image.OPEN],
        )


@functools.cache
def has_heif() -> bool:
    """Return whether HEIC images can be read; Pillow then has the plugin of pillow-heif."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return "HEIF" in Image.OPEN  # of an application
    register_heif_opener()
    return True


def _is_heif(data: bytes) -> bool:
    return data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS


@contextlib.contextmanager
def _without_pillow_limit() -> Iterator[None]:
    """Lift Pillow's own limit, global to the process, which warns on stderr and refuses what `ImageLimits` allows."""
    with _OPEN_LOCK:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _check_scans(data: bytes, name: str) -> None:
    scans, position = 0, 2
    while (match := _JPEG_MARKER.search(data, position)) and match[1] != b"\xd9":
        scans += match[1] == b"\xda"
        position = match.end()
        if match[1] not in (b"\xd8", b"\x01"):  # others state their length, and may contain bytes like markers
            position += int.from_bytes(data[position : position + 2])
        if scans > _MAX_JPEG_SCANS:
            raise ImageError(f"{name} has over {_MAX_JPEG_SCANS} JPEG scans; save it as an ordinary JPEG.")


def _to_srgb(image: Image.Image) -> Image.Image:
    """Convert a loaded image of any mode to a new, upright "RGB" or "RGBA" image in sRGB.

    The result has no metadata but its resolution, `info["dpi"]`: an orientation or a profile left in place would be
    applied a second time. Colors under transparent pixels are replaced, see `fill_hidden`.
    """
    source, alpha = image, None
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image, alpha = _to_8_bit(image)
    elif image.has_transparency_data:
        if image.mode in ("La", "RGBa"):  # premultiplied
            image = image.convert("LA" if image.mode == "La" else "RGBA")
        rgba = image.convert("RGBA")
        alpha = rgba.getchannel("A")
        image = image.getchannel("L") if image.mode == "LA" else rgba.convert("RGB")
    rgb = to_srgb(image, color_profile(source))
    if alpha is not None and alpha.getextrema() != (255, 255):
        rgb = fill_hidden(rgb, alpha)
        rgb.putalpha(alpha)
    rgb.info = _resolution(source.info.get("dpi"))
    with contextlib.suppress(Exception):  # broken metadata is no reason to refuse an image that decodes
        orientation = source.getexif().get(_ORIENTATION)
        rgb.getexif()[_ORIENTATION] = orientation
        ImageOps.exif_transpose(rgb, in_place=True)
    rgb.getexif().clear()
    return rgb


def _resolution(dpi: Any) -> dict[str | tuple[int, int], Any]:
    """Return `info` with the resolution in dots per inch, if it is one that can be written again."""
    with contextlib.suppress(TypeError, ValueError, OverflowError, ZeroDivisionError):
        values = tuple(float(value) for value in dpi)
        if len(values) == 2 and all(1 < value < 65_535 for value in values):
            return {"dpi": values}
    return {}


def _to_8_bit(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Convert gray of more than 8 bits to "L" and its alpha. Pillow's own conversion clips all above 255 to white."""
    tags = getattr(image, "tag_v2", {})
    bits, signed = tags.get(_BITS_PER_SAMPLE, (0,))[0], tags.get(_SAMPLE_FORMAT, (1,))[0] == 2
    values = np.asarray(image)
    alpha = None
    if isinstance(clear := image.info.get("transparency"), int):
        alpha = Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8))
    if image.mode == "I" and bits == 32 and not signed:
        values = values.view(np.uint32)  # Pillow reads unsigned samples as signed
    data = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = min(float(data.min()), 0.0), float(data.max())
    if image.mode.startswith("I;16") or (signed and bits == 16):
        # the full range is known; stretching would brighten an image that is dark on purpose
        high = float(2 ** min(bits or 16, 16) - 1) if not signed else 32767.0
    elif image.mode == "I" or (high > 1 and np.array_equal(data, np.rint(data))):
        # whole numbers: 8-bit or 16-bit samples in a wider type, or else measurements, which are stretched
        high = next(full for full in (255.0, 65535.0, high) if high <= full)
    else:
        high = max(high, 1.0)
    data -= low
    data *= 255 / (high - low)
    if image.mode.startswith("I;16") and tags.get(_PHOTOMETRIC) == 0:
        data = 255 - data  # "white is zero", which Pillow supports for 8 bits only
    return Image.fromarray(data.round().clip(0, 255).astype(np.uint8)), alpha


def quoted(path: str | os.PathLike[str]) -> str:
    """Return a path as error messages show it."""
    return repr(os.fsdecode(path))  # repr, because a name may hold a line break


def reason(error: BaseException) -> str:
    """Return what an exception of a decoder or an encoder means to a user, as a part of a sentence."""
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    if not isinstance(error, (OSError, SyntaxError, ValueError)):
        return "its data is damaged"  # the text of a KeyError or an IndexError means nothing to a user
    if isinstance(error.__cause__, (LookupError, TypeError, struct.error)):  # Pillow wraps them in SyntaxError
        return "its header is damaged"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()).rstrip(".") or type(error).__name__
