"""Options that several commands share."""

from __future__ import annotations

import argparse
from typing import Any

from metastyle_hub.config import add_arguments
from metastyle_hub.stylization import StylizationConfig

__all__ = ["add_device", "add_stylize_options", "stylize_options"]

_OPTIONS = ("size", "stroke_scale", "preserve_color")


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add `--device`."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps (default auto)")


def add_stylize_options(parser: argparse.ArgumentParser) -> None:
    """Add `--strength`, `--size`, `--stroke-scale` and `--preserve-color`."""
    parser.add_argument(
        "--strength", type=float, default=1.0, metavar="X", help="0 (base) to 1 (style, the default), up to 1.5"
    )
    add_arguments(parser, StylizationConfig, _OPTIONS)


def stylize_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return these options as keyword arguments of `MetaStyle.stylize`."""
    given = {name: getattr(args, name) for name in ("strength", *_OPTIONS)}
    return {name: value for name, value in given.items() if value is not None}
