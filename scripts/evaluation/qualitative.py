"""Adapt to every style of a folder and draw the results as image grids, for qualitative results.

    python scripts/evaluation/qualitative.py --style DIR --content DIR --out runs/qualitative

An interrupted run continues with the same command. Output, in the folder `--out`: page_01.png ..., eight styles a page
(they contain the given images), and the stylized images in images/. Check color, noise, blobs, borders, content,
strength of the style, ringing.
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
from metastyle_hub.config import add_arguments, from_arguments
from metastyle_hub.errors import MetaStyleError
from metastyle_hub.images.files import list_images
from metastyle_hub.images.grid import image_grid
from metastyle_hub.images.io import image_sha256, load_image, save_image
from metastyle_hub.losses import LossWeights
from metastyle_hub.model import MetaStyle
from metastyle_hub.version import __version__


def spread(files: list[Path], count: int) -> list[Path]:
    """Return `count` of the files, evenly spaced."""
    count = min(count, len(files))
    return [files[round(i * (len(files) - 1) / max(1, count - 1))] for i in range(count)]


def main(arguments: list[str] | None = None) -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--style", required=True, help="folder of style images; all are used")
    parser.add_argument("--content", required=True, help="folder of content images")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--base", help="folder of the base (default: the one in the package)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda ... or auto (default cpu)")
    parser.add_argument("--count", type=int, default=3, help="content images, spread over their folder (default 3)")
    parser.add_argument("--pixels", type=int, default=384, help="short side of the stylized images (default 384)")
    parser.add_argument("--per-page", type=int, default=8, help="styles (default 8)")
    add_arguments(parser.add_argument_group("adaptation"), AdaptationConfig)
    add_arguments(parser.add_argument_group("weights of the loss"), LossWeights)
    args = parser.parse_args(arguments)
    try:
        draw_pages(args)
    except MetaStyleError as error:
        parser.error(str(error))


def draw_pages(args: argparse.Namespace) -> None:
    """Adapt to the styles that have no images yet, and write every page."""
    config = from_arguments(AdaptationConfig, args, weights=from_arguments(LossWeights, args))
    base = MetaStyle.from_pretrained(args.base, device=args.device)
    styles, contents = list_images(args.style), spread(list_images(args.content), args.count)
    settings = {
        "adaptation": config.to_dict(),
        "pixels": args.pixels,
        "base": base.fingerprint,
        "predictor": fingerprint(base.predictor or {}),
        "version": __version__,
        "contents": [image_sha256(content) for content in contents],
    }
    rows: list[list[Image.Image | None]] = []
    labels: list[str] = []
    for number, style in enumerate(tqdm(styles, unit="style"), 1):
        # other settings, another base, content or style: another folder, so no page shows outdated images
        key = json.dumps([settings, image_sha256(style)], sort_keys=True)
        folder = args.out / "images" / f"{style.stem}_{hashlib.sha256(key.encode()).hexdigest()[:12]}"
        files = [folder / f"{i}.png" for i in range(len(contents))]
        if not all(file.exists() for file in files):
            model = base.adapt(style, config=config, progress=False)
            for content, file in zip(contents, files, strict=True):
                save_image(model.stylize(content, size=args.pixels), file)
        rows.append([load_image(style), *(load_image(file) for file in files)])
        labels.append(style.stem[:24])
        if len(rows) == args.per_page or number == len(styles):
            if number <= args.per_page or len(styles) <= args.per_page:  # the content images, once
                rows.append([None, *(load_image(content) for content in contents)])
                labels.append("content")
            page = image_grid(rows, ["style", *(c.stem[:24] for c in contents)], labels, tile=args.pixels)
            save_image(page, args.out / f"page_{-(-number // args.per_page):02d}.png")
            rows, labels = [], []


if __name__ == "__main__":
    main()
