"""Labeled grids of images, for previews of training, evaluation and the demo."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from metastyle_hub.images.io import to_pil

__all__ = ["image_grid"]

_TEXT, _BACKGROUND = (45, 45, 48), (250, 250, 248)


def image_grid(
    rows: Sequence[Sequence[Image.Image | Tensor | None]],
    columns: Sequence[str] = (),
    labels: Sequence[str] = (),
    *,
    tile: int = 256,
    gap: int = 8,
) -> Image.Image:
    """Draw a grid of images with labels above the columns and beside the rows.

    Args:
        rows: PIL images or tensors (3, H, W) in [0, 1], each fitted into a square; None for an empty tile. A row is as
            high as its highest image. The background shows through transparent pixels.
        columns: labels of the columns, shortened to the width of a tile.
        labels: labels of the rows.
        tile: pixels a side of the square.
        gap: pixels between tiles.

    >>> image_grid([[image, image.rotate(90)]], ["content", "stylized"]).save("grid.png")
    """
    size = max(11, tile // 14)
    font = ImageFont.load_default(size)
    left = max((int(font.getlength(text)) for text in labels), default=0) + (2 * gap if labels else gap)
    top = (size + 2 * gap) if columns else gap
    fitted = [[_fit(image, tile) for image in row] for row in rows]
    heights = [max((image.height for image in row if image is not None), default=tile) for row in fitted]
    count = max(len(row) for row in rows)
    grid = Image.new("RGB", (left + count * (tile + gap), top + sum(heights) + gap * len(rows)), _BACKGROUND)
    draw = ImageDraw.Draw(grid)
    for x, text in enumerate(columns):
        position = left + x * (tile + gap) + tile // 2, top // 2
        draw.text(position, _shortened(text, font, tile), _TEXT, font, anchor="mm")
    for y, row in enumerate(fitted):
        start, height = top + sum(heights[:y]) + gap * y, heights[y]
        if y < len(labels):
            draw.text((left - gap, start + height // 2), labels[y], _TEXT, font, anchor="rm")
        for x, image in enumerate(row):
            if image is not None:
                offset = (tile - image.width) // 2, (height - image.height) // 2
                grid.paste(image, (left + x * (tile + gap) + offset[0], start + offset[1]))
    return grid


def _fit(image: Image.Image | Tensor | None, tile: int) -> Image.Image | None:
    """Return the image at the size at which it fits into a square tile."""
    if image is None:
        return None
    fitted = to_pil(image) if isinstance(image, Tensor) else image
    if fitted.has_transparency_data:
        fitted = fitted.convert("RGBA")
        fitted = Image.alpha_composite(Image.new("RGBA", fitted.size, _BACKGROUND), fitted)
    # not ImageOps.contain, which rounds the short side of a narrow image to 0
    width, height = (max(1, round(side * tile / max(fitted.size))) for side in fitted.size)
    return fitted.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """Return the text, or as much of its beginning as fits into so many pixels."""
    if font.getlength(text) <= width:
        return text
    kept = next((n for n in range(len(text), 0, -1) if font.getlength(f"{text[:n]}…") <= width), 0)
    return f"{text[:kept].rstrip()}…"
