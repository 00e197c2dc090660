"""A hard look: adapts to every style of a folder and lays the pictures out on sheets, for the eye to judge.

    python scripts/look.py --artworks DIR --photos DIR --out runs/look              # interrupt it, go on with the same

In the folder `--out`: page_01.png ..., eight styles a page, and the pictures in pictures/. What to look for:
washed-out colour, noise, blobs, borders, lost content, style too weak, ringing. Sheets show the given pictures.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from metastyle_hub.adaptation import AdaptationConfig
from metastyle_hub.artifacts.serialization import fingerprint
from metastyle_hub.errors import MetaStyleError
from metastyle_hub.images.io import image_sha256, list_images, load_image, save_image
from metastyle_hub.losses import LossWeights
from metastyle_hub.model import MetaStyle
from metastyle_hub.config import add_arguments, from_arguments
from metastyle_hub.images.grid import image_grid
from metastyle_hub.version import __version__


def spread(files: list[Path], count: int) -> list[Path]:
    """`count` of the files, evenly."""
    count = min(count, len(files))
    return [files[round(i * (len(files) - 1) / max(1, count - 1))] for i in range(count)]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artworks", required=True, help="folder of styles; all are looked at")
    parser.add_argument("--photos", required=True, help="folder of photos")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--base", help="folder of the base (default: the one in the package)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda ... or auto (default cpu)")
    parser.add_argument("--count", type=int, default=3, help="photos, spread over their folder (default 3)")
    parser.add_argument("--pixels", type=int, default=384, help="short side of the stylised photos (default 384)")
    parser.add_argument("--per-page", type=int, default=8, help="styles (default 8)")
    add_arguments(parser.add_argument_group("adaptation"), AdaptationConfig)
    add_arguments(parser.add_argument_group("weights of the loss"), LossWeights)
    args = parser.parse_args(arguments)
    try:
        look(args)
    except (MetaStyleError, ValueError) as error:
        parser.error(str(error))


def look(args: argparse.Namespace) -> None:
    """Adapt to the styles that have no pictures yet, and write every page."""
    config = from_arguments(AdaptationConfig, args, weights=from_arguments(LossWeights, args))
    base = MetaStyle.from_pretrained(args.base, device=args.device)
    styles, photos = list_images(args.artworks), spread(list_images(args.photos), args.count)
    start = {"base": base.fingerprint, "predictor": fingerprint(base.predictor or {})}
    settings = {"adaptation": config.to_dict(), "pixels": args.pixels, **start, "version": __version__}
    digests = [image_sha256(photo) for photo in photos]
    rows: list[list[Image.Image | None]] = []
    labels: list[str] = []
    for number, style in enumerate(tqdm(styles, unit="style"), 1):
        # other settings, another base, photo or style: another folder, so that no sheet shows old pictures as new
        parts = json.dumps([settings, digests, image_sha256(style)], sort_keys=True)
        folder = args.out / "pictures" / f"{style.stem}_{hashlib.sha256(parts.encode()).hexdigest()[:12]}"
        made = [folder / f"{i}.png" for i in range(len(photos))]
        if not all(file.exists() for file in made):
            model = base.adapt(style, config=config)
            for photo, file in zip(photos, made, strict=True):
                save_image(model.stylize(photo, size=args.pixels), file)
        rows.append([load_image(style), *(load_image(file) for file in made)])
        labels.append(style.stem[:24])
        if len(rows) == args.per_page or number == len(styles):
            if number <= args.per_page or len(styles) <= args.per_page:  # the photos themselves, once
                rows.append([None, *(load_image(photo) for photo in photos)])
                labels.append("photos")
            page = image_grid(rows, ["style", *(p.stem[:24] for p in photos)], labels, tile=args.pixels)
            save_image(page, args.out / f"page_{-(-number // args.per_page):02d}.png")
            rows, labels = [], []


if __name__ == "__main__":
    main()
