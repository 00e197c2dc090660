"""Images are decoded upright, in their own colors and size, from every format; unusable ones are refused in one
sentence, before they are decoded."""

import contextlib
import io
import random
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_files import (
    BLUE,
    CORNERS,
    GREEN,
    RED,
    WHITE,
    bomb,
    chunk,
    close,
    corner_image,
    corners,
    needs_avif,
    png,
    refusal,
    swapped_profile,
)
from PIL import Image, ImageCms, ImageFile, ImageOps, features

from metastyle_hub.errors import ImageError, MetaStyleError
from metastyle_hub.images.io import ImageLimits, load_image

# ---- formats


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
def test_an_image_keeps_its_size_and_colors(
    tmp_path: Path, suffix: str, options: dict[str, Any], tolerance: int
) -> None:
    path = tmp_path / f"photo.{suffix}"
    corner_image().save(path, **options)
    image = load_image(path)
    assert (type(image), image.mode, image.size) == (Image.Image, "RGB", (48, 32))
    assert image.info.keys() <= {"dpi"}
    assert close(corners(image), CORNERS, tolerance)
    assert close(corners(load_image(str(path))), CORNERS, tolerance)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", pytest.param("avif", marks=needs_avif)])
def test_every_exif_orientation_comes_out_upright(tmp_path: Path, suffix: str, orientation: int) -> None:
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the rotation that a camera of this orientation stores
    stored = corner_image()
    if orientation > 1:
        stored = stored.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"rotated.{suffix}"
    options: dict[str, Any] = {} if suffix in ("png", "tif") else {"quality": 95}
    stored.save(path, exif=exif, **options)
    image = load_image(path)
    assert image.size == (48, 32)
    assert close(corners(image), CORNERS, 12)
    with Image.open(path) as opened:  # the same for an image that the user opened
        assert close(corners(load_image(opened)), CORNERS, 12)
    assert not image.getexif(), "a second reader would rotate it again"


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_exif_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "odd.jpg"
    corner_image().save(path, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff", quality=95)
    assert close(corners(load_image(path)), CORNERS, 8)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_16_bit_gray_keeps_all_levels(tmp_path: Path, suffix: str) -> None:
    ramp = np.tile(np.linspace(0, 65535, 256).round().astype(np.uint16), (4, 1))
    path = tmp_path / f"ramp.{suffix}"
    Image.fromarray(ramp).save(path)
    image = load_image(path)
    assert image.mode == "RGB"
    assert np.array_equal(np.asarray(image)[0, :, 0], np.arange(256))


def test_16_bit_color_keeps_all_levels(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(256, dtype=np.uint16)[:, None] * 257, (1, 3))
    path = tmp_path / "deep.png"
    path.write_bytes(png(256, 1, ramp.astype(">u2").tobytes(), depth=16, kind=2))
    assert np.array_equal(np.asarray(load_image(path))[0], np.tile(np.arange(256)[:, None], (1, 3)))


def test_a_dark_16_bit_image_stays_dark(tmp_path: Path) -> None:
    path = tmp_path / "dark.png"
    Image.fromarray(np.full((4, 4), 2570, np.uint16)).save(path)
    assert load_image(path).getpixel((0, 0)) == (10, 10, 10)


@pytest.mark.parametrize("top", [1.0, 255.0, 65535.0, 7.5, 1e6])
def test_float_and_32_bit_gray_is_scaled_and_not_clipped(tmp_path: Path, top: float) -> None:
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


def test_a_flat_float_image_of_zeros_is_black(tmp_path: Path) -> None:
    path = tmp_path / "flat.tif"
    for dtype in (np.float32, np.int32):
        Image.fromarray(np.zeros((3, 3), dtype)).save(path)
        assert load_image(path).getpixel((1, 1)) == (0, 0, 0)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "LAB", "HSV", "LA", "RGBA", "PA", "RGBX"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    gray = corner_image().convert("L")
    if mode == "PA":
        source = corner_image().quantize(16).convert("PA")
    elif mode == "P":
        source = corner_image().quantize(16)
    else:
        source = (gray if mode in ("1", "L", "LA") else corner_image()).convert(mode)
    image = load_image(source)
    assert (image.mode, image.size) == ("RGB", (48, 32))
    if mode in ("L", "LA"):
        assert corners(image) == corners(gray)
    elif mode != "1":
        assert close(corners(image), CORNERS, 30 if mode in ("LAB", "HSV") else 6)  # coarse in 8 bits


def test_one_bit_is_black_and_white(tmp_path: Path) -> None:
    path = tmp_path / "scan.png"
    Image.fromarray(np.eye(8, dtype=bool)).save(path)
    assert np.array_equal(np.asarray(load_image(path))[..., 1], np.eye(8, dtype=np.uint8) * 255)


def test_a_cmyk_jpeg_keeps_its_colors(tmp_path: Path) -> None:
    path = tmp_path / "print.jpg"
    corner_image().convert("CMYK").save(path, quality=95)
    image = load_image(path)
    assert image.mode == "RGB"
    assert close(corners(image), CORNERS, 12)


# ---- transparency


def test_transparency_is_kept(tmp_path: Path) -> None:
    alpha = Image.linear_gradient("L").resize((48, 32))
    rgba = corner_image()
    rgba.putalpha(alpha)
    for suffix in ("png", "tif"):
        path = tmp_path / f"logo.{suffix}"
        rgba.save(path)
        image = load_image(path)
        assert image.mode == "RGBA"
        assert np.array_equal(np.asarray(image), np.asarray(rgba))
    gray = corner_image().convert("L")
    gray.putalpha(alpha)
    gray.save(tmp_path / "la.png")
    assert np.array_equal(np.asarray(load_image(tmp_path / "la.png").getchannel("A")), np.asarray(alpha))
    assert load_image(rgba.convert("RGBa")).mode == "RGBA"
    assert load_image(gray.convert("La")).mode == "RGBA"


def test_opaque_alpha_is_dropped() -> None:
    assert load_image(corner_image().convert("RGBA")).mode == "RGB"


def test_a_palette_with_transparency_keeps_both(tmp_path: Path) -> None:
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


def test_a_transparent_color_key_is_transparent(tmp_path: Path) -> None:
    path = tmp_path / "key.png"
    corner_image().save(path, transparency=RED)
    assert load_image(path).getpixel((0, 0))[3] == 0
    assert load_image(path).getpixel((47, 0)) == (*GREEN, 255)
    path.write_bytes(png(2, 1, struct.pack(">2H", 1000, 65535), depth=16, kind=0, extra=chunk(b"tRNS", b"\x03\xe8")))
    assert np.asarray(load_image(path))[0, :, 3].tolist() == [0, 255]
    deep = np.array([[257, 514, 771], [65535, 0, 0]], ">u2")
    key = chunk(b"tRNS", deep[0].tobytes())
    path.write_bytes(png(2, 1, deep.tobytes(), depth=16, kind=2, extra=key))
    assert load_image(path).size == (2, 1)


# ---- animations and profiles


def test_the_first_frame_of_an_animation_is_decoded(tmp_path: Path) -> None:
    frames = [corner_image(), ImageOps.invert(corner_image())]
    for suffix in ("gif", "png", "webp", "tif"):
        path = tmp_path / f"animated.{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:])
        image = load_image(path)
        assert (image.mode, image.size) == ("RGB", (48, 32))
        assert close(corners(image), CORNERS, 12), suffix


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
    corner_image().save(path, icc_profile=profile)
    assert corners(load_image(path)) == list(CORNERS)


def test_an_srgb_profile_changes_no_pixel(tmp_path: Path) -> None:
    path = tmp_path / "srgb.png"
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8))
    noise.save(path, icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    assert np.array_equal(np.asarray(load_image(path)), np.asarray(noise))


def test_a_profile_of_another_color_space_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "print.jpg"
    corner_image().convert("CMYK").save(path, quality=95, icc_profile=swapped_profile())
    assert close(corners(load_image(path)), CORNERS, 12)


def test_images_of_one_pixel_width_or_height_are_decoded(tmp_path: Path) -> None:
    for size in ((1, 1), (6000, 1), (1, 6000)):
        Image.new("RGB", size, RED).save(tmp_path / "thin.png")
        assert load_image(tmp_path / "thin.png").size == size


# ---- limits


@contextlib.contextmanager
def little_memory(megabytes: int) -> Iterator[None]:
    """Fail if the process grows by more at its peak; no check on systems that do not report it."""

    def peak() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

    try:
        Path("/proc/self/clear_refs").write_text("5")  # reset the peak to the memory in use
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
        warnings.simplefilter("error")  # Pillow's own warning would go to the user's terminal
        monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
        refusal(path, "bomb.png", "20000x15000", "300.0 million", "50.0 million")


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
            # libwebp allocates its canvas when the file is opened, which may fail first
            refusal(path, f"bomb.{suffix}", *(["60000x60000"] if suffix != "webp" else []))


def test_limits_are_the_caller_s(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    corner_image().save(path)
    tight = ImageLimits(max_pixels=48 * 32 - 1)
    refusal(path, "photo.png", "48x32", "max_pixels", limits=tight)
    refusal(corner_image(), "48x32", limits=tight)
    refusal(np.zeros((32, 48, 3), np.uint8), "48x32", limits=tight)
    refusal(torch.zeros(3, 32, 48), "48x32", limits=tight)
    refusal(path, "photo.png", "max_bytes", limits=ImageLimits(max_bytes=50))
    assert load_image(path, ImageLimits(max_pixels=48 * 32)).size == (48, 32)


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "webp", "tif", "bmp", "ppm"])
def test_pillow_s_own_limit_neither_warns_nor_refuses_and_is_not_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    path = tmp_path / f"photo.{suffix}"
    corner_image().save(path)
    for limit in (1000, 100):  # Pillow warns above the first, and refuses above twice the second
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert load_image(path).size == (48, 32)
        assert limit == Image.MAX_IMAGE_PIXELS
    path.write_bytes(b"broken")
    refusal(path, path.name)
    assert limit == Image.MAX_IMAGE_PIXELS


