"""Paint the style pictures that come with the library.

    python scripts/paint_examples.py [--out DIR] [--only NAME ...] [--size N]

Every picture is drawn from scratch with numpy, and one seed always gives the same picture.
"""

from __future__ import annotations

import argparse
import io
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from painting import crafts, oils, prints, waters
from painting.toolkit import Array
from PIL import Image

STYLES = Path(__file__).resolve().parent.parent / "metastyle_hub" / "pictures" / "styles"
# No picture weighs more than this; the richest textures are saved at a lower quality for it.
MOST_BYTES = 178_000
QUALITIES = (88, 86, 84, 82, 80, 78, 76, 74, 72)

PAINTINGS: dict[str, Callable[[np.random.Generator, int], Array]] = {
    "batik_kawung": crafts.batik_kawung,
    "cubist_planes": oils.cubist_planes,
    "cut_paper": prints.cut_paper,
    "ink_mountains": waters.ink_mountains,
    "linocut_valley": prints.linocut_valley,
    "marbled_paper": prints.marbled_paper,
    "mosaic_sun": crafts.mosaic_sun,
    "night_swirls": oils.night_swirls,
    "palette_knife": oils.palette_knife,
    "pastel_dunes": waters.pastel_dunes,
    "pointillist_river": oils.pointillist_river,
    "stained_glass": crafts.stained_glass,
    "watercolour_garden": waters.watercolour_garden,
    "woodblock_waves": prints.woodblock_waves,
}


def paint(name: str, size: int) -> Image.Image:
    """Paint one picture, at twice its size and then averaged down, which smooths every edge."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    large = PAINTINGS[name](rng, 2 * size)
    small = large.reshape(size, 2, size, 2, 3).mean((1, 3))
    return Image.fromarray(np.round(small * 255).astype(np.uint8))


def encode(picture: Image.Image) -> bytes:
    """The picture as JPEG, at the best quality that stays below MOST_BYTES."""
    for quality in QUALITIES:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality, optimize=True, progressive=True)
        if buffer.tell() <= MOST_BYTES:
            break
    return buffer.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description="Paint the example style pictures.")
    parser.add_argument("--out", type=Path, default=STYLES, help="folder to write the pictures to")
    parser.add_argument("--only", nargs="+", choices=sorted(PAINTINGS), metavar="NAME", help="only these")
    parser.add_argument("--size", type=int, default=704, help="width and height in pixels")
    options = parser.parse_args()
    if options.size < 64:
        parser.error(f"--size {options.size} is too small to paint on: it takes 64 pixels at least")
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.only or PAINTINGS:
        start = time.perf_counter()
        data = encode(paint(name, options.size))
        (options.out / f"{name}.jpg").write_bytes(data)
        print(f"{name:20} {len(data) / 1000:5.0f} kB  {time.perf_counter() - start:4.1f} s", flush=True)


if __name__ == "__main__":
    main()
