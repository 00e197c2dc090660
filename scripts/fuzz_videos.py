"""Stylize damaged videos and animations: no traceback, no hang, no lost work.

    python scripts/fuzz_videos.py --count 500
    python scripts/fuzz_videos.py --count 1 --seed 137     # one of them again

Small videos and animations of many containers and codecs are damaged: bits flipped, the end cut off, bytes removed,
repeated, or replaced by those of another file. Each goes through `stylize_video` in a process of its own, with the
image itself as its stylized version. It must end within 20 s, with a file that decodes to as many frames as were
reported, or with one sentence of a MetaStyleError and no file. Cases that do not are kept.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

_SECONDS = 20.0
_SUFFIXES = (".mp4", ".mkv", ".mov", ".gif", ".webp")
# container: codecs of images and audio
_VIDEOS = {
    ".mp4": ("libx264", "aac"), ".mov": ("mjpeg", "pcm_s16le"), ".mkv": ("libx264", "libopus"),
    ".ts": ("libx264", "aac"), ".avi": ("mpeg4", "mp3"), ".flv": ("flv", "mp3"), ".mpg": ("mpeg2video", "mp2"),
    ".webm": ("libvpx", "libopus"), ".asf": ("msmpeg4v3", "wmav2"), ".h264": ("libx264", ""),
    ".y4m": ("wrapped_avframe", ""), ".3gp": ("mpeg4", "aac"), ".nut": ("ffv1", "flac"),
}  # fmt: skip
_ANIMATIONS = (".gif", ".webp", ".png", ".avif")


def write_seeds(folder: Path) -> list[Path]:
    """Write the whole files that are damaged later; codecs that this FFmpeg cannot encode are left out."""
    import av
    from PIL import Image

    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:48, 0:64]
    images = [
        np.stack([(x * 3 + 5 * t) % 256, (y * 4 + 3 * t) % 256, rng.integers(0, 256, (48, 64))], -1).astype(np.uint8)
        for t in range(24)
    ]
    seeds = []
    for suffix, (codec, audio) in _VIDEOS.items():
        path = folder / f"seed{suffix}"
        try:
            with av.open(str(path), "w", format={".y4m": "yuv4mpegpipe"}.get(suffix)) as container:
                video: Any = container.add_stream(codec, rate=12, options={"g": "6"} if codec != "libvpx" else {})
                video.width, video.height, video.pix_fmt = 64, 48, "yuvj420p" if codec == "mjpeg" else "yuv420p"
                sound: Any = (
                    container.add_stream(audio, rate=48_000, layout="stereo", bit_rate=128_000) if audio else None
                )
                for t, image in enumerate(images):
                    frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=video.pix_fmt)
                    frame.pts = t
                    container.mux(video.encode(frame))
                    if sound is not None:
                        tone = np.sin(np.arange(4000 * t, 4000 * t + 4000) / 20).astype(np.float32)
                        samples = av.AudioFrame.from_ndarray(np.stack([tone, tone]), format="fltp", layout="stereo")
                        samples.sample_rate, samples.pts = 48_000, 4000 * t
                        container.mux(sound.encode(samples))
                for stream in (video, sound):
                    container.mux(stream.encode(None) if stream is not None else [])
            seeds.append(path)
        except (av.FFmpegError, ValueError) as error:
            print(f"no {suffix}: {error}", file=sys.stderr)
            path.unlink(missing_ok=True)
    for suffix in _ANIMATIONS:
        first, *rest = [Image.fromarray(image) for image in images[:8]]
        path = folder / f"seed{suffix}"
        first.save(path, save_all=True, append_images=rest, duration=80)
        seeds.append(path)
    return seeds


def damage(data: bytes, other: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    """Return damaged bytes, and how they were damaged."""
    kind = str(rng.choice(["flip", "header", "cut", "remove", "repeat", "splice", "zero", "join"]))
    raw, size = bytearray(data), len(data)
    first, last = sorted(int(i) for i in rng.integers(0, size, 2))
    last = min(last, first + max(size // 8, 16))
    if kind == "flip":
        for _ in range(int(2 ** rng.uniform(0, 8))):
            raw[int(rng.integers(0, size))] ^= 1 << int(rng.integers(0, 8))
    elif kind == "header":
        for _ in range(int(rng.integers(1, 12))):
            raw[int(rng.integers(0, min(size, 512)))] = int(rng.integers(0, 256))
    elif kind == "cut":
        raw = raw[: int(rng.integers(1, size))]
    elif kind == "remove":
        del raw[first:last]
    elif kind == "repeat":
        raw[last:last] = raw[first:last]
    elif kind == "splice":
        at = int(rng.integers(0, len(other)))
        raw[first:last] = other[at : at + last - first]
    elif kind == "zero":
        raw[first:last] = bytes(last - first)
    else:
        raw += other
    return bytes(raw), kind


def child(source: str, target: str, output: str) -> None:
    """Stylize one file; write a JSON object with the frames, or the error, to a file beside what is printed."""
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 2)

    import av

    from metastyle_hub.errors import MetaStyleError
    from metastyle_hub.video.frames import Frame
    from metastyle_hub.video.reader import open_video
    from metastyle_hub.video.stylize import stylize_video

    av.logging.set_level(None)
    logging.basicConfig(level=logging.ERROR)
    started, result = time.monotonic(), dict[str, Any]()
    try:
        result["frames"] = sum(1 for _ in stylize_video(lambda image: image, source, target, max_frames=200))
    except MetaStyleError as error:
        result["error"] = str(error)
    result["seconds"] = round(time.monotonic() - started, 1)
    if Path(target).exists():
        video = open_video(target)
        result["read"] = sum(isinstance(part, Frame) for part in video)
        video.close()
    os.write(2, f"\n{json.dumps(result)}".encode())


def fault(status: int | None, text: str, target: Path) -> str:
    """Return what is wrong with a case, given the exit status (None after a hang); an empty text if nothing is."""
    if status is None:
        return "hang"
    if status or "Traceback" in text:
        return f"status {status}: {text.strip().splitlines()[-1:]}"
    result = json.loads(text.splitlines()[-1])
    if list(target.parent.glob(".*.tmp")):
        return "an unfinished file is left"
    if result["seconds"] > _SECONDS:
        return f"{result['seconds']} s"
    if "error" in result:
        sentence = result["error"]
        good = "read" not in result and sentence.endswith(".") and "\n" not in sentence
        return "" if good else f"no one sentence: {sentence}"
    # Pillow merges equal frames of an animation into a longer one
    few = result["read"] != result["frames"] and not (target.suffix in (".gif", ".webp") and result["read"])
    return f"{result['read']} of {result['frames']} frames are in the file" if few else ""


def main() -> None:
    """Run the cases and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500, help="cases (default 500)")
    parser.add_argument("--seed", type=int, default=0, help="of the first case (default 0)")
    parser.add_argument("--keep", type=Path, default=Path("fuzz"), help="folder for the faults (default fuzz)")
    args = parser.parse_args()
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["metastyle_hub.video.stylize", "av"])
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seeds = write_seeds(folder)
        print(f"{len(seeds)} kinds of files: {' '.join(seed.suffix for seed in seeds)}")
        for case in range(args.seed, args.seed + args.count):
            rng = np.random.default_rng(case)
            seed, other = (seeds[int(rng.integers(len(seeds)))] for _ in range(2))
            data, kind = damage(seed.read_bytes(), other.read_bytes(), rng)
            source, suffix = folder / f"case{case}{seed.suffix}", str(rng.choice(_SUFFIXES))
            target = folder / f"out{suffix}"
            target.unlink(missing_ok=True)
            source.write_bytes(data)
            output = folder / "output"
            process = processes.Process(target=child, args=(str(source), str(target), str(output)))
            process.start()
            process.join(4 * _SECONDS)  # of a busy machine
            status = process.exitcode
            if status is None:
                process.kill()
                process.join()
            text = output.read_text(errors="replace")
            if status == 0:
                outcomes["whole" if '"frames"' in text.splitlines()[-1] else "refused"] += 1
            if why := fault(status, text, target):
                outcomes["fault"] += 1
                args.keep.mkdir(exist_ok=True)
                (args.keep / source.name).write_bytes(data)
                for left in folder.glob(".*.tmp"):  # the next case is not to blame for it
                    left.unlink()
                print(f"case {case}, {seed.suffix} {kind} -> {suffix}: {why}", flush=True)
            source.unlink()
    print(f"{args.count} cases: {dict(outcomes)}")
    sys.exit(bool(outcomes["fault"]))


if __name__ == "__main__":
    main()
