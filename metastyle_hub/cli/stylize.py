"""`metastyle stylize`: images, folders and patterns with one or several styles."""

from __future__ import annotations

import argparse
from pathlib import Path

from tqdm import tqdm

from metastyle_hub.cli.options import add_device, add_stylize_options, stylize_options
from metastyle_hub.cli.paths import distinct_names, image_files, output_suffix
from metastyle_hub.errors import ImageError
from metastyle_hub.images.io import check_writable, save_image
from metastyle_hub.model import MetaStyle

__all__ = ["configure_stylize"]

_DESCRIPTION = """Stylize images with one or several styles. Size, orientation and transparency are kept.

    metastyle stylize photo.jpg -s starry -o out.png
    metastyle stylize holiday/ 'more/*.jpg' -s starry -s me/wave -o results/ --strength 0.7"""


def configure_stylize(parser: argparse.ArgumentParser, *, advanced: bool) -> None:
    """Add the arguments of `stylize`."""
    parser.description = _DESCRIPTION
    parser.add_argument("content", nargs="+", help="images, folders or glob patterns")
    parser.add_argument(
        "-s", "--style", action="append", required=True, metavar="STYLE", help="folder or Hub repo; repeatable"
    )
    parser.add_argument("-o", "--out", type=Path, required=True, help="a file, or a folder for several outputs")
    add_stylize_options(parser)
    add_device(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    contents = image_files(args.content)
    names = distinct_names([Path(style).resolve().name for style in args.style])
    several = len(contents) * len(names) > 1
    one_file = bool(args.out.suffix) and not args.out.is_dir()
    if several and one_file:
        raise ImageError(
            f"{len(contents)} images with {len(names)} styles do not fit into the one file {args.out}; name a folder."
        )
    targets = _targets(contents, names, args.out, one_file)
    for target in targets.values():
        check_writable(target)
    models = [MetaStyle.from_pretrained(style, device=args.device) for style in args.style]
    failures: list[str] = []
    for content in tqdm(contents, unit="image", disable=not several):
        for name, model in zip(names, models, strict=True):
            try:
                stylized = model.stylize(content, **stylize_options(args))
            except ImageError as error:  # one damaged file must not stop the rest of the folder
                if not several:
                    raise
                failures.append(str(error))
                break
            save_image(stylized, targets[content, name])
    if failures:
        raise ImageError(f"{len(failures)} of {len(contents)} images were skipped, the first because: {failures[0]}")


def _targets(contents: list[Path], names: list[str], out: Path, one_file: bool) -> dict[tuple[Path, str], Path]:
    """The output file of every pair of image and style."""
    pairs = [(content, name) for content in contents for name in names]
    if one_file:
        return dict.fromkeys(pairs, out)
    files = distinct_names([f"{content.stem}_{name}{output_suffix(content)}" for content, name in pairs])
    return {pair: out / file for pair, file in zip(pairs, files, strict=True)}
