"""Draw docs/gallery.jpg: example style images, and content images stylized with the styles of the Space.

    python scripts/make_gallery.py

Output: one JPEG, a row for each content image and a column for each style.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image, ImageOps

from metastyle_hub import MetaStyle
from metastyle_hub.data.examples import example
from metastyle_hub.images.grid import image_grid
from metastyle_hub.images.io import load_image

ROOT = Path(__file__).resolve().parents[1]
STYLES = (
    "woodblock_waves", "stained_glass", "palette_knife", "mosaic_sun", "ink_mountains", "night_swirls", "batik_kawung",
    "pointillist_river",
)  # fmt: skip
CONTENTS = ("temple", "cat", "coffee")
TILE = 304  # pixels


def main() -> None:
    """Stylize and write the grid: one column per style, the style image on top."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "gallery.jpg", help="file (default: that one)")
    args = parser.parse_args()
    contents = [ImageOps.fit(load_image(example(name)).convert("RGB"), (TILE * 2, TILE * 2)) for name in CONTENTS]
    styles = [MetaStyle.from_pretrained(ROOT / "space" / "styles" / name) for name in STYLES]
    images = [ImageOps.fit(load_image(example(name)).convert("RGB"), (TILE, TILE)) for name in STYLES]
    rows: list[list[Image.Image | None]] = [[None, *images]]
    rows += [[content, *(style.stylize(content) for style in styles)] for content in contents]
    names = [name.replace("_", " ") for name in STYLES]
    grid = image_grid(rows, ["content", *names], tile=TILE // 2)
    grid.save(args.out, quality=85)


if __name__ == "__main__":
    main()