def test_a_jpeg_of_many_scans_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scans.jpg"
    corner_image().save(path, progressive=True)
    data = path.read_bytes()
    assert load_image(path).size == (48, 32)
    last = data.rindex(b"\xff\xda")
    path.write_bytes(data[:last] + data[last:-2] * 200 + b"\xff\xd9")
    refusal(path, "scans.jpg", "50")


# ---- damaged files


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "gif", "bmp", "tif", "ppm"])
def test_truncated_files_are_refused(tmp_path: Path, suffix: str) -> None:
    whole = tmp_path / f"whole.{suffix}"
    Image.effect_noise((64, 64), 80).save(whole)
    data = whole.read_bytes()
    for kept in (0.5, 0.9):
        cut = tmp_path / f"cut.{suffix}"
        cut.write_bytes(data[: int(len(data) * kept)])
        refusal(cut, f"cut.{suffix}")


def test_opened_images_that_cannot_be_decoded_are_refused() -> None:
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 80).save(buffer, "PNG")
    # Pillow opens a truncated file and fails when the pixels are loaded
    refusal(Image.open(io.BytesIO(buffer.getvalue()[:2000])))
    refusal(Image.new("RGB", (0, 5)), "0x5")


def every_format() -> dict[str, bytes]:
    image, files = corner_image(), {}
    exif = Image.Exif()
    exif[0x0112] = 6
    rgba = image.convert("RGBA")
    rgba.putalpha(Image.linear_gradient("L").resize(image.size))
    deep = Image.fromarray(np.linspace(0, 65535, 48 * 32).astype(np.uint16).reshape(32, 48))
    icc = swapped_profile()
    for name, source, format, options in (
        ("baseline", image, "JPEG", {"exif": exif, "icc_profile": icc}),
        ("progressive", image.convert("CMYK"), "JPEG", {"progressive": True}),
        ("color", rgba, "PNG", {"exif": exif, "icc_profile": icc}),
        ("deep", deep, "PNG", {}),
        ("palette", image.quantize(16), "PNG", {"transparency": 1}),
        ("lossy", rgba, "WEBP", {"exif": exif}),
        ("lossless", image, "WEBP", {"lossless": True, "save_all": True, "append_images": [rgba]}),
        ("animated", image, "GIF", {"save_all": True, "append_images": [rgba]}),
        ("bmp", image, "BMP", {}),
        ("plain", rgba, "TIFF", {"exif": exif, "icc_profile": icc}),
        ("lzw", deep, "TIFF", {"compression": "tiff_lzw"}),
        ("deflate", image, "TIFF", {"compression": "tiff_adobe_deflate"}),
        ("jpeg", image, "TIFF", {"compression": "jpeg"}),
        ("float", deep.convert("F"), "TIFF", {}),
        ("ppm", image, "PPM", {}),
        ("avif", rgba, "AVIF", {"exif": exif}),
    ):
        if format == "AVIF" and not features.check("avif"):
            continue
        buffer = io.BytesIO()
        source.save(buffer, format, **options)
        files[name] = buffer.getvalue()
    return files


