"""Images as phones, cameras, scanners and editors write them."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tiny
from image_files import chunk, corner_image, png
from PIL import Image, TiffImagePlugin

from metastyle_hub.errors import ImageError
from metastyle_hub.images.files import find_images
from metastyle_hub.images.io import load_image, to_tensor
from metastyle_hub.images.transparency import fill_hidden

CONTENT = tiny.content(40, 60)


# ---- transparency


def cutout(hidden: object, visible: np.ndarray) -> Image.Image:
    pixels = CONTENT.copy()
    pixels[~visible] = hidden
    return Image.fromarray(np.dstack([pixels, np.where(visible, 255, 0).astype(np.uint8)]))


MASKS = {
    "left half": np.arange(60)[None] < np.full((40, 1), 30),
    "stripes": (np.arange(60)[None] // 7 + np.zeros((40, 1), int)) % 2 == 0,
    "one pixel": (np.arange(60)[None] == 5) & (np.arange(40)[:, None] == 7),
    "disk": np.hypot(np.arange(60)[None] - 30, np.arange(40)[:, None] - 20) < 15,
    "nothing": np.zeros((40, 60), bool),
}


@pytest.mark.parametrize("name", MASKS)
def test_colors_under_transparent_pixels_have_no_influence(tmp_path, name):
    visible, noise = MASKS[name], np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    results = []
    for i, hidden in enumerate((0, 255, noise[~visible])):
        cutout(hidden, visible).save(tmp_path / f"{i}.png")
        results.append(np.asarray(load_image(tmp_path / f"{i}.png")))
    assert np.array_equal(results[0], results[1]) and np.array_equal(results[0], results[2])
    assert np.array_equal(results[0][visible][:, :3], CONTENT[visible]), "visible pixels stay"
    colors = {tuple(color) for color in CONTENT[visible].tolist()} or {(128, 128, 128)}
    assert {tuple(color) for color in results[0][..., :3].reshape(-1, 3).tolist()} <= colors


def test_the_fill_is_a_reflection():
    rgb = Image.fromarray(np.repeat(np.arange(8, dtype=np.uint8)[None, :, None], 3, axis=2))
    alpha = Image.fromarray(np.array([[0, 0, 0, 255, 255, 0, 0, 255]], np.uint8))
    assert np.asarray(fill_hidden(rgb, alpha))[0, :, 0].tolist() == [4, 4, 3, 3, 4, 4, 7, 7]


# ---- pages of TIFF files


def save_pages(path: Path, sizes: list[tuple[int, int]], **tags: object) -> None:
    pages = [Image.new("RGB", size, (10 * i, 100, 100)) for i, size in enumerate(sizes)]
    info = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in tags.items():
        info[int(tag[1:])] = value
    pages[0].save(path, save_all=True, append_images=pages[1:], tiffinfo=info)


def test_a_thumbnail_in_front_is_not_the_image(tmp_path):
    save_pages(tmp_path / "scan.tif", [(16, 12), (160, 120)])
    assert load_image(tmp_path / "scan.tif").size == (160, 120)
    save_pages(tmp_path / "flagged.tif", [(100, 80), (160, 120)], _254=1)
    loaded = load_image(tmp_path / "flagged.tif")
    assert loaded.size == (160, 120) or loaded.size == (100, 80)  # Pillow may write the flag to both pages


def test_of_several_full_pages_the_first_is_read(tmp_path):
    save_pages(tmp_path / "fax.tif", [(120, 160), (160, 120), (16, 12)])
    assert load_image(tmp_path / "fax.tif").size == (120, 160)


def test_a_damaged_second_page_does_not_cost_the_first(tmp_path):
    save_pages(tmp_path / "two.tif", [(120, 160), (160, 120)])
    data = (tmp_path / "two.tif").read_bytes()
    with Image.open(tmp_path / "two.tif") as image:
        first = image.tag_v2.next
    (tmp_path / "two.tif").write_bytes(data[: first + 1])
    assert load_image(tmp_path / "two.tif").size == (120, 160)


def raw(photometric: int | None = None, dng: bool = False) -> bytes:
    """A TIFF with a preview of 2 x 2 pixels and, in a sub-directory, sensor data of 400 x 300 that nothing decodes."""

    def directory(entries: list[tuple[int, int, int, int]]) -> bytes:
        return struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *e) for e in entries) + bytes(4)

    extra = [(50706, 1, 4, 0x0401)] if dng else []
    count = 9 + len(extra)
    sub, pixels = 8 + 2 + 12 * count + 4, 500
    main = directory(
        [(256, 4, 1, 2), (257, 4, 1, 2), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, pixels),
         (277, 3, 1, 1), (279, 4, 1, 4), (330, 4, 1, sub), *extra]
    )  # fmt: skip
    full = directory([(256, 4, 1, 400), (257, 4, 1, 300), *([(262, 3, 1, photometric)] if photometric else [])])
    return (b"II*\0" + struct.pack("<I", 8) + main + full).ljust(pixels, b"\0") + bytes(4)


@pytest.mark.parametrize(
    "data",
    [raw(32803), raw(34892), raw(dng=True), raw(), b"FUJIFILMCCD-RAW 0201", b"II*\0\x10\0\0\0CR\2\0", b"IIU\0\x18\0",
     b"\0\0\0\x18ftypcrx \0\0\0\1"],
    ids=["nef", "linear", "dng", "preview alone", "raf", "cr2", "rw2", "cr3"],
)  # fmt: skip
def test_raw_photos_are_refused_rather_than_their_previews_used(tmp_path, data):
    path = tmp_path / "photo.raw"
    path.write_bytes(data)
    with pytest.raises(ImageError) as error:
        load_image(path)
    assert "photo.raw" in str(error.value) and "\n" not in str(error.value)


# ---- colors


def test_adobe_rgb_by_exif_alone_is_converted(tmp_path):
    image = Image.new("RGB", (8, 8), (60, 200, 60))
    exif = Image.Exif()
    exif[0x8769] = {0xA001: 0xFFFF, 0xA005: {1: "R03"}}
    image.save(tmp_path / "camera.png", exif=exif)
    red, green, blue = load_image(tmp_path / "camera.png").getpixel((0, 0))
    # (60, 200, 60) in Adobe RGB is more saturated than sRGB can show: red falls to 0, green stays
    assert red == 0 and 198 <= green <= 204 and blue < 60


def test_the_gamma_of_a_png_is_applied(tmp_path):
    for gamma, expected in ((100_000, 188), (45_455, 128)):  # 128 of 255, linear and nearly sRGB
        data = png(1, 1, bytes([128, 128, 128]), kind=2, extra=chunk(b"gAMA", struct.pack(">I", gamma)))
        (tmp_path / "g.png").write_bytes(data)
        assert np.allclose(load_image(tmp_path / "g.png").getpixel((0, 0)), expected, atol=1)


# ---- suffixes and HEIC


def test_every_image_that_is_left_out_is_named_with_its_reason(tmp_path):
    names = ("a.png", "b.jfif", "c.mpo", "d.dib")
    left = ("e.nef", "f.psd", "g.jxl", "h.tga", "i.SVG")
    for name in (*names, *left, "notes.txt", "clip.mp4", "data.pdf"):
        (tmp_path / name).touch()
    (tmp_path / "j.png").symlink_to(tmp_path / "gone.png")
    found, left_out = find_images(tmp_path)
    assert [path.name for path in found] == list(names)
    assert [path.name for path in left_out] == [*left, "j.png"] and all(left_out.values())


def test_links_to_folders_are_followed_but_not_in_a_circle(tmp_path):
    (tmp_path / "photos").mkdir()
    corner_image().save(tmp_path / "photos" / "a.png")
    (tmp_path / "main").mkdir()
    (tmp_path / "main" / "link").symlink_to(tmp_path / "photos")
    (tmp_path / "photos" / "back").symlink_to(tmp_path / "main")
    assert find_images(tmp_path / "main")[0] == [tmp_path / "main" / "link" / "a.png"]


def test_heic_is_read_upright(tmp_path):
    heif = pytest.importorskip("pillow_heif", reason="needs the extra heif")
    pixels = heif.from_pillow(Image.fromarray(np.kron(CONTENT[:8, :12], np.ones((8, 8, 1), np.uint8))))
    pixels.save(tmp_path / "phone.HEIC", quality=95)
    loaded = load_image(tmp_path / "phone.HEIC")
    assert loaded.size == (96, 64)
    difference = to_tensor(loaded) - tiny.tensor(np.kron(CONTENT[:8, :12], np.ones((8, 8, 1), np.uint8)))
    assert difference.abs().mean() < 0.05
    assert find_images(tmp_path)[0] == [tmp_path / "phone.HEIC"]


def test_heic_without_its_package_says_what_to_install(tmp_path):
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40))
    code = (
        "import sys; sys.modules['pillow_heif'] = None\n"
        "from metastyle_hub.images.io import load_image, list_images\n"
        "for call in (load_image, lambda p: list_images(p.parent)):\n"
        "    try: call(__import__('pathlib').Path(sys.argv[1]))\n"
        "    except ValueError as error: print(error)"
    )
    done = tiny.python("-c", code, str(tmp_path / "phone.heic"))
    assert done.stdout.count("metastyle-hub[heif]") == 2, done.stderr


def test_a_png_of_16_bits_with_damaged_data_is_one_sentence(tmp_path):
    data = png(4, 4, os.urandom(4 * 4 * 6), depth=16, kind=2)
    (tmp_path / "d.png").write_bytes(data[:60] + zlib.compress(b"")[:2] + data[70:])
    with pytest.raises(ImageError):
        load_image(tmp_path / "d.png")
