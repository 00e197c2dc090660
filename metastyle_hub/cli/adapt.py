"""`metastyle adapt`: from a style image to a folder with a style."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from tqdm import tqdm

from metastyle_hub.adaptation import AdaptationConfig
from metastyle_hub.cli.options import add_device
from metastyle_hub.cli.paths import read_image, reserved_folder
from metastyle_hub.config import add_arguments, from_arguments
from metastyle_hub.images.io import load_image
from metastyle_hub.losses import LossWeights
from metastyle_hub.model import MetaStyle, StyleStep
from metastyle_hub.networks.param_groups import trainable_parameters

__all__ = ["configure_adapt"]

_DESCRIPTION = """Adapt a style to an image by a hundred gradient steps from the base. Several images are one style.
Ctrl-C stops and keeps the style as it is.

    metastyle adapt starry_night.jpg -o starry
    metastyle adapt wave.jpg -o wave --steps 200 --style-size 384 --content my_photos/"""


def configure_adapt(parser: argparse.ArgumentParser, *, advanced: bool) -> None:
    """Add the arguments of `adapt`."""
    parser.description = _DESCRIPTION
    parser.epilog = "`metastyle adapt --help-all` also lists learning rates, crops and loss terms."
    parser.add_argument("style_images", nargs="+", metavar="style_image", help="the image, or several of one style")
    parser.add_argument(
        "--style-mask", action="append", metavar="IMAGE", help="white where the style image counts; one for each image"
    )
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FOLDER", help="folder for the style")
    parser.add_argument("--name", help="name of the style (default: that of the image)")
    parser.add_argument(
        "--content", action="append", metavar="PATH", help="a content image to train on, repeatable; or one folder"
    )
    parser.add_argument("--base", help="folder or Hub repo of another base")
    parser.add_argument("--preview", metavar="IMAGE", help="also write IMAGE, stylized, as preview.jpg to the folder")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="about a quarter of the time with a loss 3%% higher: other defaults of some options below",
    )
    add_device(parser)
    add_arguments(parser.add_argument_group("adaptation"), AdaptationConfig, advanced=advanced)
    add_arguments(parser.add_argument_group("loss"), LossWeights, advanced=advanced)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    preset = AdaptationConfig.quick() if args.quick else None
    config = from_arguments(AdaptationConfig, args, preset, weights=from_arguments(LossWeights, args))
    base = MetaStyle.from_pretrained(args.base, device=args.device)
    content_images = args.content[0] if args.content and len(args.content) == 1 else args.content
    preview = load_image(args.preview) if args.preview else None
    steps = base.adapt_iter(
        [read_image(name) for name in args.style_images],
        style_mask=args.style_mask,
        content_images=content_images,
        name=args.name,
        config=config,
    )
    stored = trainable_parameters(base.state_dict(), config.trainable)
    with reserved_folder(args.out, sum(p.numel() for p in stored.values())):
        started = time.perf_counter()
        step: StyleStep | None = None
        stopped: KeyboardInterrupt | None = None
        try:
            with tqdm(total=config.steps, unit="step", desc=Path(args.style_images[0]).stem[:20]) as progress:
                for step in steps:
                    progress.update(step.index - progress.n)
                    progress.set_postfix_str(f"loss {step.loss:.2f} content {step.content:.2f} style {step.style:.3f}")
        except KeyboardInterrupt as interrupt:
            stopped = interrupt
        if step is None or (stopped and not step.index):
            raise stopped or KeyboardInterrupt
        style = step.style_model  # every step is a usable style
        style.save_pretrained(args.out, preview=preview)
    print(f"{args.out}: {style!r}, {time.perf_counter() - started:.0f} s")
    if stopped:
        raise stopped
    print(f"Next: metastyle stylize PHOTO -s {args.out} -o out.png")
