"""Image files and PIL images of any kind, decoded to upright 8-bit sRGB, or refused in one sentence (`ImageError`).

`images` builds on this: tensors, geometry and writing are there.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from metastyle_hub.errors import ImageError, capitalized

__all__ = [
    "DEFAULT_LIMITS",
    "ImageLimits",
    "check_pixels",
    "decode_array",
    "decode_file",
    "decode_object",
    "file_sha256",
    "list_images",
    "quoted",
    "reason",
]

# Raster formats with a signature, decoded in this process. EPS would start Ghostscript, TGA claims any bytes
# at all, and ICO nests whole images of another size. HEIF is there only where an application has registered
# a plugin for it.
_READABLE = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "PPM", "HEIF")
_READABLE_TEXT = "JPEG, PNG, WebP, AVIF, GIF, BMP, TIFF or PPM"
_LIST_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".avif", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"))
# Encoders use about ten scans; a hostile file can ask for one more pass over all its pixels with 100 bytes.
_MAX_JPEG_SCANS = 50
_JPEG_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class ImageLimits:
    """How large an image may be. Both limits are checked before anything is decoded.

    max_pixels: width times height. 50 million is what good cameras make, and decodes to 200 MB.
    max_bytes: size of the file in bytes. 200 MB holds 50 million uncompressed RGBA pixels.
    """

    max_pixels: int = 50_000_000
    max_bytes: int = 200_000_000


DEFAULT_LIMITS = ImageLimits()


def decode_file(path: str | os.PathLike[str], limits: ImageLimits = DEFAULT_LIMITS) -> Image.Image:
    """An image file as "RGB" or "RGBA", as `images.load_image` describes it.

    Raises ImageError where it is missing, too large, damaged or no image.

        >>> decode_file("holiday.jpg").mode
        'RGB'
    """
    with _open_file(path, limits.max_bytes) as file:
        return _decode(file, quoted(path), limits)


def decode_object(image: Image.Image, limits: ImageLimits | None = DEFAULT_LIMITS) -> Image.Image:
    """The same for an image that is open already; it is left as it is. None sets no limit."""
    try:
        check_pixels("the image", *image.size, limits)
        image.load()  # an image fresh from Image.open has decoded nothing yet
        return _rgb(image)
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(f"The image cannot be decoded: {reason(error)}; open it again.") from error


def decode_array(array: npt.NDArray[Any], limits: ImageLimits = DEFAULT_LIMITS) -> Image.Image:
    """The same for a uint8 array (H, W), (H, W, 3) or (H, W, 4)."""
    shape = array.shape
    if array.dtype != np.uint8 or len(shape) not in (2, 3) or shape[2:] not in ((), (3,), (4,)):
        raise ImageError(
            f"An image array must be uint8 of shape (H, W), (H, W, 3) or (H, W, 4), not {array.dtype} "
            f"of shape {shape}; for floats in [0, 1] pass a torch tensor (3, H, W)."
        )
    check_pixels("the image array", shape[1], shape[0], limits)
    return _rgb(Image.fromarray(array))


def check_pixels(name: str, width: int, height: int, limits: ImageLimits | None) -> None:
    """Raises ImageError for a picture without pixels, or with more than `limits` allows; `name` begins the sentence."""
    if width < 1 or height < 1:
        raise ImageError(f"{capitalized(name)} has no pixels ({width}x{height}); pass an image of at least 1x1.")
    if limits is not None and width * height > limits.max_pixels:
        raise ImageError(
            f"{capitalized(name)} has {width}x{height} = {width * height / 1e6:,.1f} million pixels, more than "
            f"the limit of {limits.max_pixels / 1e6:,.1f} million; make it smaller or raise max_pixels."
        )


def file_sha256(path: str | os.PathLike[str]) -> str:
    """Hex SHA-256 of a file's bytes. Raises ImageError where it cannot be read."""
    with _open_file(path, None) as file:
        try:
            return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ImageError(f"{quoted(path)} cannot be read: {reason(error)}.") from error


