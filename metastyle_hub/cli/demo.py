"""`metastyle demo`: one image grid that shows adaptation and interpolation."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageOps
from tqdm import tqdm

from metastyle_hub.adaptation import AdaptationConfig
from metastyle_hub.cli.options import add_device
from metastyle_hub.config import add_arguments, from_arguments
from metastyle_hub.data.examples import example
from metastyle_hub.images.grid import image_grid
from metastyle_hub.images.io import ImageLike, check_writable, load_image, save_image
from metastyle_hub.model import MetaStyle, StyleStep, interpolate

__all__ = ["Demo", "configure_demo", "demo_steps", "shown_steps"]

_DESCRIPTION = """Adapt two styles and show them: content, style, steps 0 / 5 / 20 / 100, and an interpolation.

    metastyle demo -o demo.png
    metastyle demo --content me.jpg --styles starry_night.jpg wave.jpg"""


@dataclass(frozen=True)
class Demo:
    """What the demo shows."""

    content: ImageLike = field(default_factory=lambda: example("temple"))
    styles: tuple[ImageLike, ImageLike] = field(
        default_factory=lambda: (example("night_swirls"), example("stained_glass"))
    )
    config: AdaptationConfig = field(default_factory=AdaptationConfig)
    frames: int = 6  # images of the interpolation
    tile: int = 256  # pixels


def configure_demo(parser: argparse.ArgumentParser, *, advanced: bool) -> None:
    """Add the arguments of `demo`."""
    parser.description = _DESCRIPTION
    parser.add_argument(
        "-o", "--out", type=Path, default=Path("demo.png"), help="the image file to write (default demo.png)"
    )
    parser.add_argument("--content", metavar="IMAGE", help="your content image")
    parser.add_argument("--styles", nargs=2, metavar="IMAGE", help="your two style images")
    add_device(parser)
    names = ("steps", "trainable", "crop_size", "seed")
    add_arguments(parser.add_argument_group("adaptation"), AdaptationConfig, names)
    parser.set_defaults(run=_run)


def shown_steps(steps: int) -> tuple[int, ...]:
    """Return the steps of an adaptation worth showing: 0, 5, 20, 100 ... up to `steps`.

    >>> shown_steps(100)
    (0, 5, 20, 100)
    """
    return (*(mark for mark in (0, 5, 20, 50, 100, 200, 500) if mark < steps and (mark != 50 or steps < 100)), steps)


def demo_steps(base: MetaStyle, demo: Demo) -> Iterator[StyleStep | Image.Image]:
    """Yield the steps of both adaptations, and at the end the image grid.

    Example::

        *_, grid = demo_steps(MetaStyle.from_pretrained(), Demo())
    """
    content = load_image(demo.content).convert("RGB")
    content.thumbnail((2 * demo.tile, 2 * demo.tile), Image.Resampling.LANCZOS)
    marks = shown_steps(demo.config.steps)
    rows: list[list[Image.Image]] = []
    styles: list[MetaStyle] = []
    for style_image in demo.styles:
        row = [content, ImageOps.fit(load_image(style_image).convert("RGB"), content.size)]
        for step in base.adapt_iter(style_image, config=demo.config):
            yield step
            if step.index in marks:
                row.append(step.style_model.stylize(content))
        rows.append(row)
        styles.append(step.style_model)
    weights = [i / (demo.frames - 1) for i in range(demo.frames)]
    rows.append([interpolate(styles, [1 - w, w]).stylize(content) for w in weights])
    yield image_grid(rows, ["content", "style", *(f"{mark} steps" for mark in marks)], tile=demo.tile)


def _run(args: argparse.Namespace) -> None:
    check_writable(args.out)
    config = from_arguments(AdaptationConfig, args)
    demo = Demo(config=config)
    content = load_image(args.content) if args.content else demo.content
    first, second = map(load_image, args.styles) if args.styles else demo.styles
    demo = Demo(content, (first, second), config)
    base = MetaStyle.from_pretrained(device=args.device)
    with tqdm(total=2 * config.steps, unit="step", desc="two styles") as progress:
        for event in demo_steps(base, demo):
            if isinstance(event, Image.Image):
                save_image(event, args.out)
            elif event.index:
                progress.update()
                progress.set_postfix_str(f"loss {event.loss:.2f}")
    print(f"{args.out}: content, two styles after 0, 5, 20 ... steps, and their interpolation")
