"""Pictures must arrive upright, in their own colours and of their own size, whatever file they come from;
what cannot be used must be refused in one sentence, quickly, and before it is decoded."""

import contextlib
import hashlib
import io
import os
import random
import struct
import time
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageCms, ImageFile, ImageOps, features

from metastyle_hub.errors import ImageError, MetaStyleError
from metastyle_hub.images.transforms import (
    center_crop,
    crop_back,
    preserve_color,
    pad_to_multiple,
    resize_long_side,
    resize_short_side,
)
from metastyle_hub.images.io import (
    ImageLimits,
    check_writable,
    image_sha256,
    list_images,
    load_image,
    save_image,
    to_pil,
    to_tensor,
    with_alpha,
)

RED, GREEN, BLUE, WHITE = (250, 10, 20), (10, 240, 30), (20, 30, 230), (245, 245, 245)
CORNERS = (RED, GREEN, BLUE, WHITE)  # top left, top right, bottom left, bottom right


def corner_picture() -> Image.Image:
    """Four quarters of known colours, 48 wide and 32 high: any turn, flip or exchange of channels shows."""
    picture = Image.new("RGB", (48, 32))
    for index, color in enumerate(CORNERS):
        left, top = index % 2 * 24, index // 2 * 16
        picture.paste(color, (left, top, left + 24, top + 16))
    return picture


def corners(image: Image.Image) -> list[tuple[int, ...]]:
    width, height = image.size
    points = [(4, 4), (width - 5, 4), (4, height - 5), (width - 5, height - 5)]
    return [image.convert("RGB").getpixel(point) for point in points]  # type: ignore[misc]


def close(got: list[tuple[int, ...]], want: tuple[tuple[int, ...], ...], tolerance: int) -> bool:
    return bool(np.abs(np.array(got) - np.array(want)).max() <= tolerance)


def refusal(source: object, *parts: str, limits: ImageLimits | None = None) -> str:
    """The sentence with which `source` is refused; it must be one, and hold the given parts."""
    with pytest.raises(ImageError) as caught:
        load_image(source, limits) if limits else load_image(source)  # type: ignore[arg-type]
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith(".") and ". " not in sentence.replace("...", ""), sentence
    for part in parts:
        assert part in sentence, (part, sentence)
    return sentence


needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF decoder")


# --- what arrives from each kind of file


@pytest.mark.parametrize(
    ("suffix", "options", "tolerance"),
    [
        ("jpg", {"quality": 95}, 8),
        ("png", {}, 0),
        ("webp", {"quality": 95}, 12),
        ("webp", {"lossless": True}, 0),
        ("bmp", {}, 0),
        ("tif", {}, 0),
        ("tif", {"compression": "tiff_lzw"}, 0),
        ("ppm", {}, 0),
        pytest.param("avif", {"quality": 95}, 12, marks=needs_avif),
    ],
)
def test_a_plain_picture_keeps_its_size_and_colours(
    tmp_path: Path, suffix: str, options: dict[str, Any], tolerance: int
) -> None:
    path = tmp_path / f"photo.{suffix}"
    corner_picture().save(path, **options)
    image = load_image(path)
    assert (type(image), image.mode, image.size, image.info) == (Image.Image, "RGB", (48, 32), {})
    assert close(corners(image), CORNERS, tolerance)
    assert close(corners(load_image(str(path))), CORNERS, tolerance)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", pytest.param("avif", marks=needs_avif)])
