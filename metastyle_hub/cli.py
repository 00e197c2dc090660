"""The `metastyle` command.

metastyle adapt starry_night.jpg -o starry          learn a style, in a minute
metastyle stylize photo.jpg -s starry -o out.png    use it
metastyle interpolate starry wave --content photo.jpg -o strip.png
metastyle demo                                      see what this does, with pictures that come along
metastyle info starry                               what an artefact is and where it came from
metastyle space                                     the same in the browser
metastyle push starry me/starry-night               share it on the Hugging Face Hub; also pull, list, convert
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from metastyle_hub.errors import ImageError, MetaStyleError
from metastyle_hub.version import __version__

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0, or 2 after a user's mistake (one sentence on stderr)."""
    logging.basicConfig(level=logging.WARNING, format="metastyle: %(message)s")
    # the Hub's client writes to stderr by itself; of its retries one line each is enough, the cause comes at the end
    logging.getLogger("huggingface_hub").propagate = False
    logging.getLogger("huggingface_hub.utils._http").addFilter(_without_causes)
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except (MetaStyleError, ValueError) as error:
        print(f"metastyle: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("metastyle: stopped.", file=sys.stderr)
        return 130
    return 0


def _without_causes(record: logging.LogRecord) -> bool:
    return "thrown while requesting" not in record.getMessage()


def _parser() -> argparse.ArgumentParser:
    # the settings classes give the options their text and range, so they are imported even for --help;
    # torch comes with them, which is why main() imports nothing else early
    from metastyle_hub.adaptation import AdaptationConfig
    from metastyle_hub.cli_hub import add_hub_commands
    from metastyle_hub.cli_space import add_space_command
    from metastyle_hub.loss import LossWeights
    from metastyle_hub.settings import add_arguments

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
    stylize.add_argument("photos", nargs="+", help="pictures, folders or glob patterns")
    stylize.add_argument("-s", "--style", nargs="+", required=True, help="folders or Hub repos of learned styles")
    stylize.add_argument("-o", "--out", type=Path, required=True, help="a file, or a folder for several results")
    _add_look(stylize)

    mix = command("interpolate", _interpolate, "mix learned styles", _INTERPOLATE)
    mix.add_argument("styles", nargs="+", help="folders or Hub repos of learned styles, two or more")
    mix.add_argument("--content", required=True, metavar="PHOTO", help="the photo to show the mixes on")
    mix.add_argument("-o", "--out", type=Path, required=True, help="the picture to write")
    mix.add_argument("--weights", type=float, nargs="+", metavar="W", help="one mix with these weights, summing to 1")
    mix.add_argument("--frames", type=int, default=7, metavar="N", help="pictures in the strip (default 7)")
    mix.add_argument("--save", type=Path, metavar="FOLDER", help="with --weights: also save the mix as a style")
    _add_look(mix)

    info = command(
        "info", _info, "say what a base or style is", "Prints what a folder or Hub repo holds and where it came from."
    )
    info.add_argument("source", nargs="?", help="folder or Hub repo (default: the base in the package)")

    add_hub_commands(command)
    add_space_command(command)

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

_DEMO = """Learns two styles and shows them: photo, style, steps 0 / 5 / 20 / 100, and a strip between the two.

    metastyle demo -o demo.png
    metastyle demo --photo me.jpg --styles starry_night.jpg wave.jpg"""


def _adapt(args: argparse.Namespace) -> None:
    from metastyle_hub.adaptation import AdaptationConfig
    from metastyle_hub.artifacts import write_files
    from metastyle_hub.loss import LossWeights
    from metastyle_hub.model import MetaStyle
    from metastyle_hub.settings import from_arguments

    config = from_arguments(AdaptationConfig, args, weights=from_arguments(LossWeights, args))
    base = MetaStyle.from_pretrained(args.base, device=args.device)
    contents = args.contents[0] if args.contents and len(args.contents) == 1 else args.contents
    steps = base.adapt_iter(args.style, contents=contents, config=config)
    write_files(args.out, {})  # a place that cannot be written should cost a second, not the whole adaptation
    started = time.perf_counter()
    with tqdm(total=config.steps, unit="step", desc=Path(args.style).stem[:20]) as bar:
        for step in steps:
            bar.update(step.index - bar.n)
            bar.set_postfix_str(f"loss {step.loss:.2f} content {step.content:.2f} style {step.style:.3f}")
    style = step.style_model
    style.save_pretrained(args.out)
    if args.preview:
        _save(style.stylize(args.preview), args.out / "preview.jpg")
    print(f"{args.out}: {style!r}, {time.perf_counter() - started:.0f} s")
    print(f"Next: metastyle stylize PHOTO -s {args.out} -o out.png")


def _stylize(args: argparse.Namespace) -> None:
    from metastyle_hub.model import MetaStyle

    photos = _photos(args.photos)
    names = _distinct([Path(s).resolve().name for s in args.style])
    styles = {n: MetaStyle.from_pretrained(s, device=args.device) for n, s in zip(names, args.style, strict=True)}
    several = len(photos) * len(styles) > 1
    one_file = bool(args.out.suffix) and not args.out.is_dir()
    if several and one_file:
        raise ImageError(
            f"{len(photos)} photos in {len(styles)} styles do not fit into the one file {args.out}; name a folder."
        )
    failed: list[str] = []
    results = _distinct([photo.stem + _suffix(photo) for photo in photos])
    for photo, made in zip(tqdm(photos, unit="photo", disable=not several), map(Path, results), strict=True):
        for name, style in styles.items():
            target = args.out if one_file else args.out / f"{made.stem}_{name}{made.suffix}"
            try:
                result = style.stylize(
                    photo, strength=args.strength, size=args.size, keep_photo_colors=args.keep_photo_colors
                )
            except ImageError as error:  # one bad file must not cost the user the rest of the folder
                if not several:
                    raise
                failed.append(str(error))
                break
            _save(result, target)
    if failed:
        raise ImageError(f"{len(failed)} of {len(photos)} photos were left out, the first because: {failed[0]}")


def _photos(names: Sequence[str]) -> list[Path]:
    from metastyle_hub.images import list_images

    photos: list[Path] = []
    for name in names:
        path = Path(name)
        if path.is_dir():
            photos += list_images(path)
        elif any(c in name for c in "*?[") and not path.exists():
            found = sorted(Path(path.anchor or ".").glob(str(path.relative_to(path.anchor) if path.anchor else path)))
            if not found:
                raise ImageError(f"Nothing matches {name}; check the pattern.")
            photos += found
        else:
            photos.append(path)
    return photos


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, numbered where one comes again: no result may overwrite another."""
    made: dict[str, None] = {}
    for name in names:
        stem, suffix = Path(name).stem, Path(name).suffix
        numbered = (f"{stem}-{i}{suffix}" for i in count(2))
        made[next(n for n in chain([name], numbered) if n not in made)] = None
    return list(made)


def _suffix(photo: Path) -> str:
    return photo.suffix.lower() if photo.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp") else ".png"


def _interpolate(args: argparse.Namespace) -> None:
    from metastyle_hub.images import load_image
    from metastyle_hub.model import MetaStyle, interpolate
    from metastyle_hub.sheets import contact_sheet

    if args.frames < 2:
        raise ValueError(f"--frames must be at least 2, got {args.frames}.")
    if args.save and not args.weights:
        raise ValueError("--save needs --weights, which say what mix to save.")
    styles = [MetaStyle.from_pretrained(s, device=args.device) for s in args.styles]
    photo = load_image(args.content)
    look = {"strength": args.strength, "size": args.size, "keep_photo_colors": args.keep_photo_colors}
    if args.weights:
        mix = interpolate(styles, args.weights)
        _save(mix.stylize(photo, **look), args.out)
        if args.save:
            mix.save_pretrained(args.save)
        return
    row: list[Image.Image] = []
    captions: list[str] = []
    for i in tqdm(range(args.frames), unit="picture"):
        position = i * (len(styles) - 1) / (args.frames - 1)
        left = min(int(position), max(0, len(styles) - 2))
        t = position - left
        weights = [0.0] * len(styles)
        weights[left] = 1 - t
        if t:
            weights[left + 1] = t
        row.append(interpolate(styles, weights).stylize(photo, **look))
        captions.append(" / ".join(f"{w:.0%}" for w in weights))
    _save(contact_sheet([row], captions, tile=min(512, max(row[0].size))), args.out)


def _info(args: argparse.Namespace) -> None:
    from metastyle_hub.model import MetaStyle

    model = MetaStyle.from_pretrained(args.source, device=args.device)
    print(repr(model))
    print(f"from {model.origin}, fingerprint {model.fingerprint}")
    print(json.dumps(json.loads(model.config.to_json()), indent=2))


def _demo(args: argparse.Namespace) -> None:
    from metastyle_hub.adaptation import AdaptationConfig
    from metastyle_hub.demo import Demo, demo_steps
    from metastyle_hub.model import MetaStyle
    from metastyle_hub.settings import from_arguments

    config = from_arguments(AdaptationConfig, args)
    demo = Demo(config=config)
    if args.photo:
        demo = Demo(args.photo, demo.styles, config)
    if args.styles:
        demo = Demo(demo.photo, tuple(args.styles), config)
    base = MetaStyle.from_pretrained(device=args.device)
    with tqdm(total=2 * config.steps, unit="step", desc="two styles") as bar:
        for event in demo_steps(base, demo):
            if isinstance(event, Image.Image):
                _save(event, args.out)
            elif event.index:
                bar.update()
                bar.set_postfix_str(f"loss {event.loss:.2f}")
    print(f"{args.out}: a photo, two styles after 0, 5, 20 ... steps, and the way from one to the other")


def _save(image: Image.Image, path: Path) -> None:
    from metastyle_hub.images import save_image

    save_image(image, path)


if __name__ == "__main__":
    sys.exit(main())