def list_images(folder: str | os.PathLike[str], recursive: bool = True) -> list[Path]:
    """The image files of a folder by suffix, sorted; without hidden ones, and not following links to folders.

    Raises ImageError where the folder is missing or holds no image.

        >>> list_images("photos")
        [PosixPath('photos/beach.jpg'), PosixPath('photos/old/harbour.png')]
    """
    if not Path(folder).is_dir():
        raise ImageError(f"{quoted(folder)} is not a folder; pass the path of a folder with images in it.")
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        paths = [Path(place, name) for name in files if not name.startswith(".")]
        found += [path for path in paths if path.suffix.lower() in _LIST_SUFFIXES and path.is_file()]
    if not found:
        raise ImageError(f"There is no image in {quoted(folder)}; put {_READABLE_TEXT} files there.")
    return sorted(found)


def _open_file(source: str | os.PathLike[str], max_bytes: int | None) -> io.BufferedReader:
    """The file, opened; a regular one (a pipe or a device could block or never end) and within the limit."""
    path, name = Path(source), quoted(source)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{name} is a folder, not an image file; pass one of the files in it.")
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"{name} is a pipe or a device, not an image file; save the image to a file.")
        if status.st_size == 0:
            raise ImageError(f"{name} is an empty file; fetch or export the image again.")
        if max_bytes is not None and status.st_size > max_bytes:
            raise ImageError(
                f"{name} has {status.st_size / 1e6:,.1f} MB, more than the limit of {max_bytes / 1e6:,.1f} "
                "MB; save it smaller or raise max_bytes."
            )
        return path.open("rb")
    except ImageError:
        raise
    except (FileNotFoundError, NotADirectoryError):
        hint = "download it first" if "://" in os.fsdecode(source) else "check the path"
        raise ImageError(f"There is no file {name}; {hint}.") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        raise ImageError(f"{name} cannot be read: {reason(error)}; check the path and its rights.") from error


def _decode(file: io.BufferedReader, name: str, limits: ImageLimits) -> Image.Image:
    """The plugins are called one by one, as Image.open has its own pixel limit, global to the process, by
    which it would warn on stderr or refuse what `limits` allows."""
    Image.init()
    try:
        prefix = file.read(16)
        for format in _READABLE:
            factory, accept = Image.OPEN.get(format, (None, None))
            verdict = accept is not None and accept(prefix)
            if isinstance(verdict, str):
                raise ImageError(f"{name} is {format}, which this Pillow cannot decode; convert it to PNG.")
            if factory is None or not verdict:
                continue
            file.seek(0)
            if format == "JPEG":
                _check_scans(file.read(), name)
                file.seek(0)
            with factory(file, "") as image:
                check_pixels(name, *image.size, limits)
                image.load()
                return _rgb(image)
    except ImageError:
        raise
    except Image.DecompressionBombError as error:  # some plugins check for themselves, by PIL's own limit
        raise ImageError(f"{name} has too many pixels: {reason(error)}; make it smaller.") from error
    except Exception as error:  # a malformed header makes plugins raise nearly anything
        raise ImageError(f"{name} cannot be decoded: {reason(error)}; fetch or export it again.") from error
    raise ImageError(f"{name} is no image in a format that can be read; convert it to {_READABLE_TEXT}.")


def _rgb(image: Image.Image) -> Image.Image:
    """A loaded image of any mode as a new, upright "RGB" or "RGBA" in sRGB, without metadata: an orientation
    or a profile left in place would be applied a second time."""
    try:
        turn = _UPRIGHT.get(image.getexif().get(0x0112, 1))
    except Exception:
        turn = None  # broken metadata is no reason to refuse a picture that decodes
    icc = image.info.get("icc_profile")
    alpha: Image.Image | None = None
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image, alpha = _eight_bit(image)
    elif image.has_transparency_data:
        if image.mode in ("La", "RGBa"):  # premultiplied
            image = image.convert("LA" if image.mode == "La" else "RGBA")
        rgba = image.convert("RGBA")
        alpha = rgba.getchannel("A")
        image = image.getchannel("L") if image.mode == "LA" else rgba.convert("RGB")
    rgb = _srgb(image, icc)
    if alpha is not None and alpha.getextrema() != (255, 255):
        rgb.putalpha(alpha)
    rgb = rgb if turn is None else rgb.transpose(turn)
    rgb.info = {}
    return rgb


