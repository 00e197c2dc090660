"""`metastyle video`: a video or an animation with a style."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from pathlib import Path

from tqdm import tqdm

from metastyle_hub.cli.options import add_device, add_stylize_options, stylize_options
from metastyle_hub.config import add_arguments, from_arguments
from metastyle_hub.model import MetaStyle
from metastyle_hub.video.reader import is_pipe
from metastyle_hub.video.stylize import VideoConfig

__all__ = ["configure_video"]

_DESCRIPTION = """Stylize a video or an animation, frame by frame; audio stays. Ctrl-C stops and keeps the frames so
far. Animations need nothing else, videos need PyAV: pip install 'metastyle-hub[video]'. The name - stands for the
standard input, and for yuv4mpeg to the standard output.

    metastyle video walk.mp4 -s starry -o stylized.mp4
    metastyle video walk.mp4 -s starry -o short.gif --size 240 --max-frames 24
    ffmpeg -i walk.mp4 -f yuv4mpegpipe - | metastyle video - -s starry -o - | ffplay -"""


def configure_video(parser: argparse.ArgumentParser, *, advanced: bool) -> None:
    """Add the arguments of `video`."""
    parser.description = _DESCRIPTION
    parser.add_argument("video", help="a video, an animated .gif, .webp, .png or .avif, or -")
    parser.add_argument("-s", "--style", required=True, help="folder or Hub repo of a style")
    parser.add_argument(
        "-o", "--out", required=True, help="the file to write: .mp4, .mov, .mkv, .gif, .webp, .png, .avif, or -"
    )
    parser.add_argument("--max-frames", type=int, metavar="N", help="only the first N frames")
    add_stylize_options(parser)
    add_device(parser)
    add_arguments(parser.add_argument_group("temporal smoothing and compression"), VideoConfig, advanced=advanced)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    style = MetaStyle.from_pretrained(args.style, device=args.device)
    config = from_arguments(VideoConfig, args)
    options = stylize_options(args)
    steps = style.stylize_video_iter(args.video, args.out, max_frames=args.max_frames, config=config, **options)
    started, index = time.perf_counter(), 0
    stopped: KeyboardInterrupt | None = None
    try:
        with tqdm(unit="frame", desc=Path(args.out).name[:20]) as progress:
            for step in steps:
                index, progress.total = step.index, step.count
                progress.update(step.index - progress.n)
    except KeyboardInterrupt as interrupt:
        stopped = interrupt
        steps.close()  # type: ignore[attr-defined]  # a generator: closing it completes the file
    if index:
        seconds = (time.perf_counter() - started) / index
        with contextlib.suppress(OSError):  # a closed terminal
            print(f"{args.out}: {index} frames, {seconds:.2f} s each", file=sys.stderr if is_pipe(args.out) else None)
    if stopped:
        raise stopped
