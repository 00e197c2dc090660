"""Pictures in, pictures out: files and PIL images to float tensors in [0, 1] and back, and their geometry.

Whatever a file holds, `load_image` gives an upright 8-bit sRGB picture or one sentence (`ImageError`) that
says why not.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import secrets
import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image, ImageCms

from metastyle_hub.errors import ImageError

ImageLike: TypeAlias = Image.Image | str | os.PathLike[str] | torch.Tensor | npt.NDArray[Any]
"""A PIL image, the path of an image file, a float tensor (3, H, W) or (1, 3, H, W) in [0, 1], or a uint8
array (H, W), (H, W, 3) or (H, W, 4)."""

# Raster formats with a signature, decoded in this process. EPS would start Ghostscript, TGA claims any bytes
# at all, and ICO nests whole images of another size. HEIF is there only where an application has registered
# a plugin for it.
_READABLE = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "PPM", "HEIF")
_READABLE_TEXT = "JPEG, PNG, WebP, AVIF, GIF, BMP, TIFF or PPM"
_LIST_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".avif", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"))
# No subsampling and quality 95: brush strokes are fine coloured detail, which 4:2:0 smears visibly.
_WRITABLE: dict[str, tuple[str, dict[str, Any]]] = {
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".png": ("PNG", {}),
    ".webp": ("WEBP", {"quality": 95}),
    ".avif": ("AVIF", {"quality": 90}),
    ".tif": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".bmp": ("BMP", {}),
}
_NO_ALPHA = ("JPEG", "BMP")
# Encoders use about ten scans; a hostile file can ask for one more pass over all its pixels with 100 bytes.
_MAX_JPEG_SCANS = 50
_NOT_FINITE = "The image tensor holds NaN or infinite values; every value must be a number in [0, 1]."
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


_LIMITS = ImageLimits()


class Padding(NamedTuple):
    """Where the original lies in a padded tensor, in pixels: the offset of its corner and its size."""

    top: int
    left: int
    height: int
    width: int


def load_image(source: ImageLike, limits: ImageLimits = _LIMITS) -> Image.Image:
    """Any picture as an upright 8-bit sRGB PIL image that shares nothing with `source`.

    The mode is "RGBA" where some pixel is not opaque, otherwise "RGB". EXIF orientation is applied, an
    embedded colour profile is converted to sRGB, 16-bit, 32-bit and float samples are scaled to 8 bits and
    not clipped, and of an animated file the first frame is taken. Raises ImageError for all that is unusable.

        >>> load_image("holiday.jpg").mode
        'RGB'
    """
    if isinstance(source, Image.Image):
        return _load_object(source, limits)
    if isinstance(source, torch.Tensor):
        if source.ndim >= 2:
            _check_pixels("the image tensor", source.shape[-1], source.shape[-2], limits)
        return to_pil(to_tensor(source))
    if isinstance(source, np.ndarray):
        shape = source.shape
        if source.dtype != np.uint8 or len(shape) not in (2, 3) or shape[2:] not in ((), (3,), (4,)):
            raise ImageError(
                f"An image array must be uint8 of shape (H, W), (H, W, 3) or (H, W, 4), not {source.dtype} "
                f"of shape {shape}; for floats in [0, 1] pass a torch tensor (3, H, W)."
            )
        _check_pixels("the image array", shape[1], shape[0], limits)
        return _rgb(Image.fromarray(source))
    if not isinstance(source, (str, os.PathLike)):
        raise ImageError(
            f"Cannot read an image from a {type(source).__name__}; pass a path, a PIL image, a float tensor "
            "(3, H, W) or a uint8 array (H, W, 3)."
        )
    name = _quoted(source)
    with _open_file(source, limits.max_bytes) as file:
        return _decode(file, name, limits)


def to_tensor(image: Image.Image | torch.Tensor) -> torch.Tensor:
    """A picture as float32 tensor (B, 3, H, W) in [0, 1], sRGB; alpha is dropped.

    A PIL image gives B = 1 (upright, as `load_image` makes it, whatever its size). A float tensor (3, H, W)
    or (B, 3, H, W) is checked and keeps its device. Raises ImageError for other shapes, integer tensors, NaN
    or infinity, and values outside [0, 1] by more than 0.001 (less is taken for rounding, and clamped).

        >>> to_tensor(Image.new("RGB", (64, 48))).shape
        torch.Size([1, 3, 48, 64])
    """
    if isinstance(image, Image.Image):
        rgb = np.array(_load_object(image, None).convert("RGB"))
        return torch.from_numpy(rgb).permute(2, 0, 1)[None].contiguous().to(torch.float32).div_(255)
    _check_shape(image)
    low, high = (float(value) for value in torch.aminmax(image.detach()))
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageError(_NOT_FINITE)
    if low < -1e-3 or high > 1 + 1e-3:
        raise ImageError(
            f"The image tensor holds values from {low:.4g} to {high:.4g}, which must lie in [0, 1]; divide "
            "8-bit values by 255 and undo any normalisation."
        )
    batch = (image if image.ndim == 4 else image[None]).to(torch.float32)
    return batch.clamp(0, 1) if low < 0 or high > 1 else batch


def to_pil(tensor: torch.Tensor) -> Image.Image:
    """A float tensor (3, H, W) or (1, 3, H, W) as "RGB" PIL image: clamped to [0, 1], rounded to nearest.

    Raises ImageError for other shapes, integer tensors, and NaN or infinity.

        >>> to_pil(torch.rand(3, 48, 64)).size
        (64, 48)
    """
    _check_shape(tensor)
    if tensor.ndim == 4:
        if tensor.shape[0] != 1:
            raise ImageError(f"Cannot make one picture of {len(tensor)}; convert them one at a time.")
        tensor = tensor[0]
    tensor = tensor.detach()
    if not bool(torch.isfinite(tensor).all()):
        raise ImageError(_NOT_FINITE)
    # float32 first: half precision cannot tell all 256 levels apart once they are multiplied out
    pixels = tensor.to(torch.float32).clamp(0, 1).mul(255).round().to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().cpu().numpy())


def with_alpha(rgb: Image.Image, like: Image.Image) -> Image.Image:
    """`rgb` with the transparency of `like`, resized to fit; `rgb` itself where `like` has none.

    >>> with_alpha(stylised, load_image("logo.png")).mode
    'RGBA'
    """
    if not like.has_transparency_data:
        return rgb
    alpha = like.convert("RGBA").getchannel("A")
    if alpha.size != rgb.size:
        alpha = alpha.resize(rgb.size, Image.Resampling.BICUBIC)
    out = rgb.convert("RGB")
    out.putalpha(alpha)
    return out


def resize_short_side(tensor: torch.Tensor, size: int) -> torch.Tensor:
    """(B, 3, H, W) or (3, H, W) in [0, 1], scaled so that its shorter side is `size`; the aspect is kept.

    Raises ImageError where a very narrow picture would grow beyond `ImageLimits.max_pixels`.

        >>> resize_short_side(torch.rand(1, 3, 300, 400), 150).shape
        torch.Size([1, 3, 150, 200])
    """
    return _resize(tensor, size, min(tensor.shape[-2:]))


def resize_long_side(tensor: torch.Tensor, size: int) -> torch.Tensor:
    """As `resize_short_side`, but the longer side becomes `size`; no side falls below 1.

    >>> resize_long_side(torch.rand(1, 3, 300, 400), 100).shape
    torch.Size([1, 3, 75, 100])
    """
    return _resize(tensor, size, max(tensor.shape[-2:]))


def center_crop(tensor: torch.Tensor, size: int | tuple[int, int]) -> torch.Tensor:
    """The middle `size` x `size` (or height, width) pixels of (..., H, W), as a view.

    Raises ImageError where the picture is smaller than that.

        >>> center_crop(torch.rand(1, 3, 300, 400), 256).shape
        torch.Size([1, 3, 256, 256])
    """
    height, width = (size, size) if isinstance(size, int) else size
    top, left = (tensor.shape[-2] - height) // 2, (tensor.shape[-1] - width) // 2
    if top < 0 or left < 0 or height < 1 or width < 1:
        raise ImageError(
            f"Cannot cut {width}x{height} pixels out of {tensor.shape[-1]}x{tensor.shape[-2]}; resize the image first."
        )
    return tensor[..., top : top + height, left : left + width]


def pad_to_multiple(tensor: torch.Tensor, multiple: int = 4, minimum: int = 32) -> tuple[torch.Tensor, Padding]:
    """(..., H, W) mirrored outwards until both sides are multiples of `multiple`, and `minimum` or more.

    Works for any size: a picture smaller than its padding is mirrored again and again. Gives back the tensor
    itself where nothing is missing. `crop_back` with the second value undoes it exactly.

        >>> padded, padding = pad_to_multiple(torch.rand(1, 3, 7, 1))
        >>> padded.shape, crop_back(padded, padding).shape
        (torch.Size([1, 3, 32, 32]), torch.Size([1, 3, 7, 1]))
    """
    height, width = int(tensor.shape[-2]), int(tensor.shape[-1])
    extra = [-(-max(side, minimum) // multiple) * multiple - side for side in (height, width)]
    padding = Padding(extra[0] // 2, extra[1] // 2, height, width)
    for dim, side, before, total in (
        (-2, height, padding.top, extra[0]),
        (-1, width, padding.left, extra[1]),
    ):
        if total:
            # F.pad mirrors once, so it refuses more padding than there are pixels to mirror
            period = max(2 * (side - 1), 1)
            index = torch.arange(-before, side + total - before, device=tensor.device) % period
            index = torch.minimum(index, period - index)  # of a single pixel: period 1, all zeros
            tensor = tensor.index_select(dim, index)
    return tensor, padding


def crop_back(tensor: torch.Tensor, padding: Padding) -> torch.Tensor:
    """The original part of a tensor that `pad_to_multiple` padded, as a view; see there."""
    top, left, height, width = padding
    return tensor[..., top : top + height, left : left + width]


def keep_colors(stylized: torch.Tensor, photo: torch.Tensor) -> torch.Tensor:
    """The lightness of `stylized` with the colours of `photo`: (B, 3, H, W) in [0, 1], like both of them.

    Raises ImageError where the sizes differ.

        >>> keep_colors(torch.rand(1, 3, 48, 64), torch.rand(1, 3, 48, 64)).shape
        torch.Size([1, 3, 48, 64])
    """
    if stylized.shape != photo.shape:
        raise ImageError(
            f"Keeping the photo's colours needs two pictures of one size, not {tuple(stylized.shape)} and "
            f"{tuple(photo.shape)}; resize one first."
        )
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=photo.dtype, device=photo.device).view(3, 1, 1)
    # In YCbCr a pixel is its luminance plus an offset made of chroma alone: to exchange Y is to add to it.
    return (photo + ((stylized - photo) * weights).sum(-3, keepdim=True)).clamp(0, 1)


def image_sha256(source: ImageLike) -> str:
    """Hex SHA-256 of a file's bytes for a path, otherwise of the size, mode and pixels of the picture.

    Raises ImageError where the file or the picture cannot be read.

        >>> len(image_sha256("starry_night.jpg"))
        64
    """
    if isinstance(source, (str, os.PathLike)):
        with _open_file(source, None) as file:
            try:
                return hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                raise ImageError(f"{_quoted(source)} cannot be read: {_reason(error)}.") from error
    image = load_image(source)
    digest = hashlib.sha256(f"{image.width}x{image.height} {image.mode}\n".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def list_images(folder: str | os.PathLike[str], recursive: bool = True) -> list[Path]:
    """The image files of a folder by suffix, sorted; without hidden ones, and not following links to folders.

    Raises ImageError where the folder is missing or holds no image.

        >>> list_images("photos")
        [PosixPath('photos/beach.jpg'), PosixPath('photos/old/harbour.png')]
    """
    if not Path(folder).is_dir():
        raise ImageError(f"{_quoted(folder)} is not a folder; pass the path of a folder with images in it.")
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        paths = [Path(place, name) for name in files if not name.startswith(".")]
        found += [path for path in paths if path.suffix.lower() in _LIST_SUFFIXES and path.is_file()]
    if not found:
        raise ImageError(f"There is no image in {_quoted(folder)}; put {_READABLE_TEXT} files there.")
    return sorted(found)


def save_image(image: Image.Image, path: str | os.PathLike[str]) -> None:
    """Write a picture in the format that the suffix names, whole or not at all, making its folders.

    For formats without transparency (JPEG, BMP) it is laid over white. Raises ImageError for an unknown
    suffix and where the file cannot be written.

        >>> save_image(picture, "out/starry.jpg")
    """
    target, name = Path(path), _quoted(path)
    if target.suffix.lower() not in _WRITABLE:
        raise ImageError(f"{name} names no image format to write; end it in one of {', '.join(_WRITABLE)}.")
    format, options = _WRITABLE[target.suffix.lower()]
    image = _load_object(image, None)
    if image.mode == "RGBA" and format in _NO_ALPHA:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image).convert("RGB")
    # No tempfile, which would stay unreadable to other users after the rename; short, as names have a limit.
    aside = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("xb") as file:
            image.save(file, format=format, **options)
        aside.replace(target)
    except Exception as error:  # encoders raise as many kinds as decoders do
        raise ImageError(f"{name} cannot be written: {_reason(error)}; try another place or format.") from error
    finally:
        with contextlib.suppress(OSError):  # no folder, so nothing to tidy up: the error above says why
            aside.unlink(missing_ok=True)


def _open_file(source: str | os.PathLike[str], max_bytes: int | None) -> io.BufferedReader:
    """The file, opened; a regular one (a pipe or a device could block or never end) and within the limit."""
    path, name = Path(source), _quoted(source)
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
        raise ImageError(f"There is no file {name}; check the path.") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        raise ImageError(f"{name} cannot be read: {_reason(error)}; check the path and its rights.") from error


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
                _check_pixels(name, *image.size, limits)
                image.load()
                return _rgb(image)
    except ImageError:
        raise
    except Image.DecompressionBombError as error:  # some plugins check for themselves, by PIL's own limit
        raise ImageError(f"{name} has too many pixels: {_reason(error)}; make it smaller.") from error
    except Exception as error:  # a malformed header makes plugins raise nearly anything
        raise ImageError(f"{name} cannot be decoded: {_reason(error)}; fetch or export it again.") from error
    raise ImageError(f"{name} is no image in a format that can be read; convert it to {_READABLE_TEXT}.")


def _load_object(image: Image.Image, limits: ImageLimits | None) -> Image.Image:
    try:
        _check_pixels("the image", *image.size, limits)
        image.load()  # an image fresh from Image.open has decoded nothing yet
        return _rgb(image)
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(f"The image cannot be decoded: {_reason(error)}; open it again.") from error


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


def _check_pixels(name: str, width: int, height: int, limits: ImageLimits | None) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"{_capital(name)} has no pixels ({width}x{height}); pass an image of at least 1x1.")
    if limits is not None and width * height > limits.max_pixels:
        raise ImageError(
            f"{_capital(name)} has {width}x{height} = {width * height / 1e6:,.1f} million pixels, more than "
            f"the limit of {limits.max_pixels / 1e6:,.1f} million; make it smaller or raise max_pixels."
        )


def _check_scans(data: bytes, name: str) -> None:
    scans, position = 0, 2
    while (match := _JPEG_MARKER.search(data, position)) and match[1] != b"\xd9":
        scans += match[1] == b"\xda"
        position = match.end()
        if match[1] not in (b"\xd8", b"\x01"):  # others carry their length, and may hold marker look-alikes
            position += int.from_bytes(data[position : position + 2])
        if scans > _MAX_JPEG_SCANS:
            raise ImageError(f"{name} has over {_MAX_JPEG_SCANS} JPEG scans; save it as an ordinary JPEG.")


def _check_shape(tensor: torch.Tensor) -> None:
    if not isinstance(tensor, torch.Tensor):
        raise ImageError(f"Expected an image tensor, not a {type(tensor).__name__}; use load_image first.")
    shape = tuple(tensor.shape)
    if tensor.ndim not in (3, 4) or shape[-3] != 3 or 0 in shape:
        hint = "; move the channels to the front with permute" if shape[-1:] == (3,) else ""
        raise ImageError(f"An image tensor must have the shape (3, H, W) or (B, 3, H, W), not {shape}{hint}.")
    if not tensor.dtype.is_floating_point:
        raise ImageError(f"An image tensor must be float in [0, 1], not {tensor.dtype}; use x.float() / 255.")


def _resize(tensor: torch.Tensor, size: int, side: int) -> torch.Tensor:
    if size < 1:
        raise ImageError(f"Cannot resize an image to {size} pixels; the size must be at least 1.")
    _check_shape(tensor)
    height, width = (max(1, round(length * size / side)) for length in tensor.shape[-2:])
    if (height, width) == tuple(tensor.shape[-2:]):
        return tensor
    if height * width > _LIMITS.max_pixels:
        raise ImageError(
            f"Resizing a {tensor.shape[-1]}x{tensor.shape[-2]} image to {size} would make {width}x{height} = "
            f"{width * height / 1e6:,.1f} million pixels of it; crop it to a less narrow one first."
        )
    batch = tensor if tensor.ndim == 4 else tensor[None]
    # float32: the antialiased kernels do not exist in half precision everywhere
    out = F.interpolate(batch.float(), (height, width), mode="bicubic", align_corners=False, antialias=True)
    return out.clamp(0, 1).to(tensor.dtype).reshape(*tensor.shape[:-2], height, width)


def _quoted(path: str | os.PathLike[str]) -> str:
    return repr(os.fsdecode(path))  # repr, as a name may hold a line break


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _reason(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    if not isinstance(error, (OSError, SyntaxError, ValueError, Image.DecompressionBombError)):
        return "its data is damaged"  # the text of a KeyError or an IndexError says nothing to a user
    if isinstance(error.__cause__, (LookupError, TypeError, struct.error)):  # PIL wraps them in SyntaxError
        return "its header is damaged"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()).rstrip(".") or type(error).__name__