def _srgb(image: Image.Image, icc: Any) -> Image.Image:
    """An opaque 8-bit image as a new "RGB" image, through its colour profile where that makes sense."""
    if icc:
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            mode = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}[profile.profile.xcolor_space.strip()]
            if (mode == "CMYK") != (image.mode == "CMYK") or (mode == "L" and image.mode not in ("1", "L")):
                raise ValueError("the profile is for another kind of image")
            transform = ImageCms.buildTransform(
                profile,
                ImageCms.createProfile("sRGB"),
                mode,
                "RGB",
                ImageCms.Intent.RELATIVE_COLORIMETRIC,
                ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
            if mode != "RGB" or not _changes_nothing(transform):
                return transform.apply(image.convert(mode))
        except Exception:
            pass  # viewers show a picture with a broken profile as if it had none, and so do we
    return image.convert("RGB")


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    """Most profiles say sRGB; going through them costs time and moves pixels by one level."""
    steps = np.linspace(0, 255, 9).round().astype(np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(27, 27, 3)
    after = np.asarray(transform.apply(Image.fromarray(cube)))
    return int(np.abs(after.astype(int) - cube).max()) <= 1


def _eight_bit(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Grey of more than 8 bits as "L", and its alpha. PIL's own conversion clips all above 255 to white."""
    tags = getattr(image, "tag_v2", {})
    bits, signed = tags.get(258, (0,))[0], tags.get(339, (1,))[0] == 2
    values = np.asarray(image)
    alpha = None
    if isinstance(clear := image.info.get("transparency"), int):
        alpha = Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8))
    if image.mode == "I" and bits == 32 and not signed:
        values = values.view(np.uint32)  # PIL reads unsigned samples as signed
    data = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = min(float(data.min()), 0.0), float(data.max())
    if image.mode.startswith("I;16") or (signed and bits == 16):
        # the full range is known; stretching would brighten a picture that is dark on purpose
        high = float(2 ** min(bits or 16, 16) - 1) if not signed else 32767.0
    elif image.mode == "I" or (high > 1 and np.array_equal(data, np.rint(data))):
        # whole numbers: 8-bit or 16-bit samples in a wider type, or else measurements, which are stretched
        high = next(full for full in (255.0, 65535.0, high) if high <= full)
    else:
        high = max(high, 1.0)
    data -= low
    data *= 255 / (high - low)
    if image.mode.startswith("I;16") and tags.get(262) == 0:
        data = 255 - data  # "white is zero", which PIL honours for 8 bits only
    return Image.fromarray(data.round().clip(0, 255).astype(np.uint8)), alpha


def _check_scans(data: bytes, name: str) -> None:
    scans, position = 0, 2
    while (match := _JPEG_MARKER.search(data, position)) and match[1] != b"\xd9":
        scans += match[1] == b"\xda"
        position = match.end()
        if match[1] not in (b"\xd8", b"\x01"):  # others carry their length, and may hold marker look-alikes
            position += int.from_bytes(data[position : position + 2])
        if scans > _MAX_JPEG_SCANS:
            raise ImageError(f"{name} has over {_MAX_JPEG_SCANS} JPEG scans; save it as an ordinary JPEG.")


def quoted(path: str | os.PathLike[str]) -> str:
    """A path as error messages show it."""
    return repr(os.fsdecode(path))  # repr, as a name may hold a line break


def reason(error: BaseException) -> str:
    """What an exception of a decoder or an encoder means to a user, as a piece of a sentence."""
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    if not isinstance(error, (OSError, SyntaxError, ValueError, Image.DecompressionBombError)):
        return "its data is damaged"  # the text of a KeyError or an IndexError says nothing to a user
    if isinstance(error.__cause__, (LookupError, TypeError, struct.error)):  # PIL wraps them in SyntaxError
        return "its header is damaged"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()).rstrip(".") or type(error).__name__