def test_every_exif_orientation_comes_out_upright(tmp_path: Path, suffix: str, orientation: int) -> None:
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the turn that a camera of this orientation stores
    stored = corner_picture()
    if orientation > 1:
        stored = stored.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{suffix}"
    options: dict[str, Any] = {} if suffix in ("png", "tif") else {"quality": 95}
    stored.save(path, exif=exif, **options)
    image = load_image(path)
    assert image.size == (48, 32)
    assert close(corners(image), CORNERS, 12)
    with Image.open(path) as opened:  # an image that the user opened is the same picture
        assert close(corners(load_image(opened)), CORNERS, 12)
    assert not image.getexif(), "a second reader would turn it again"


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_exif_does_not_cost_the_picture(tmp_path: Path) -> None:
    path = tmp_path / "odd.jpg"
    corner_picture().save(path, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff", quality=95)
    assert close(corners(load_image(path)), CORNERS, 8)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_a_16_bit_ramp_keeps_its_ramp(tmp_path: Path, suffix: str) -> None:
    ramp = np.tile(np.linspace(0, 65535, 256).round().astype(np.uint16), (4, 1))
    path = tmp_path / f"ramp.{suffix}"
    Image.fromarray(ramp).save(path)
    image = load_image(path)
    assert image.mode == "RGB"
    assert np.array_equal(np.asarray(image)[0, :, 0], np.arange(256))


def test_16_bit_colour_keeps_its_ramp(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(256, dtype=np.uint16)[:, None] * 257, (1, 3))
    path = tmp_path / "deep.png"
    path.write_bytes(png(256, 1, ramp.astype(">u2").tobytes(), depth=16, kind=2))
    assert np.array_equal(np.asarray(load_image(path))[0], np.tile(np.arange(256)[:, None], (1, 3)))


def test_a_dark_16_bit_picture_stays_dark(tmp_path: Path) -> None:
    path = tmp_path / "dark.png"
    Image.fromarray(np.full((4, 4), 2570, np.uint16)).save(path)
    assert load_image(path).getpixel((0, 0)) == (10, 10, 10)


@pytest.mark.parametrize("top", [1.0, 255.0, 65535.0, 7.5, 1e6])
def test_float_and_32_bit_grey_is_scaled_and_not_clipped(tmp_path: Path, top: float) -> None:
    ramp = np.tile(np.linspace(0, top, 256, dtype=np.float32), (4, 1))
    path = tmp_path / "float.tif"
    Image.fromarray(ramp).save(path)
    assert np.array_equal(np.asarray(load_image(path))[0, :, 0], np.arange(256))
    if top >= 255:
        Image.fromarray(ramp.round().astype(np.int32)).save(path)
        assert np.array_equal(np.asarray(load_image(path))[0, :, 0], np.arange(256))


def test_float_with_negative_and_missing_values_is_usable(tmp_path: Path) -> None:
    path = tmp_path / "heights.tif"
    Image.fromarray(np.array([[-1.0, 0.0, 1.0, np.nan, np.inf]], np.float32)).save(path)
    assert np.asarray(load_image(path))[0, :, 0].tolist() == [0, 128, 255, 128, 128]


def test_a_flat_float_picture_of_zeros_is_black(tmp_path: Path) -> None:
    path = tmp_path / "flat.tif"
    for dtype in (np.float32, np.int32):
        Image.fromarray(np.zeros((3, 3), dtype)).save(path)
        assert load_image(path).getpixel((1, 1)) == (0, 0, 0)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "LAB", "HSV", "LA", "RGBA", "PA", "RGBX"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    grey = corner_picture().convert("L")
    if mode == "PA":
        source = corner_picture().quantize(16).convert("PA")
    elif mode == "P":
        source = corner_picture().quantize(16)
    else:
        source = (grey if mode in ("1", "L", "LA") else corner_picture()).convert(mode)
    image = load_image(source)
    assert (image.mode, image.size) == ("RGB", (48, 32))
    if mode in ("L", "LA"):
        assert corners(image) == corners(grey)
    elif mode != "1":
        assert close(corners(image), CORNERS, 30 if mode in ("LAB", "HSV") else 6)  # coarse in 8 bits


def test_one_bit_is_black_and_white(tmp_path: Path) -> None:
    path = tmp_path / "scan.png"
    Image.fromarray(np.eye(8, dtype=bool)).save(path)
    assert np.array_equal(np.asarray(load_image(path))[..., 1], np.eye(8, dtype=np.uint8) * 255)


def test_a_cmyk_jpeg_has_its_colours(tmp_path: Path) -> None:
    path = tmp_path / "print.jpg"
    corner_picture().convert("CMYK").save(path, quality=95)
    image = load_image(path)
    assert image.mode == "RGB"
    assert close(corners(image), CORNERS, 12)


# --- transparency


def test_transparency_is_kept_where_there_is_some(tmp_path: Path) -> None:
    alpha = Image.linear_gradient("L").resize((48, 32))
    rgba = corner_picture()
    rgba.putalpha(alpha)
    for suffix in ("png", "tif"):
        path = tmp_path / f"logo.{suffix}"
        rgba.save(path)
        image = load_image(path)
        assert image.mode == "RGBA"
        assert np.array_equal(np.asarray(image), np.asarray(rgba))
    grey = corner_picture().convert("L")
    grey.putalpha(alpha)
    grey.save(tmp_path / "la.png")
    assert np.array_equal(np.asarray(load_image(tmp_path / "la.png").getchannel("A")), np.asarray(alpha))
    assert load_image(rgba.convert("RGBa")).mode == "RGBA"
    assert load_image(grey.convert("La")).mode == "RGBA"


def test_opaque_alpha_is_dropped() -> None:
    assert load_image(corner_picture().convert("RGBA")).mode == "RGB"


def test_a_palette_with_transparency_has_both(tmp_path: Path) -> None:
    palette = Image.new("P", (4, 1))
    palette.putpalette([*RED, *GREEN, *BLUE, *WHITE])
    palette.putdata([0, 1, 2, 3])
    for suffix, transparency, want in (
        ("png", bytes([255, 128, 0, 255]), [255, 128, 0, 255]),
        ("png", 2, [255, 255, 0, 255]),
        ("gif", 2, [255, 255, 0, 255]),
    ):
        path = tmp_path / f"sprite.{suffix}"
        palette.save(path, transparency=transparency)
        pixels = np.asarray(load_image(path))[0]
        assert pixels[:, 3].tolist() == want
        assert pixels[[0, 1, 3], :3].tolist() == [list(RED), list(GREEN), list(WHITE)]


def test_a_transparent_colour_key_is_transparent(tmp_path: Path) -> None:
    path = tmp_path / "key.png"
    corner_picture().save(path, transparency=RED)
    assert load_image(path).getpixel((0, 0)) == (*RED, 0)
    assert load_image(path).getpixel((47, 0)) == (*GREEN, 255)
    path.write_bytes(png(2, 1, struct.pack(">2H", 1000, 65535), depth=16, kind=0, extra=chunk(b"tRNS", b"\x03\xe8")))
    assert np.asarray(load_image(path))[0].tolist() == [[4, 4, 4, 0], [255, 255, 255, 255]]
    deep = np.array([[257, 514, 771], [65535, 0, 0]], ">u2")
    key = chunk(b"tRNS", deep[0].tobytes())
    path.write_bytes(png(2, 1, deep.tobytes(), depth=16, kind=2, extra=key))
    assert load_image(path).size == (2, 1)


def test_with_alpha_puts_transparency_back() -> None:
    photo = corner_picture()
    photo.putalpha(Image.linear_gradient("L").resize(photo.size))
    stylised = to_pil(1 - to_tensor(photo))
    again = with_alpha(stylised, photo)
    assert again.mode == "RGBA" and stylised.mode == "RGB"
    assert np.array_equal(np.asarray(again)[..., 3], np.asarray(photo)[..., 3])
    assert np.array_equal(np.asarray(again)[..., :3], np.asarray(stylised))
    assert with_alpha(stylised.resize((96, 64)), photo).size == (96, 64)
    assert with_alpha(stylised, corner_picture()) is stylised


# --- animations and profiles


def test_of_an_animation_the_first_frame_is_taken(tmp_path: Path) -> None:
    frames = [corner_picture(), ImageOps.invert(corner_picture())]
    for suffix in ("gif", "png", "webp", "tif"):
        path = tmp_path / f"moving.{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:])
        image = load_image(path)
        assert (image.mode, image.size) == ("RGB", (48, 32))
        assert close(corners(image), CORNERS, 12), suffix


def swapped_profile() -> bytes:
    """sRGB with the red and the blue primary exchanged: applying it shows beyond doubt."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"tmp!", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"tmp!", b"bXYZ", 1)


def test_an_embedded_profile_is_converted_to_srgb(tmp_path: Path) -> None:
    path = tmp_path / "profiled.png"
    pure = Image.new("RGB", (8, 8), (255, 0, 0))
    pure.save(path, icc_profile=swapped_profile())
    image = load_image(path)
    assert close([image.getpixel((4, 4))], ((0, 0, 255),), 2)  # type: ignore[list-item]
    assert "icc_profile" not in image.info
    half = pure.convert("RGBA")
    half.putalpha(100)
    half.save(path, icc_profile=swapped_profile())
    assert close([load_image(path).getpixel((4, 4))], ((0, 0, 255, 100),), 2)  # type: ignore[list-item]


@pytest.mark.parametrize("profile", [b"not a profile", b"\0" * 128, swapped_profile()[:300]])
def test_a_broken_profile_is_ignored(tmp_path: Path, profile: bytes) -> None:
    path = tmp_path / "broken.png"
    corner_picture().save(path, icc_profile=profile)
    assert corners(load_image(path)) == list(CORNERS)


def test_an_srgb_profile_changes_no_pixel(tmp_path: Path) -> None:
    path = tmp_path / "srgb.png"
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8))
    noise.save(path, icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    assert np.array_equal(np.asarray(load_image(path)), np.asarray(noise))


def test_a_profile_of_another_colour_space_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "print.jpg"
    corner_picture().convert("CMYK").save(path, quality=95, icc_profile=swapped_profile())
    assert close(corners(load_image(path)), CORNERS, 12)


# --- objects in memory


def test_arrays_and_tensors_are_pictures_too() -> None:
    array = np.asarray(corner_picture())
    assert corners(load_image(array)) == list(CORNERS)
    assert load_image(array[..., 0]).mode == "RGB"
    assert corners(load_image(to_tensor(corner_picture()))) == list(CORNERS)
    assert corners(load_image(to_tensor(corner_picture())[0])) == list(CORNERS)


def test_the_caller_keeps_the_caller_s_image() -> None:
    mine = corner_picture()
    mine.info["dpi"] = (72, 72)
    load_image(mine).paste((0, 0, 0), (0, 0, 48, 32))
    assert corners(mine) == list(CORNERS) and mine.info == {"dpi": (72, 72)}


def test_sizes_at_the_edge_pass_through(tmp_path: Path) -> None:
    for size in ((1, 1), (6000, 1), (1, 6000)):
        Image.new("RGB", size, RED).save(tmp_path / "thin.png")
        assert load_image(tmp_path / "thin.png").size == size


# --- what is refused


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, pixels: bytes, depth: int = 8, kind: int = 0, extra: bytes = b"") -> bytes:
    """A PNG written by hand, for what PIL does not write: `pixels` are rows without their filter byte."""
    stride = len(pixels) // height
    rows = b"".join(b"\0" + pixels[i * stride : (i + 1) * stride] for i in range(height))
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def bomb(width: int, height: int) -> bytes:
    """A valid all-black grey PNG of any size, made a row at a time."""
    packer, data = zlib.compressobj(9), []
    for _ in range(height):
        data.append(packer.compress(bytes(width + 1)))
    data.append(packer.flush())
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", b"".join(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_files_that_are_no_images_are_refused_in_one_sentence(tmp_path: Path) -> None:
    refusal(tmp_path / "absent.jpg", "absent.jpg", "no file")
    refusal(tmp_path / "absent.jpg" / "deeper.jpg", "deeper.jpg", "no file")
    refusal(tmp_path, tmp_path.name, "folder")
    (tmp_path / "empty.png").touch()
    refusal(tmp_path / "empty.png", "empty.png", "empty")
    (tmp_path / "letter.png").write_text("Dear reader,\nthis is no picture.\n")
    refusal(tmp_path / "letter.png", "letter.png", "no image", "JPEG, PNG")
    (tmp_path / "drawing.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
    refusal(tmp_path / "drawing.jpg", "drawing.jpg", "no image")
    (tmp_path / "two\nlines.png").write_text("x")
    refusal(tmp_path / "two\nlines.png", "lines.png")
    refusal("zero\0byte.png", "byte.png")
    refusal("n" * 5000 + ".png", "cannot be read")
    refusal("", "folder")
    refusal(b"bytes", "bytes", "path")
    refusal(None, "NoneType")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    refusal(tmp_path / "pipe.png", "pipe.png", "pipe or a device")
    refusal("/dev/zero", "/dev/zero")


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "gif", "bmp", "tif", "ppm"])
def test_truncated_files_are_refused(tmp_path: Path, suffix: str) -> None:
    whole = tmp_path / f"whole.{suffix}"
    Image.effect_noise((64, 64), 80).save(whole)
    data = whole.read_bytes()
    for kept in (0.5, 0.9):
        cut = tmp_path / f"cut.{suffix}"
        cut.write_bytes(data[: int(len(data) * kept)])
        refusal(cut, f"cut.{suffix}", "cannot be decoded")


def test_opened_images_that_cannot_be_decoded_are_refused() -> None:
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 80).save(buffer, "PNG")
    # PIL opens a broken file without complaint and fails when the pixels are first asked for
    refusal(Image.open(io.BytesIO(buffer.getvalue()[:2000])), "cannot be decoded")
    refusal(Image.new("RGB", (0, 5)), "no pixels", "0x5")


@contextlib.contextmanager
def little_memory(megabytes: int) -> Iterator[None]:
    """Fails where the process grew by more at its peak; without a check where the system cannot tell."""

    def peak() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again at what is in use now
        before = peak()
    except (OSError, StopIteration):
        yield
    else:
        yield
        assert peak() - before < megabytes * 1000


def test_a_300_megapixel_bomb_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb(20_000, 15_000))
    assert path.stat().st_size < 400_000
    with warnings.catch_warnings(), little_memory(20):
        warnings.simplefilter("error")  # PIL's own warning would go to the user's terminal
        monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
        start = time.perf_counter()
        refusal(path, "bomb.png", "20000x15000", "300.0 million", "50.0 million")
        assert time.perf_counter() - start < 1


def test_huge_headers_of_every_format_are_refused(tmp_path: Path) -> None:
    big = 60_000
    ihdr = struct.pack(">IIBBBBB", big, big, 8, 2, 0, 0, 0)
    screen, frame = struct.pack("<HHBBB", big, big, 0, 0, 0), struct.pack("<HHHHB", 0, 0, big, big, 0)
    canvas = b"WEBPVP8X" + struct.pack("<I", 10) + b"\2\0\0\0" + (big - 1).to_bytes(3, "little") * 2
    ifd = ((256, big), (257, big), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, big), (279, 9))
    headers = {
        "png": b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + chunk(b"IDAT", b""),
        "gif": b"GIF89a" + screen + b"," + frame + b"\2\0;",
        "bmp": b"BM" + struct.pack("<IIIIiiHH6I", 54, 0, 54, 40, big, big, 1, 24, *[0] * 6),
        "ppm": f"P6 {big} {big} 255\n".encode(),
        "webp": b"RIFF" + struct.pack("<I", len(canvas)) + canvas,
        "tif": b"II*\0" + struct.pack("<IH", 8, len(ifd)) + b"".join(struct.pack("<HHII", t, 4, 1, v) for t, v in ifd),
        "jpg": b"\xff\xd8\xff\xc0\0\x0b\x08" + struct.pack(">HH", big, big) + b"\1\1\x11\0\xff\xda\0\2",
    }
    with little_memory(20):
        for suffix, data in headers.items():
            path = tmp_path / f"bomb.{suffix}"
            path.write_bytes(data)
            # a WebP canvas is set up when the file is opened, so there PIL's own check comes first
            refusal(path, f"bomb.{suffix}", *(["million"] if suffix != "webp" else []))


def test_limits_are_the_caller_s(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    corner_picture().save(path)
    tight = ImageLimits(max_pixels=48 * 32 - 1)
    refusal(path, "photo.png", "48x32", "max_pixels", limits=tight)
    refusal(corner_picture(), "48x32", limits=tight)
    refusal(np.zeros((32, 48, 3), np.uint8), "48x32", limits=tight)
    refusal(torch.zeros(3, 32, 48), "48x32", limits=tight)
    refusal(path, "photo.png", "max_bytes", limits=ImageLimits(max_bytes=50))
    assert load_image(path, ImageLimits(max_pixels=48 * 32)).size == (48, 32)


def test_pil_s_own_settings_are_neither_needed_nor_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "photo.png"
    corner_picture().save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_image(path).size == (48, 32)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_a_jpeg_of_endless_scans_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scans.jpg"
    corner_picture().save(path, progressive=True)
    data = path.read_bytes()
    assert load_image(path).size == (48, 32)
    last = data.rindex(b"\xff\xda")
    path.write_bytes(data[:last] + data[last:-2] * 200 + b"\xff\xd9")
    refusal(path, "scans.jpg", "scans")


@pytest.mark.parametrize(
    ("tensor", "part"),
    [
        (torch.zeros(32, 48, 3), "permute"),
        (torch.zeros(1, 32, 48), "shape"),
        (torch.zeros(48), "shape"),
        (torch.zeros(3, 0, 5), "pixels"),
        (torch.zeros(2, 3, 8, 8), "one at a time"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), "255"),
        (torch.full((3, 8, 8), float("nan")), "NaN"),
        (torch.full((3, 8, 8), float("inf")), "infinite"),
        (torch.full((3, 8, 8), 200.0), "200"),
        (torch.full((3, 8, 8), -1.0), "-1"),
        (np.zeros((8, 8, 3), np.float32), "uint8"),
        (np.zeros((3, 8, 8), np.uint8), "shape"),
        (np.zeros((0, 8, 3), np.uint8), "pixels"),
    ],
)
def test_wrong_tensors_and_arrays_are_refused(tensor: object, part: str) -> None:
    refusal(tensor, part)


def test_an_image_error_is_a_value_error_and_ours() -> None:
    assert issubclass(ImageError, MetaStyleError) and issubclass(ImageError, ValueError)


def every_format() -> dict[str, bytes]:
    picture, files = corner_picture(), {}
    exif = Image.Exif()
    exif[0x0112] = 6
    rgba = picture.convert("RGBA")
    rgba.putalpha(Image.linear_gradient("L").resize(picture.size))
    deep = Image.fromarray(np.linspace(0, 65535, 48 * 32).astype(np.uint16).reshape(32, 48))
    icc = swapped_profile()
    for name, image, format, options in (
        ("baseline", picture, "JPEG", {"exif": exif, "icc_profile": icc}),
        ("progressive", picture.convert("CMYK"), "JPEG", {"progressive": True}),
        ("colour", rgba, "PNG", {"exif": exif, "icc_profile": icc}),
        ("deep", deep, "PNG", {}),
        ("palette", picture.quantize(16), "PNG", {"transparency": 1}),
        ("lossy", rgba, "WEBP", {"exif": exif}),
        ("lossless", picture, "WEBP", {"lossless": True, "save_all": True, "append_images": [rgba]}),
        ("moving", picture, "GIF", {"save_all": True, "append_images": [rgba]}),
        ("bmp", picture, "BMP", {}),
        ("plain", rgba, "TIFF", {"exif": exif, "icc_profile": icc}),
        ("lzw", deep, "TIFF", {"compression": "tiff_lzw"}),
        ("deflate", picture, "TIFF", {"compression": "tiff_adobe_deflate"}),
        ("jpeg", picture, "TIFF", {"compression": "jpeg"}),
        ("float", deep.convert("F"), "TIFF", {}),
        ("ppm", picture, "PPM", {}),
        ("avif", rgba, "AVIF", {"exif": exif}),
    ):
        if format == "AVIF" and not features.check("avif"):
            continue
        buffer = io.BytesIO()
        image.save(buffer, format, **options)
        files[name] = buffer.getvalue()
    return files


def damaged(data: bytes, chance: random.Random) -> bytes:
    broken = bytearray(data)
    for _ in range(chance.choice((1, 3, 10))):
        # headers hold what decoders trip over, so half of the hits go there
        place = chance.randrange(len(broken) if chance.random() < 0.5 else min(len(broken), 200))
        broken[place] = chance.choice((0, 1, 127, 128, 255, chance.randrange(256)))
    return bytes(broken[: chance.randrange(len(broken))] if chance.random() < 0.3 else broken)


@pytest.mark.parametrize("name", list(every_format()))
@pytest.mark.filterwarnings("ignore")
def test_damaged_files_give_a_picture_or_one_sentence(tmp_path: Path, name: str) -> None:
    data, chance, path = every_format()[name], random.Random(name), tmp_path / f"{name}.bin"
    path.write_bytes(data)
    assert load_image(path).mode in ("RGB", "RGBA")
    for _ in range(60):
        path.write_bytes(damaged(data, chance))
        try:
            image = load_image(path, ImageLimits(max_pixels=1_000_000))
        except ImageError as error:
            assert "\n" not in str(error) and path.name in str(error)
        else:
            assert image.mode in ("RGB", "RGBA") and min(image.size) > 0


# --- tensors


def test_pixels_survive_the_way_through_a_tensor() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (33, 47, 3), np.uint8))
    tensor = to_tensor(noise)
    assert (tensor.shape, tensor.dtype) == ((1, 3, 33, 47), torch.float32)
    assert tensor.min() >= 0 and tensor.max() <= 1
    assert np.array_equal(np.asarray(to_pil(tensor)), np.asarray(noise))
    assert np.array_equal(np.asarray(to_pil(tensor[0].double())), np.asarray(noise))
    assert to_tensor(noise.convert("L")).shape == (1, 3, 33, 47)
    assert to_tensor(noise.convert("RGBA")).shape == (1, 3, 33, 47)


def test_to_pil_clamps_and_rounds_to_nearest() -> None:
    tensor = torch.tensor([-0.5, 0.4 / 255, 0.6 / 255, 2.0]).expand(3, 1, 4)
    assert np.asarray(to_pil(tensor))[0, :, 0].tolist() == [0, 0, 1, 255]
    with pytest.raises(ImageError, match="NaN"):
        to_pil(torch.full((3, 2, 2), float("nan")))


def test_a_valid_tensor_is_taken_as_it_is() -> None:
    tensor = torch.rand(2, 3, 5, 7)
    assert to_tensor(tensor) is tensor
    assert to_tensor(tensor[0]).shape == (1, 3, 5, 7)
    assert to_tensor(tensor.half()).dtype == torch.float32
    assert to_tensor(torch.full((3, 2, 2), 1.0005)).max() == 1


def test_resizing_keeps_the_aspect() -> None:
    picture = torch.rand(1, 3, 300, 400)
    assert resize_short_side(picture, 150).shape == (1, 3, 150, 200)
    assert resize_short_side(picture[0], 600).shape == (3, 600, 800)
    assert resize_long_side(picture, 100).shape == (1, 3, 75, 100)
    assert resize_long_side(torch.rand(1, 3, 1, 6000), 256).shape == (1, 3, 1, 256)
    assert resize_short_side(picture, 300) is picture
    checks = (torch.arange(64)[:, None] + torch.arange(64)).remainder(2).float().expand(1, 3, 64, 64)
    small = resize_short_side(checks, 16)
    assert small.min() >= 0 and small.max() <= 1
    assert (small[..., 2:-2, 2:-2] - 0.5).abs().max() < 0.05, "a fine pattern turns grey when it is antialiased"
    assert resize_short_side(picture.half(), 10).dtype == torch.float16


def test_a_resize_without_bound_is_refused() -> None:
    with pytest.raises(ImageError, match="million pixels"):
        resize_short_side(torch.rand(1, 3, 1, 6000), 256)
    with pytest.raises(ImageError, match="at least 1"):
        resize_short_side(torch.rand(1, 3, 8, 8), 0)


def test_center_crop_takes_the_middle() -> None:
    picture = torch.arange(5.0 * 7).view(1, 1, 5, 7).expand(1, 3, 5, 7)
    assert center_crop(picture, 1)[0, 0].tolist() == [[17.0]]
    assert center_crop(picture, (5, 3))[0, 0, 0].tolist() == [2.0, 3.0, 4.0]
    with pytest.raises(ImageError, match="6x6"):
        center_crop(picture, 6)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (2, 2), (3, 1000), (1023, 777), (6000, 1), (32, 64)])
@pytest.mark.parametrize(("multiple", "minimum"), [(4, 32), (8, 1), (16, 100)])
def test_padding_comes_off_exactly(size: tuple[int, int], multiple: int, minimum: int) -> None:
    picture = torch.rand(1, 3, *size)
    padded, padding = pad_to_multiple(picture, multiple, minimum)
    for side, before in zip(padded.shape[-2:], size, strict=True):
        assert side % multiple == 0 and side >= max(minimum, before) and side - max(before, minimum) < multiple
    assert torch.equal(crop_back(padded, padding), picture)
    assert padded.min() == picture.min() and padded.max() == picture.max(), "made of its own pixels"


@pytest.mark.parametrize("size", [(30, 45), (33, 61), (1023, 777), (20, 17)])
def test_padding_is_the_reflection_of_torch(size: tuple[int, int]) -> None:
    picture = torch.rand(1, 3, *size, dtype=torch.float64)
    padded, (top, left, height, width) = pad_to_multiple(picture)
    bottom, right = padded.shape[-2] - height - top, padded.shape[-1] - width - left
    assert torch.equal(padded, F.pad(picture, (left, right, top, bottom), mode="reflect"))


def test_small_pictures_are_mirrored_again_and_again() -> None:
    row = torch.tensor([0.1, 0.2, 0.3]).expand(1, 3, 1, 3)
    padded, padding = pad_to_multiple(row, 4, 12)
    assert padding.left == 4
    want = [0.1, 0.2, 0.3, 0.2, 0.1, 0.2, 0.3, 0.2, 0.1, 0.2, 0.3, 0.2]
    assert torch.equal(padded[0, 0, 0], torch.tensor(want))


def test_nothing_is_copied_where_nothing_is_padded() -> None:
    picture = torch.rand(1, 3, 64, 32)
    padded, padding = pad_to_multiple(picture)
    assert padded is picture and crop_back(padded, padding).data_ptr() == picture.data_ptr()


def test_keep_colors_takes_lightness_from_one_and_colour_from_the_other() -> None:
    chance = torch.Generator().manual_seed(0)
    photo = 0.4 + 0.2 * torch.rand(1, 3, 16, 16, generator=chance)
    stylised = 0.4 + 0.2 * torch.rand(1, 3, 16, 16, generator=chance)
    mixed = preserve_color(stylised, photo)
    y = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)

    def luminance(tensor: torch.Tensor) -> torch.Tensor:
        return (tensor * y).sum(1)

    assert torch.allclose(luminance(mixed), luminance(stylised), atol=1e-6)
    for channel in (0, 2):  # Cr and Cb are scaled differences to the luminance
        chroma, want = (image[:, channel] - luminance(image) for image in (mixed, photo))
        assert torch.allclose(chroma, want, atol=1e-6)
    assert torch.allclose(preserve_color(photo, photo), photo)
    assert preserve_color(torch.ones(1, 3, 2, 2), photo[..., :2, :2]).max() <= 1
    with pytest.raises(ImageError, match="one size"):
        preserve_color(stylised, photo[..., 1:])


# --- files and folders


def test_the_fingerprint_of_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "style.png"
    corner_picture().save(path)
    assert image_sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert image_sha256(corner_picture()) == image_sha256(np.asarray(corner_picture()))
    assert image_sha256(corner_picture()) != image_sha256(corner_picture().rotate(180))
    assert image_sha256(Image.new("RGB", (4, 2))) != image_sha256(Image.new("RGB", (2, 4)))
    with pytest.raises(ImageError, match=r"absent\.png"):
        image_sha256(tmp_path / "absent.png")


def test_listing_a_folder(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "notes.txt", ".hidden.png", "old/c.webp", ".cache/d.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert list_images(tmp_path) == [tmp_path / "a.png", tmp_path / "b.JPG", tmp_path / "old" / "c.webp"]
    assert list_images(str(tmp_path), recursive=False) == [tmp_path / "a.png", tmp_path / "b.JPG"]
    with pytest.raises(ImageError, match="no image"):
        list_images(tmp_path / "folder.png")
    with pytest.raises(ImageError, match="not a folder"):
        list_images(tmp_path / "absent")


@pytest.mark.parametrize(
    "suffix", [".jpg", ".JPEG", ".png", ".webp", ".tif", ".bmp", pytest.param(".avif", marks=needs_avif)]
)
def test_saving_writes_the_picture_and_nothing_else(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "new" / "folder" / f"out{suffix}"
    save_image(corner_picture(), path)
    assert close(corners(load_image(path)), CORNERS, 12)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    plain = tmp_path / "plain"
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode, "readable by whom other files are readable by"


def test_a_saved_jpeg_keeps_fine_colour(tmp_path: Path) -> None:
    save_image(corner_picture(), tmp_path / "out.jpg")
    with Image.open(tmp_path / "out.jpg") as image:
        assert {(h, v) for _, h, v, _ in image.layer} == {(1, 1)}  # type: ignore[attr-defined]


def test_transparency_becomes_white_where_the_format_has_none(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    for suffix in ("jpg", "bmp"):
        save_image(clear, tmp_path / f"out.{suffix}")
        assert load_image(tmp_path / f"out.{suffix}").getpixel((8, 8)) == (255, 255, 255)
    save_image(clear, tmp_path / "out.png")
    assert load_image(tmp_path / "out.png").getpixel((8, 8)) == (0, 0, 0, 0)


def test_a_failed_save_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.png"
    save_image(corner_picture(), path)
    old = path.read_bytes()

    def half_written(self: Image.Image, file: io.BufferedWriter, **options: object) -> None:
        file.write(b"\x89PNG half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", half_written)
    with pytest.raises(ImageError, match=r"out\.png.*No space left") as caught:
        save_image(ImageOps.invert(corner_picture()), path)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_is_checked_before_there_is_a_picture(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "taken.png").mkdir()
    for place in ("out.xyz", "out", "file/out.png", "file/deep/out.png", "taken.png", "x" * 300 + ".png"):
        with pytest.raises(ImageError, match=r"names no image format|cannot be written"):
            check_writable(tmp_path / place)
    for place in ("out.png", "new/deep/out.JPG", "file.png"):
        check_writable(tmp_path / place)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "taken.png"]


def test_places_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"out\.xyz.*\.png"):
        save_image(corner_picture(), tmp_path / "out.xyz")
    with pytest.raises(ImageError, match="'out'"):
        save_image(corner_picture(), "out")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ImageError, match="cannot be written"):
        save_image(corner_picture(), tmp_path / "file" / "out.png")
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(ImageError, match="cannot be written"):
        save_image(corner_picture(), tmp_path / "taken.png")
    with pytest.raises(ImageError, match="cannot be written"):
        save_image(Image.new("RGB", (70_000, 1)), tmp_path / "wide.jpg")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "taken.png"]
