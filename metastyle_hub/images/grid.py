"""Contact sheets: labelled grids of pictures, for previews of training, evaluation and the demo."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from metastyle_hub.images.io import to_pil

__all__ = ["image_grid"]

_INK, _PAPER = (45, 45, 48), (250, 250, 248)


def image_grid(
    rows: Sequence[Sequence[Image.Image | Tensor | None]],
    columns: Sequence[str] = (),
    labels: Sequence[str] = (),
    *,
    tile: int = 256,
    gap: int = 8,
) -> Image.Image:
    """A grid of pictures with captions above the columns and beside the rows.

    Args:
        rows: pictures, PIL or (3, H, W) in [0, 1]; each is fitted into a square of side `tile`, and a row is as
            high as its highest picture; transparent parts show the paper; None leaves a hole.
        columns: captions above the first row, shortened where they are wider than a tile.
        labels: captions to the left of the rows.
        tile, gap: pixels.
    """
    size = max(11, tile // 14)
    font = ImageFont.load_default(size)
    left = max((int(font.getlength(text)) for text in labels), default=0) + (2 * gap if labels else gap)
    top = (size + 2 * gap) if columns else gap
    fitted = [[_fit(picture, tile) for picture in row] for row in rows]
    heights = [max((p.height for p in row if p is not None), default=tile) for row in fitted]
    count = max(len(row) for row in rows)
    sheet = Image.new("RGB", (left + count * (tile + gap), top + sum(heights) + gap * len(rows)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for x, text in enumerate(columns):
        text = _shortened(text, font, tile)
        draw.text((left + x * (tile + gap) + tile // 2, top // 2), text, _INK, font, anchor="mm")
    for y, row in enumerate(fitted):
        start, height = top + sum(heights[:y]) + gap * y, heights[y]
        if y < len(labels):
            draw.text((left - gap, start + height // 2), labels[y], _INK, font, anchor="rm")
        for x, image in enumerate(row):
            if image is not None:
                offset = (tile - image.width) // 2, (height - image.height) // 2
                sheet.paste(image, (left + x * (tile + gap) + offset[0], start + offset[1]))
    return sheet


def _fit(picture: Image.Image | Tensor | None, tile: int) -> Image.Image | None:
    """The picture at the size at which it fits into a square tile."""
    if picture is None:
        return None
    image = to_pil(picture) if isinstance(picture, Tensor) else picture
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, _PAPER), image)
    # not ImageOps.contain, which rounds the short side of a ribbon to nothing
    width, height = (max(1, round(side * tile / max(image.size))) for side in image.size)
    return image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The text, or as much of its beginning as fits into so many pixels."""
    if font.getlength(text) <= width:
        return text
    kept = next((n for n in range(len(text), 0, -1) if font.getlength(f"{text[:n]}…") <= width), 0)
    return f"{text[:kept].rstrip()}…"
