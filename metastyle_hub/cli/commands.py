"""Learn the style of a picture in half a minute, and put photos into it.

metastyle adapt starry_night.jpg -o starry          learn a style, in half a minute
metastyle stylize photo.jpg -s starry -o out.png    use it
metastyle interpolate starry wave --content photo.jpg -o strip.png
metastyle demo                                      see what this does, with pictures that come along
metastyle info starry                               what an artefact is and where it came from
metastyle video walk.mp4 -s starry -o painted.mp4   a film, frame by frame
metastyle space                                     the same in the browser
metastyle push starry me/starry-night               share it on the Hugging Face Hub; also pull, list, convert
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from metastyle_hub.adaptation import AdaptationConfig
from metastyle_hub.artifacts.serialization import fingerprint
from metastyle_hub.cli.demo import Demo, demo_steps
from metastyle_hub.cli.files import distinct, photo_files, room_for_style, suffix_for
from metastyle_hub.cli.hub import add_hub_commands
from metastyle_hub.cli.space import add_space_command
from metastyle_hub.cli.video import add_video_command
from metastyle_hub.devices import keep_freed_memory
from metastyle_hub.errors import ImageError, MetaStyleError, SettingError
from metastyle_hub.hub.download import EMBEDDED
from metastyle_hub.images.io import check_writable, load_image, save_image
from metastyle_hub.hub.base_registry import load
from metastyle_hub.losses import LossWeights
from metastyle_hub.model import MetaStyle, StyleStep, interpolate
from metastyle_hub.config import add_arguments, from_arguments
from metastyle_hub.images.grid import image_grid
from metastyle_hub.version import __version__

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Job the command line; returns the exit status: 0, or 2 after a user's mistake (one sentence on stderr)."""
    for stream in (sys.stdout, sys.stderr):  # a name in letters that the terminal lacks is no reason to fail
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.WARNING, format="metastyle: %(message)s")
    # the Hub's client writes to stderr by itself; of its retries one line each is enough, the cause comes at the end
    logging.getLogger("huggingface_hub").propagate = False
    logging.getLogger("huggingface_hub.utils._http").addFilter(_without_causes)
    if argv is None:  # the program itself, not a call from another
        argv = sys.argv[1:]
        keep_freed_memory()
    try:
        if "" in argv:  # which would otherwise mean the current folder
            raise SettingError("One of the arguments is empty; if it comes from a variable, check that this is set.")
        arguments = _parser().parse_args(argv)
        arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads has seen enough, as `head` does; Python would complain at its exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except MetaStyleError as error:
        print(f"metastyle: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("metastyle: stopped.", file=sys.stderr)
        return 130
    return 0


def _without_causes(record: logging.LogRecord) -> bool:
    return "thrown while requesting" not in record.getMessage()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="metastyle", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"metastyle {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run: object, help: str, text: str, device: bool = True) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name, help=help, description=text, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if device:
            sub.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default auto)")
        sub.set_defaults(run=run)
        return sub

    adapt = command("adapt", _adapt, "learn the style of a picture", _ADAPT)
    adapt.add_argument("style", help="the picture whose style to learn")
    adapt.add_argument("-o", "--out", type=Path, required=True, help="folder for the learned style")
    adapt.add_argument("--contents", nargs="+", metavar="PATH", help="your own photos to learn on, or one folder")
    adapt.add_argument("--base", help="folder or Hub repo of another base than the one in the package")
    adapt.add_argument("--preview", metavar="PHOTO", help="also write PHOTO in this style as preview.jpg in the folder")
    add_arguments(adapt.add_argument_group("settings"), AdaptationConfig)
    add_arguments(adapt.add_argument_group("weights of the loss"), LossWeights)

    stylize = command("stylize", _stylize, "put photos into a style", _STYLIZE)
    stylize.add_argument("photos", nargs="*", help="pictures, folders or glob patterns")
    stylize.add_argument(
        "-s", "--style", nargs="+", action="extend", required=True, help="folders or Hub repos of learned styles"
    )
    stylize.add_argument("-o", "--out", type=Path, required=True, help="a file, or a folder for several results")
    _add_look(stylize)

    mix = command("interpolate", _interpolate, "mix learned styles", _INTERPOLATE)
    mix.add_argument("styles", nargs="+", help="folders or Hub repos of learned styles, two or more")
    mix.add_argument("--content", required=True, metavar="PHOTO", help="the photo to show the mixes on")
    mix.add_argument("-o", "--out", type=Path, required=True, help="the picture to write")
    mix.add_argument("--weights", type=float, nargs="+", metavar="W", help="one mix with these weights, summing to 1")
    mix.add_argument(
        "--frames", type=int, metavar="N", help="pictures in the strip (default 7, or more for more than four styles)"
    )
    mix.add_argument("--save", type=Path, metavar="FOLDER", help="with --weights: also save the mix as a style")
    _add_look(mix)

    info = command("info", _info, "say what a base or style is", _INFO, device=False)
    info.add_argument("source", nargs="?", help="folder or Hub repo (default: the base in the package)")
    info.add_argument("--json", action="store_true", help="print the configuration alone")

    add_hub_commands(command)
    add_space_command(command)
    add_video_command(command, _add_look)

    demo = command("demo", _demo, "make a picture that shows what this does", _DEMO)
    demo.add_argument(
        "-o", "--out", type=Path, default=Path("demo.png"), help="the picture to write (default demo.png)"
    )
    demo.add_argument("--photo", help="your photo instead of the one that comes along")
    demo.add_argument("--styles", nargs=2, metavar="PICTURE", help="your two style pictures instead")
    add_arguments(demo.add_argument_group("settings"), AdaptationConfig, ("steps", "size", "parameters", "seed"))
    return parser


