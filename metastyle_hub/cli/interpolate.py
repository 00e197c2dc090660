"""`metastyle interpolate`: a strip from style to style, or one mix."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from metastyle_hub.cli.options import add_device, add_stylize_options, stylize_options
from metastyle_hub.cli.paths import check_output, file_ids, read_image, reserved_folder, write_image
from metastyle_hub.errors import SettingError
from metastyle_hub.images.grid import image_grid
from metastyle_hub.images.io import load_image
from metastyle_hub.model import MetaStyle, interpolate

__all__ = ["configure_interpolate"]

_DESCRIPTION = """Interpolate styles of one base: a strip from the first over the others to the last, or one mix.

    metastyle interpolate starry wave --content photo.jpg -o strip.png
    metastyle interpolate starry wave glass --weights 0.5 0.3 0.2 --content photo.jpg -o mix.png --save mix"""
_MIN_FRAMES = 7


def configure_interpolate(parser: argparse.ArgumentParser, *, advanced: bool) -> None:
    """Add the arguments of `interpolate`."""
    parser.description = _DESCRIPTION
    parser.add_argument("styles", nargs="+", help="folders or Hub repos of styles, two or more")
    parser.add_argument("--content", required=True, metavar="IMAGE", help="the image to stylize")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the image file to write")
    parser.add_argument("--weights", type=float, nargs="+", metavar="W", help="one mix with these weights")
    parser.add_argument("--extrapolate", action="store_true", help="with --weights: allow weights below 0")
    parser.add_argument(
        "--frames", type=int, metavar="N", help=f"images in the strip (default {_MIN_FRAMES}; more for many styles)"
    )
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="with --weights: also save the mix as a style")
    add_stylize_options(parser)
    add_device(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    count = len(args.styles)
    frames = max(_MIN_FRAMES, 2 * count - 1) if args.frames is None else args.frames
    if frames < 2:
        raise SettingError(f"--frames must be at least 2, got {frames}.")
    if args.save and not args.weights:
        raise SettingError("--save needs --weights, which define the mix.")
    if count < 2 and not args.weights:
        raise SettingError(f"A strip needs two styles, got {args.styles[0]} alone; name a second one.")
    check_output(args.out, file_ids(args.content))
    styles = [MetaStyle.from_pretrained(style, device=args.device) for style in args.styles]
    content, options = load_image(read_image(args.content)), stylize_options(args)
    if args.weights:
        mix = interpolate(styles, args.weights, convex=not args.extrapolate)
        with reserved_folder(args.save, mix.num_parameters(only_own=True)) if args.save else contextlib.nullcontext():
            write_image(mix.stylize(content, **options), args.out)
            if args.save:
                mix.save_pretrained(args.save)
        return
    row: list[Image.Image] = []
    captions: list[str] = []
    for i in tqdm(range(frames), unit="image"):
        position = i * (count - 1) / (frames - 1)
        left = min(int(position), count - 2)
        weights = [0.0] * count
        weights[left : left + 2] = 1 - (position - left), position - left
        row.append(interpolate(styles, weights).stylize(content, **options))
        captions.append(" / ".join(f"{w:.0%}" for w in weights))
    write_image(image_grid([row], captions, tile=min(512, max(row[0].size))), args.out)
