"""Many visitors of the Space at once: all served or told that it is full, styles kept apart, memory freed?

    python scripts/space_load.py --visitors 20 --steps 5

The page runs in a process of its own, with the base of the package and small pictures. Every visitor learns a style,
downloads it, mixes and leaves; three rounds of them, of which the first warms up. Exit status 1 if a bar is missed.
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
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "space"))
GROWTH = 0.10  # of the resident memory: what may stay after all have left


def serve(pipe: Connection, size: int) -> None:
    """The page in this process; answers "memory" with resident bytes and sessions held, after a collection."""
    import app
    import torch
    from actions import Studio

    from metastyle_hub import AdaptationConfig

    logging.basicConfig(level=logging.ERROR)
    torch.set_num_threads(1)
    studio = Studio(config=AdaptationConfig(size=size, style_size=size, batch=1), device="cpu")
    page = app.build(studio, forget_after=0)
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, **app.launch_options())
    pipe.send(url)
    while pipe.recv() == "memory":
        gc.collect()
        trim()
        pipe.send((resident(), len(page.state_holder.session_data)))
    page.close()
    app.leave()


def trim() -> None:
    """Give back what the allocator keeps for later, where it is glibc's: only what is in use shall be counted."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):
        return


def resident() -> int:
    """Bytes of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def visit(url: str, number: int, steps: int, folder: Path) -> str:
    """One visitor from the first picture to the last; returns how it went."""
    from gradio_client import Client, handle_file
    from photos import Photo

    from metastyle_hub.data.examples import example, example_styles
    from metastyle_hub.images.io import image_sha256
    from metastyle_hub.networks.param_groups import TRAINABLE

    names = sorted(example_styles())
    mine = example(names[number % len(names)])
    client = Client(url, verbose=False, download_files=str(folder))
    try:
        photo, style = handle_file(example("cat")), handle_file(mine)
        parameters = TRAINABLE[number % len(TRAINABLE)]
        client.predict(photo=photo, style=style, steps=steps, parameters=parameters, api_name="/adapt")
        name = mine.stem.replace("_", " ")
        if sha_of_style(client.predict(name=name, api_name="/download")) != image_sha256(Photo(mine, mine.stem).full()):
            return "MIXED UP: another visitor's style"
        client.predict(photo=photo, first=name, second=name, share=0.5, api_name="/mix")
        other = names[(number + 1) % len(names)].replace("_", " ")
        try:
            client.predict(name=other, api_name="/download")
            return "MIXED UP: a style of somebody else is there"
        except Exception as error:
            return "served" if "no style" in str(error) else f"failed: {error}"
    except Exception as error:
        return "told that the queue is full" if "full" in str(error).lower() else f"failed: {error}"
    finally:
        client.close()


def sha_of_style(output: Any) -> str:
    """The SHA-256 of the style picture that a downloaded style names."""
    path = output["value"] if isinstance(output, dict) else output
    with zipfile.ZipFile(path) as file:
        config = next(name for name in file.namelist() if name.endswith("config.json"))
        return str(json.loads(file.read(config)).get("style_sha256"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visitors", type=int, default=20)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--size", type=int, default=96, help="pixels of the pictures that are learned on")
    parser.add_argument("--rounds", type=int, default=3, help="the first of them warms up")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    server = context.Process(target=serve, args=(there, options.size), daemon=True)
    server.start()
    url, outcomes, memory = here.recv(), Counter[str](), []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.visitors) as pool:
        for number in range(options.rounds):
            started = time.monotonic()
            went = Counter(pool.map(lambda n: visit(url, n, options.steps, Path(folder)), range(options.visitors)))
            outcomes += went
            for _ in range(30):  # the server notices within seconds that they have gone
                here.send("memory")
                size, sessions = here.recv()
                if not sessions:
                    break
                time.sleep(1)
            memory.append(size)
            print(
                f"round {number}: {dict(went)}, {time.monotonic() - started:.0f} s, "
                f"{size / 1e6:.0f} MB, {sessions} sessions held",
                flush=True,
            )
    here.send("stop")
    server.join(30)
    growth = memory[-1] / memory[0] - 1
    print(f"memory after the warm-up {memory[0] / 1e6:.0f} MB, at the end {memory[-1] / 1e6:.0f} MB ({growth:+.1%})")
    bad = [text for text in outcomes if text not in ("served", "told that the queue is full")]
    return int(bool(bad) or growth > GROWTH)


if __name__ == "__main__":
    sys.exit(main())
