"""A contact sheet shows every picture in its place, whole, with its captions."""

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from metastyle_hub.images.grid import image_grid

COLORS = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (200, 200, 30)]


def flat(color: tuple[int, int, int], size: tuple[int, int] = (64, 64)) -> Image.Image:
    return Image.new("RGB", size, color)


def tile_color(sheet: Image.Image, row: int, column: int, tile: int = 64, gap: int = 8) -> tuple[int, ...]:
    return sheet.getpixel((gap + column * (tile + gap) + tile // 2, gap + row * (tile + gap) + tile // 2))


def test_pictures_lie_in_their_rows_and_columns():
    sheet = image_grid([[flat(COLORS[0]), flat(COLORS[1])], [flat(COLORS[2]), flat(COLORS[3])]], tile=64)
    assert sheet.size == (8 + 2 * 72, 8 + 2 * 72) and sheet.mode == "RGB"
    for i, color in enumerate(COLORS):
        assert tile_color(sheet, i // 2, i % 2) == color


def test_tensors_and_holes_and_uneven_rows():
    tensor = torch.tensor(COLORS[1]).view(3, 1, 1).expand(3, 32, 32) / 255
    sheet = image_grid([[None, tensor, flat(COLORS[0])], [flat(COLORS[2])]], tile=64)
    paper = sheet.getpixel((1, 1))
    assert tile_color(sheet, 0, 0) == paper == tile_color(sheet, 1, 2)
    assert sheet.getpixel((8 + 72 + 32, 8 + 32)) == COLORS[1]
    assert tile_color(sheet, 0, 2) == COLORS[0] and tile_color(sheet, 1, 0) == COLORS[2]


@pytest.mark.parametrize("size", [(640, 320), (320, 640), (30, 20), (1000, 40)])
def test_a_picture_keeps_its_aspect_and_stays_in_its_tile(size):
    sheet = image_grid([[flat(COLORS[0], size)]], tile=64)
    inside = np.abs(np.asarray(sheet).astype(int) - COLORS[0]).max(-1) < 40
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    scale = 64 / max(size)  # small pictures are enlarged: a sheet compares like with like
    assert abs(width - size[0] * scale) <= 1 and abs(height - size[1] * scale) <= 1
    assert rows[0] >= 8 and columns[0] >= 8 and rows[-1] < 72 and columns[-1] < 72


def test_the_pictures_given_are_not_changed():
    picture = tiny.image(tiny.content(200, 300))
    before = picture.copy()
    image_grid([[picture]], tile=64)
    assert picture.size == before.size and picture.tobytes() == before.tobytes()


def test_captions_have_ink_and_room():
    plain = image_grid([[flat(COLORS[0])] * 2], tile=64)
    labelled = image_grid([[flat(COLORS[0])] * 2], ["photo", "style"], ["a rather long label"], tile=64)
    assert labelled.width > plain.width and labelled.height > plain.height
    ink = (np.asarray(labelled).astype(int).sum(-1) < 300) & (np.asarray(labelled)[..., 0] < 120)
    top, left = labelled.height - plain.height, labelled.width - plain.width
    assert ink[: top + 8].any() and ink[top + 8 :, :left].any()


@pytest.mark.parametrize("size", [(2000, 1), (1, 2000)])
def test_a_picture_as_thin_as_a_line_is_shown_as_one(size):
    sheet = image_grid([[flat(COLORS[0], size), flat(COLORS[1])]], tile=64)
    inside = np.abs(np.asarray(sheet).astype(int) - COLORS[0]).max(-1) < 40
    assert inside.sum() == 64 and min(inside.any(0).sum(), inside.any(1).sum()) == 1


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_shows_the_paper(mode):
    picture = flat(COLORS[0]).convert("RGBA")
    picture.putalpha(0)
    picture.paste((0, 0, 0, 255), (0, 0, 64, 32))
    sheet = image_grid([[picture.convert(mode)]], tile=64)
    paper = sheet.getpixel((1, 1))
    assert sheet.getpixel((8 + 32, 8 + 50)) == paper and sheet.getpixel((8 + 32, 8 + 10)) == (0, 0, 0)


def test_captions_do_not_run_into_each_other():
    long = " / ".join(["20%"] * 5)
    sheet = np.asarray(image_grid([[flat(COLORS[0])] * 3], [long, "", long], tile=64)).astype(int)
    ink = (sheet.sum(-1) < 500)[:20]  # above the pictures
    assert ink[:, 8:72].any() and ink[:, 152:216].any()
    assert not ink[:, 76:148].any(), "the second column has none"
    short = image_grid([[flat(COLORS[0])]], ["photo"], tile=64)
    assert short.tobytes() != image_grid([[flat(COLORS[0])]], ["phot…"], tile=64).tobytes()
