"""Options that several commands share."""

from __future__ import annotations

import argparse
from typing import Any

__all__ = ["add_device", "add_stylize_options", "stylize_options"]


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add `--device`."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps (default auto)")


def add_stylize_options(parser: argparse.ArgumentParser) -> None:
    """Add `--strength`, `--size`, `--stroke-scale` and `--preserve-color`."""
    parser.add_argument(
        "--strength", type=float, default=1.0, metavar="X", help="0 (base) to 1 (style, the default), up to 1.5"
    )
    parser.add_argument(
        "--size", type=int, metavar="N", help="short side of the output in pixels (default: that of the input)"
    )
    parser.add_argument(
        "--stroke-scale",
        type=float,
        metavar="X",
        help="width of the strokes: 1, that of the network, to 16 (default: relative to the image above 512 px)",
    )
    parser.add_argument("--preserve-color", action="store_true", help="take only the lightness from the style")


def stylize_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return these options as keyword arguments of `MetaStyle.stylize`."""
    names = ("strength", "size", "stroke_scale", "preserve_color")
    return {name: getattr(args, name) for name in names}
