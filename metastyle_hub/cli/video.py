"""The `metastyle video` command: a film or an animation in a learned style."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from metastyle_hub.model import MetaStyle
from metastyle_hub.config import add_arguments, from_arguments
from metastyle_hub.video.stylize import VideoConfig

__all__ = ["add_video_command"]

_VIDEO = """Puts a film or an animation into a learned style, frame by frame; the sound goes along.
Stop it with Ctrl-C whenever you like: what was painted by then is kept. Animations need nothing further, films need
PyAV: pip install 'metastyle-hub[video]'

    metastyle video walk.mp4 -s starry -o painted.mp4
    metastyle video walk.mp4 -s starry -o look.gif --size 240 --frames 24"""


def add_video_command(
    command: Callable[..., argparse.ArgumentParser], add_look: Callable[[argparse.ArgumentParser], None]
) -> None:
    """Add `video` to the command line; `command` makes a subcommand, `add_look` gives it the options of `stylize`."""
    video = command("video", _video, "put a film into a style", _VIDEO)
    video.add_argument("film", help="a film, or an animated .gif, .webp or .png")
    video.add_argument("-s", "--style", required=True, help="folder or Hub repo of a learned style")
    video.add_argument("-o", "--out", type=Path, required=True, help="the file to write: .mp4, .mov, .mkv, .gif, .webp")
    video.add_argument("--frames", type=int, metavar="N", help="the first N frames alone")
    add_look(video)
    add_arguments(video.add_argument_group("settings"), VideoConfig)


def _video(args: argparse.Namespace) -> None:
    style = MetaStyle.from_pretrained(args.style, device=args.device)
    steps = style.stylize_video_iter(
        args.film,
        args.out,
        strength=args.strength,
        size=args.size,
        preserve_color=args.preserve_color,
        frames=args.frames,
        config=from_arguments(VideoConfig, args),
    )
    started, index = time.perf_counter(), 0
    stopped: KeyboardInterrupt | None = None
    try:
        with tqdm(unit="frame", desc=args.out.name[:20]) as bar:
            for step in steps:
                index, bar.total = step.index, step.count
                bar.update(step.index - bar.n)
    except KeyboardInterrupt as interrupt:
        stopped = interrupt
        steps.close()  # type: ignore[attr-defined]  # a generator: stopped early, it finishes the file
    if index:
        print(f"{args.out}: {index} frames, {(time.perf_counter() - started) / index:.2f} s each")
    if stopped:
        raise stopped
