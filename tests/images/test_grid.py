"""An image grid shows every image in its tile, whole, with its labels."""

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from metastyle_hub.images.grid import image_grid

COLORS = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (200, 200, 30)]


def flat(color: tuple[int, int, int], size: tuple[int, int] = (64, 64)) -> Image.Image:
    return Image.new("RGB", size, color)


def tile_color(grid: Image.Image, row: int, column: int, tile: int = 64, gap: int = 8) -> tuple[int, ...]:
    return grid.getpixel((gap + column * (tile + gap) + tile // 2, gap + row * (tile + gap) + tile // 2))


def test_images_are_in_their_rows_and_columns():
    grid = image_grid([[flat(COLORS[0]), flat(COLORS[1])], [flat(COLORS[2]), flat(COLORS[3])]], tile=64)
    assert grid.size == (8 + 2 * 72, 8 + 2 * 72) and grid.mode == "RGB"
    for i, color in enumerate(COLORS):
        assert tile_color(grid, i // 2, i % 2) == color


def test_tensors_empty_tiles_and_uneven_rows():
    tensor = torch.tensor(COLORS[1]).view(3, 1, 1).expand(3, 32, 32) / 255
    grid = image_grid([[None, tensor, flat(COLORS[0])], [flat(COLORS[2])]], tile=64)
    background = grid.getpixel((1, 1))
    assert tile_color(grid, 0, 0) == background == tile_color(grid, 1, 2)
    assert grid.getpixel((8 + 72 + 32, 8 + 32)) == COLORS[1]
    assert tile_color(grid, 0, 2) == COLORS[0] and tile_color(grid, 1, 0) == COLORS[2]


@pytest.mark.parametrize("size", [(640, 320), (320, 640), (30, 20), (1000, 40)])
def test_an_image_keeps_its_aspect_and_stays_in_its_tile(size):
    grid = image_grid([[flat(COLORS[0], size)]], tile=64)
    inside = np.abs(np.asarray(grid).astype(int) - COLORS[0]).max(-1) < 40
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    scale = 64 / max(size)  # small images are enlarged: a grid compares them at one size
    assert abs(width - size[0] * scale) <= 1 and abs(height - size[1] * scale) <= 1
    assert rows[0] >= 8 and columns[0] >= 8 and rows[-1] < 72 and columns[-1] < 72


def test_the_images_are_not_changed():
    image = tiny.image(tiny.content(200, 300))
    before = image.copy()
    image_grid([[image]], tile=64)
    assert image.size == before.size and image.tobytes() == before.tobytes()


def test_labels_are_drawn_beside_the_tiles():
    plain = image_grid([[flat(COLORS[0])] * 2], tile=64)
    labeled = image_grid([[flat(COLORS[0])] * 2], ["content", "style"], ["a rather long label"], tile=64)
    assert labeled.width > plain.width and labeled.height > plain.height
    dark = (np.asarray(labeled).astype(int).sum(-1) < 300) & (np.asarray(labeled)[..., 0] < 120)
    top, left = labeled.height - plain.height, labeled.width - plain.width
    assert dark[: top + 8].any() and dark[top + 8 :, :left].any()


@pytest.mark.parametrize("size", [(2000, 1), (1, 2000)])
def test_an_image_of_one_pixel_height_or_width_is_drawn_as_a_line(size):
    grid = image_grid([[flat(COLORS[0], size), flat(COLORS[1])]], tile=64)
    inside = np.abs(np.asarray(grid).astype(int) - COLORS[0]).max(-1) < 40
    assert inside.sum() == 64 and min(inside.any(0).sum(), inside.any(1).sum()) == 1


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_the_background_shows_through_transparent_pixels(mode):
    image = flat(COLORS[0]).convert("RGBA")
    image.putalpha(0)
    image.paste((0, 0, 0, 255), (0, 0, 64, 32))
    grid = image_grid([[image.convert(mode)]], tile=64)
    background = grid.getpixel((1, 1))
    assert grid.getpixel((8 + 32, 8 + 50)) == background and grid.getpixel((8 + 32, 8 + 10)) == (0, 0, 0)


def test_column_labels_do_not_overlap():
    long = " / ".join(["20%"] * 5)
    grid = np.asarray(image_grid([[flat(COLORS[0])] * 3], [long, "", long], tile=64)).astype(int)
    dark = (grid.sum(-1) < 500)[:20]  # above the images
    assert dark[:, 8:72].any() and dark[:, 152:216].any()
    assert not dark[:, 76:148].any(), "the second column has none"
    short = image_grid([[flat(COLORS[0])]], ["content"], tile=64)
    assert short.tobytes() != image_grid([[flat(COLORS[0])]], ["conten…"], tile=64).tobytes()