def damaged(data: bytes, rng: random.Random) -> bytes:
    broken = bytearray(data)
    for _ in range(rng.choice((1, 3, 10))):
        # decoders fail in headers, so half of the changes go there
        position = rng.randrange(len(broken) if rng.random() < 0.5 else min(len(broken), 200))
        broken[position] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
    return bytes(broken[: rng.randrange(len(broken))] if rng.random() < 0.3 else broken)


@pytest.mark.parametrize("name", list(every_format()))
@pytest.mark.filterwarnings("ignore")
def test_damaged_files_give_an_image_or_one_sentence(tmp_path: Path, name: str) -> None:
    data, rng, path = every_format()[name], random.Random(name), tmp_path / f"{name}.bin"
    path.write_bytes(data)
    assert load_image(path).mode in ("RGB", "RGBA")
    for _ in range(60):
        path.write_bytes(damaged(data, rng))
        try:
            image = load_image(path, ImageLimits(max_pixels=1_000_000))
        except ImageError as error:
            assert "\n" not in str(error) and path.name in str(error)
        else:
            assert image.mode in ("RGB", "RGBA") and min(image.size) > 0


def test_an_image_error_is_a_value_error() -> None:
    assert issubclass(ImageError, MetaStyleError) and issubclass(ImageError, ValueError)
