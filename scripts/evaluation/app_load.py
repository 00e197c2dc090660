"""Load test of the Gradio app: many visitors at once. Are all served or refused, styles kept apart, memory freed?

    python scripts/evaluation/app_load.py --visitors 20 --steps 5

The app runs in its own process, with the base of the package and small images. Every visitor adapts a style, mixes it,
stylizes an image and leaves; the first of three rounds is a warm-up. The exit status is 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import logging
import multiprocessing
import sys
import tempfile
import time
import zipfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

_MAX_GROWTH = 0.10  # of the resident memory, from the first round to the last
_SERVED, _REFUSED = "served", "refused, the queue is full"


def serve(pipe: Connection, size: int) -> None:
    """Serve the app in this process; answer "memory" with the resident bytes and the number of sessions."""
    import torch

    from metastyle_hub.adaptation import AdaptationConfig
    from metastyle_hub.app.app import build, end_process, launch_options
    from metastyle_hub.app.studio import Studio
    from metastyle_hub.model import MetaStyle

    logging.basicConfig(level=logging.ERROR)
    torch.set_num_threads(1)
    config = AdaptationConfig(crop_size=size, style_size=size, batch_size=1)
    page = build(Studio(MetaStyle.from_pretrained(), config, device="cpu"), forget_after=0)
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, **launch_options())
    pipe.send(url)
    while pipe.recv() == "memory":
        gc.collect()
        trim()
        pipe.send((resident_bytes(), len(page.state_holder.session_data)))
    page.close()
    end_process()


def trim() -> None:
    """Make glibc return freed memory to the system, so that only memory in use is measured."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):
        return


def resident_bytes() -> int:
    """Return the resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def visitor(url: str, number: int, steps: int, folder: Path) -> str:
    """Do what one visitor does; return the outcome."""
    from gradio_client import Client, handle_file

    from metastyle_hub.app.files import ImageUpload
    from metastyle_hub.data.examples import example, example_styles
    from metastyle_hub.images.io import image_sha256
    from metastyle_hub.networks.param_groups import TRAINABLE

    names = sorted(example_styles())
    own = example(names[number % len(names)])
    client = Client(url, verbose=False, download_files=str(folder))
    try:
        trainable = TRAINABLE[number % len(TRAINABLE)]
        path = client.predict(style_image=handle_file(own), steps=steps, trainable=trainable, api_name="/adapt")
        if style_sha256(path) != image_sha256(ImageUpload(own, own.stem).load()):
            return "MIXED UP: the style of another visitor"
        style, content = handle_file(path), handle_file(example("cat"))
        mix = client.predict(first_file=style, second_file=style, weight=0.5, api_name="/interpolate")
        client.predict(content_image=content, style_file=handle_file(mix), size=256, api_name="/apply_style")
        return _SERVED
    except Exception as error:
        return _REFUSED if "full" in str(error).lower() else f"failed: {error}"
    finally:
        client.close()


def style_sha256(path: str) -> str:
    """Return the SHA-256 of the style image that a downloaded style names."""
    with zipfile.ZipFile(path) as file:
        config = next(name for name in file.namelist() if name.endswith("config.json"))
        return str(json.loads(file.read(config)).get("style_sha256"))


def main() -> int:
    """Run the load test; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visitors", type=int, default=20)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--size", type=int, default=96, help="pixels of the style image and the crops")
    parser.add_argument("--rounds", type=int, default=3, help="the first is a warm-up")
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    server = context.Process(target=serve, args=(there, args.size), daemon=True)
    server.start()
    url, outcomes, memory = here.recv(), Counter[str](), []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(args.visitors) as pool:
        for number in range(args.rounds):
            started = time.monotonic()
            found = Counter(pool.map(lambda n: visitor(url, n, args.steps, Path(folder)), range(args.visitors)))
            outcomes += found
            for _ in range(30):  # the server notices within seconds that the visitors have left
                here.send("memory")
                size, sessions = here.recv()
                if not sessions:
                    break
                time.sleep(1)
            memory.append(size)
            print(
                f"round {number}: {dict(found)}, {time.monotonic() - started:.0f} s, "
                f"{size / 1e6:.0f} MB, {sessions} sessions held",
                flush=True,
            )
    here.send("stop")
    server.join(30)
    growth = memory[-1] / memory[0] - 1
    print(f"memory after the warm-up {memory[0] / 1e6:.0f} MB, at the end {memory[-1] / 1e6:.0f} MB ({growth:+.1%})")
    bad = [outcome for outcome in outcomes if outcome not in (_SERVED, _REFUSED)]
    return int(bool(bad) or growth > _MAX_GROWTH)


if __name__ == "__main__":
    sys.exit(main())
