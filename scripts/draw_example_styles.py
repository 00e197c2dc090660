"""Draw the style images that ship with the library, from scratch, with NumPy alone.

    python scripts/draw_example_styles.py                              # into metastyle_hub/example_images/style
    python scripts/draw_example_styles.py --only mosaic_sun --out DIR

One name always gives the same bytes. Output: one JPEG of at most 178 kB for each style, and a line about it on stdout.
"""

from __future__ import annotations

import argparse
import io
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from example_images import brushwork, crafts, prints, washes
from example_images.toolkit import Array
from PIL import Image

STYLES = Path(__file__).resolve().parents[1] / "metastyle_hub" / "example_images" / "style"
MAX_BYTES = 178_000  # of a file; the richest textures are saved at a lower quality
QUALITIES = (88, 86, 84, 82, 80, 78, 76, 74, 72)
MIN_SIZE = 64

SEEDS = {"watercolor_garden": 1429967033}  # drawn under another name; by default the seed is a hash of the name
DRAWINGS: dict[str, Callable[[np.random.Generator, int], Array]] = {
    "batik_kawung": crafts.batik_kawung,
    "cubist_planes": brushwork.cubist_planes,
    "cut_paper": prints.cut_paper,
    "ink_mountains": washes.ink_mountains,
    "linocut_valley": prints.linocut_valley,
    "marbled_paper": prints.marbled_paper,
    "mosaic_sun": crafts.mosaic_sun,
    "night_swirls": brushwork.night_swirls,
    "palette_knife": brushwork.palette_knife,
    "pastel_dunes": washes.pastel_dunes,
    "pointillist_river": brushwork.pointillist_river,
    "stained_glass": crafts.stained_glass,
    "watercolor_garden": washes.watercolor_garden,
    "woodblock_waves": prints.woodblock_waves,
}


def draw(name: str, size: int) -> Image.Image:
    """Draw one image at twice its size and average it down, which smooths every edge."""
    rng = np.random.default_rng(SEEDS.get(name, zlib.crc32(name.encode())))
    large = DRAWINGS[name](rng, 2 * size)  # (2 size, 2 size, 3) in [0, 1]
    small = large.reshape(size, 2, size, 2, 3).mean((1, 3))  # (size, size, 3)
    return Image.fromarray(np.round(small * 255).astype(np.uint8))


def encode(image: Image.Image) -> bytes:
    """Return the image as JPEG, at the best quality that stays below MAX_BYTES."""
    for quality in QUALITIES:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality, optimize=True, progressive=True)
        if buffer.tell() <= MAX_BYTES:
            break
    return buffer.getvalue()


def main(arguments: list[str] | None = None) -> None:
    """Draw the styles and write their files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=STYLES, help="folder to write (default: the package's own)")
    parser.add_argument("--only", nargs="+", choices=sorted(DRAWINGS), metavar="NAME", help="only these styles")
    parser.add_argument("--size", type=int, default=704, help="width and height in pixels (default 704)")
    args = parser.parse_args(arguments)
    if args.size < MIN_SIZE:
        parser.error(f"--size must be at least {MIN_SIZE} pixels, got {args.size}.")
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.only or DRAWINGS:
        started = time.perf_counter()
        data = encode(draw(name, args.size))
        (args.out / f"{name}.jpg").write_bytes(data)
        print(f"{name:20} {len(data) / 1000:5.0f} kB  {time.perf_counter() - started:4.1f} s", flush=True)


if __name__ == "__main__":
    main()