def _add_look(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--strength", type=float, default=1.0, metavar="X", help="0 (photo) to 1 (style; the default)")
    parser.add_argument(
        "--size", type=int, metavar="N", help="short side of the result in pixels (default: the photo's)"
    )
    parser.add_argument("--keep-photo-colors", action="store_true", help="take only light and dark from the style")


_ADAPT = """Learns the style of one picture by a few gradient steps from the base.

    metastyle adapt starry_night.jpg -o starry
    metastyle adapt wave.jpg -o wave --steps 200 --style-size 384 --contents my_photos/"""

_STYLIZE = """Puts photos into one or several learned styles. Results keep size, orientation and transparency.

    metastyle stylize photo.jpg -s starry -o out.png
    metastyle stylize holiday/ 'more/*.jpg' -s starry wave -o results/ --strength 0.7"""

_INTERPOLATE = """Mixes learned styles: a strip from the first over the others to the last, or one mix.

    metastyle interpolate starry wave --content photo.jpg -o strip.png
    metastyle interpolate starry wave glass --weights 0.5 0.3 0.2 --content photo.jpg -o mix.png --save mix"""

_INFO = """Prints what a folder or Hub repo holds and where it came from. Needs no base and no device.

    metastyle info starry
    metastyle info me/starry-night --json"""

_DEMO = """Learns two styles and shows them: photo, style, steps 0 / 5 / 20 / 100, and a strip between the two.

    metastyle demo -o demo.png
    metastyle demo --photo me.jpg --styles starry_night.jpg wave.jpg"""


def _adapt(args: argparse.Namespace) -> None:
    config = from_arguments(AdaptationConfig, args, weights=from_arguments(LossWeights, args))
    base = MetaStyle.from_pretrained(args.base, device=args.device)
    contents = args.contents[0] if args.contents and len(args.contents) == 1 else args.contents
    preview = load_image(args.preview) if args.preview else None
    steps = base.adapt_iter(args.style, contents=contents, config=config)
    with room_for_style(args.out):
        started = time.perf_counter()
        step: StyleStep | None = None
        stopped: KeyboardInterrupt | None = None
        try:
            with tqdm(total=config.steps, unit="step", desc=Path(args.style).stem[:20]) as bar:
                for step in steps:
                    bar.update(step.index - bar.n)
                    bar.set_postfix_str(f"loss {step.loss:.2f} content {step.content:.2f} style {step.style:.3f}")
        except KeyboardInterrupt as interrupt:
            stopped = interrupt
        if step is None or (stopped and not step.index):
            raise stopped or KeyboardInterrupt
        # every step is a usable style, so that whoever stops early keeps what has been learned
        style = step.style_model
        style.save_pretrained(args.out, preview=preview)
    print(f"{args.out}: {style!r}, {time.perf_counter() - started:.0f} s")
    if stopped:
        raise stopped
    print(f"Next: metastyle stylize PHOTO -s {args.out} -o out.png")


def _stylize(args: argparse.Namespace) -> None:
    if not args.photos:
        raise SettingError("There is no photo; name the photos before -s, which takes all names that follow it.")
    photos = photo_files(args.photos)
    names = distinct([Path(s).resolve().name for s in args.style])
    several = len(photos) * len(names) > 1
    one_file = bool(args.out.suffix) and not args.out.is_dir()
    if several and one_file:
        raise ImageError(
            f"{len(photos)} photos in {len(names)} styles do not fit into the one file {args.out}; name a folder."
        )
    made = iter(distinct([f"{photo.stem}_{name}{suffix_for(photo)}" for photo in photos for name in names]))
    targets = {(photo, name): args.out if one_file else args.out / next(made) for photo in photos for name in names}
    for target in targets.values():
        check_writable(target)
    styles = {n: MetaStyle.from_pretrained(s, device=args.device) for n, s in zip(names, args.style, strict=True)}
    failed: list[str] = []
    for photo in tqdm(photos, unit="photo", disable=not several):
        for name, style in styles.items():
            try:
                result = style.stylize(
                    photo, strength=args.strength, size=args.size, preserve_color=args.preserve_color
                )
            except ImageError as error:  # one bad file must not cost the user the rest of the folder
                if not several:
                    raise
                failed.append(str(error))
                break
            save_image(result, targets[photo, name])
    if failed:
        raise ImageError(f"{len(failed)} of {len(photos)} photos were left out, the first because: {failed[0]}")


def _interpolate(args: argparse.Namespace) -> None:
    count = len(args.styles)
    frames = max(7, 2 * count - 1) if args.frames is None else args.frames
    if frames < 2:
        raise SettingError(f"--frames must be at least 2, got {frames}.")
    if args.save and not args.weights:
        raise SettingError("--save needs --weights, which say what mix to save.")
    if count < 2 and not args.weights:
        raise SettingError(f"A strip goes from one style to another; name a second one beside {args.styles[0]}.")
    check_writable(args.out)
    styles = [MetaStyle.from_pretrained(s, device=args.device) for s in args.styles]
    photo = load_image(args.content)
    look = {"strength": args.strength, "size": args.size, "preserve_color": args.preserve_color}
    if args.weights:
        mix = interpolate(styles, args.weights)
        with room_for_style(args.save) if args.save else contextlib.nullcontext():
            save_image(mix.stylize(photo, **look), args.out)
            if args.save:
                mix.save_pretrained(args.save)
        return
    row: list[Image.Image] = []
    captions: list[str] = []
    for i in tqdm(range(frames), unit="picture"):
        position = i * (count - 1) / (frames - 1)
        left = min(int(position), count - 2)
        weights = [0.0] * count
        weights[left : left + 2] = 1 - (position - left), position - left
        row.append(interpolate(styles, weights).stylize(photo, **look))
        captions.append(" / ".join(f"{w:.0%}" for w in weights))
    save_image(image_grid([row], captions, tile=min(512, max(row[0].size))), args.out)


def _info(args: argparse.Namespace) -> None:
    artifact, origin = load(args.source or EMBEDDED)
    config, base = artifact.config, artifact.config.base_model
    if not args.json:
        print(f"{config.name or origin}: a {config.kind}, from {origin}")
        if base is not None:
            print(f"of the base {base.fingerprint} ({base.repo_id}{'@' + base.revision[:12] if base.revision else ''})")
        else:
            print(f"fingerprint {fingerprint(artifact.parameters)}")
        if artifact.predictor is not None:
            print("with a predictor: the first step of an adaptation is taken from its guess")
    print(config.to_json(), end="")


def _demo(args: argparse.Namespace) -> None:
    check_writable(args.out)
    config = from_arguments(AdaptationConfig, args)
    demo = Demo(config=config)
    photo = load_image(args.photo) if args.photo else demo.photo
    first, second = map(load_image, args.styles) if args.styles else demo.styles
    demo = Demo(photo, (first, second), config)
    base = MetaStyle.from_pretrained(device=args.device)
    with tqdm(total=2 * config.steps, unit="step", desc="two styles") as bar:
        for event in demo_steps(base, demo):
            if isinstance(event, Image.Image):
                save_image(event, args.out)
            elif event.index:
                bar.update()
                bar.set_postfix_str(f"loss {event.loss:.2f}")
    print(f"{args.out}: a photo, two styles after 0, 5, 20 ... steps, and the way from one to the other")
