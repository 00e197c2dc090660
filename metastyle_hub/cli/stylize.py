"""`metastyle stylize`: images, folders and patterns with one or several styles, in one process or several."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from metastyle_hub.cli.options import add_device, add_stylize_options, stylize_options
from metastyle_hub.cli.paths import (
    SOFTWARE,
    STREAM,
    Source,
    check_output,
    distinct_names,
    file_ids,
    image_files,
    output_suffix,
    read_image,
    software_of,
    write_image,
)
from metastyle_hub.config import expanded
from metastyle_hub.errors import DeviceError, ImageError, SettingError
from metastyle_hub.images.io import load_image, load_image_with_deep
from metastyle_hub.images.output import encode_deep_png
from metastyle_hub.model import MetaStyle

__all__ = ["configure_stylize"]

_DESCRIPTION = """Stylize images with one or several styles. Size, orientation, transparency and resolution are kept.

    metastyle stylize photo.jpg -s starry -o out.png
    metastyle stylize holiday/ 'more/*.jpg' -s starry -s me/wave -o results/ --strength 0.7
    metastyle stylize photo.jpg -s starry --mask sky.png -s wave --mask sea.png -o out.png
    curl -s https://example.org/photo.jpg | metastyle stylize - -s starry -o - > out.png

A folder keeps its sub-folders. The same command, started again after it was stopped, continues: images that are done
stay (--overwrite makes them again). Earlier results are never stylized as images of a folder. Under `accelerate launch
-m metastyle_hub`, torchrun or srun every process takes its share of the images."""
_AT_ONCE = 8  # images that an accelerator gets together


def configure_stylize(parser: argparse.ArgumentParser, *, advanced: bool) -> None:
    """Add the arguments of `stylize`."""
    parser.description = _DESCRIPTION
    parser.add_argument("content", nargs="+", help="images, folders or glob patterns; - for standard input")
    parser.add_argument(
        "-s", "--style", action="append", required=True, metavar="STYLE", help="folder or Hub repo; repeatable"
    )
    parser.add_argument(
        "-o", "--out", type=Path, required=True, help="a file, a folder for several outputs, or - for standard output"
    )
    add_stylize_options(parser)
    parser.add_argument(
        "--mask", action="append", metavar="IMAGE", help="white where to stylize; one for each --style, for regions"
    )
    parser.add_argument("--feather", type=float, default=0.02, metavar="X", help="soft edge of masks (default 0.02)")
    parser.add_argument("--bit-depth", type=int, choices=(8, 16), default=8, help="bits a channel; 16 writes PNG files")
    parser.add_argument("--overwrite", action="store_true", help="of a folder, also stylize images that are done")
    add_device(parser)
    parser.set_defaults(run=_run)


@dataclass(frozen=True)
class _Job:
    """One image with one style."""

    source: Source
    style: int
    target: Path
    software: str  # the EXIF tag of the result; its number tells whether image, style or options have changed


def _run(args: argparse.Namespace) -> None:
    out = expanded(args.out) if str(args.out) != STREAM else args.out
    sources, left_out = image_files(args.content, out)
    names = distinct_names([expanded(style).resolve().name for style in args.style])
    if args.mask:
        if len(args.mask) != len(names):
            raise SettingError(f"There are {len(names)} styles for {len(args.mask)} masks; name one --mask for each.")
        names = ["_".join(names)]  # all styles are in one result
    several = len(sources) * len(names) > 1 or (len(args.content) == 1 and expanded(args.content[0]).is_dir())
    one_file = str(out) == STREAM or (bool(out.suffix) and not out.is_dir())
    if one_file and len(sources) * len(names) > 1:
        raise ImageError(
            f"{len(sources)} images with {len(names)} styles do not fit into the one file {out}; name a folder."
        )
    if args.bit_depth == 16 and one_file and str(out) != STREAM and out.suffix.lower() != ".png":
        raise SettingError(f"16 bits a channel are written to .png files, not to {out}; choose that suffix.")
    targets = [out] * len(sources) if one_file else _targets(sources, names, out, args.bit_depth)
    read = file_ids(*(source.path for source in sources), *(args.mask or ()))
    for target in targets:
        check_output(target, read)
    models = [MetaStyle.from_pretrained(style, device=args.device) for style in args.style]
    pairs = [(source, i) for source in sources for i in range(len(names))]
    jobs = [
        _Job(source, i, target, _software(source, models if args.mask else models[i : i + 1], args))
        for (source, i), target in zip(pairs, targets, strict=True)
    ]
    process, processes = _share()
    jobs = jobs[process::processes]
    for path, why in left_out.items() if process == 0 else ():
        _tell(path, why)
    failures = [f"{path}: {why}" for path, why in left_out.items()]
    if several and not one_file and not args.overwrite:
        jobs = [job for job in jobs if not _is_done(job)]
    with tqdm(total=len(jobs) * processes, unit="image", disable=not several or process > 0) as progress:
        for job, result in _results(jobs, models, args):
            progress.update(processes)
            if isinstance(result, Image.Image | bytes):
                write_image(result, job.target, software=job.software)
                continue
            if not several:
                raise result
            failures.append(str(result))  # one damaged file must not stop the rest of the folder
            _tell(job.source.path, result)
    if failures:
        total = len(sources) + len(left_out)
        raise ImageError(f"{len(failures)} of {total} images were left out, the first because: {failures[0]}")


def _results(
    jobs: Sequence[_Job], models: Sequence[MetaStyle], args: argparse.Namespace
) -> Iterator[tuple[_Job, Image.Image | bytes | ImageError | DeviceError]]:
    """Stylize job after job; on an accelerator images of one size together."""
    masks: dict[str, Any] = {"mask": args.mask, "feather": args.feather, "styles": models} if args.mask else {}
    at_once = 1 if masks or models[0].device.type == "cpu" or args.bit_depth == 16 else _AT_ONCE
    for start in range(0, len(jobs), at_once):
        batch: dict[int, list[tuple[_Job, Image.Image]]] = {}
        for job in jobs[start : start + at_once]:
            try:
                if args.bit_depth == 16:
                    yield job, _deep(job, models[job.style], args, masks)
                elif masks:
                    name = read_image(str(job.source.path))
                    yield job, models[0].stylize(name, **masks, **stylize_options(args))
                else:
                    image = load_image(read_image(str(job.source.path)))
                    batch.setdefault(job.style, []).append((job, image))
            except (ImageError, DeviceError) as error:
                yield job, error
        for style, loaded in batch.items():
            try:
                stylized = models[style].stylize([image for _, image in loaded], **stylize_options(args))
            except (ImageError, DeviceError) as error:
                yield from ((job, error) for job, _ in loaded)
            else:
                yield from zip([job for job, _ in loaded], stylized, strict=True)


def _deep(job: _Job, model: MetaStyle, args: argparse.Namespace, masks: dict[str, Any]) -> bytes:
    """Return the result as a PNG of 16 bits a channel."""
    image, pixels = load_image_with_deep(read_image(str(job.source.path)))
    stylized = model.stylize(pixels, **masks, **stylize_options(args))
    alpha = image.getchannel("A").resize((stylized.shape[-1], stylized.shape[-2])) if image.mode == "RGBA" else None
    return encode_deep_png(stylized, alpha, image.info.get("dpi"), software=job.software)


def _targets(sources: Sequence[Source], names: Sequence[str], out: Path, bit_depth: int) -> list[Path]:
    """The output file of every pair of image and style."""
    files = [
        str(source.folder / f"{_stem(source)}_{name}{'.png' if bit_depth == 16 else output_suffix(source.path)}")
        for source in sources
        for name in names
    ]
    return [out / file for file in distinct_names(files)]


def _stem(source: Source) -> str:
    return "stdin" if str(source.path) == STREAM else source.path.stem


def _software(source: Source, models: Sequence[MetaStyle], args: argparse.Namespace) -> str:
    """The EXIF tag Software of a result, with a number of all that it depends on."""
    files = [_state(path) for path in (source.path, *map(expanded, args.mask or ()))]
    styles = [model.fingerprint for model in models]
    options = [files, styles, stylize_options(args), args.feather, args.bit_depth]
    return f"{SOFTWARE} {hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:16]}"


def _state(path: Path) -> list[Any]:
    """What changes when a file does."""
    try:
        status = path.stat()
    except OSError:  # a URL
        return [str(path)]
    return [status.st_size, status.st_mtime_ns]


def _is_done(job: _Job) -> bool:
    """Whether the result of an earlier run is there, of the same image, style and options, and whole."""
    if software_of(job.target) != job.software:
        return False
    try:
        load_image(job.target)
    except ImageError:
        return False
    return True


def _share() -> tuple[int, int]:
    """The number of this process and the number of processes, under accelerate launch, torchrun or srun."""
    for number, count in (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS")):
        found = os.environ.get(number, ""), os.environ.get(count, "")
        if all(value.isdecimal() for value in found) and int(found[0]) < int(found[1]):
            return int(found[0]), int(found[1])
    return 0, 1


def _tell(path: Path, why: object) -> None:
    """Name a file that is left out; the progress bar stays in its line."""
    tqdm.write(f"left out: {path}: {why}", file=sys.stderr)
