"""Compare the browser page with the Python library, on the base that ships, in a real Chromium.

    python scripts/evaluation/check_browser.py                   WebAssembly: images, a refinement, times
    python scripts/evaluation/check_browser.py --backend webgpu  the same graphs on WebGPU, at small sizes

Prints one line for each target of docs/browser.md, and ends with status 1 if one is not met. CPU seconds are those of
all of Chromium's processes. The image of an adaptation is compared at the end of the same 20 steps on the same crops.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from metastyle_hub import AdaptationConfig, MetaStyle
from metastyle_hub.cli.site import site_server
from metastyle_hub.data.content import content_dataset
from metastyle_hub.data.datasets import CropConfig, random_crops
from metastyle_hub.data.examples import example, example_contents
from metastyle_hub.export.browser import RECIPES
from metastyle_hub.export.site import build_site
from metastyle_hub.networks.layers import random_noise_offset

_SIZE = 256  # pixels of the short side, as the page starts with
_ARTWORK, _STYLE = "night_swirls", "stained_glass"
_FLAGS = ["--headless", "--no-sandbox", "--disable-background-networking"]
_EMULATED = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"]
# opens the page's own modules, without its user interface
_OPEN = """async (backend) => {
  const { openRuntime } = await import('/src/runtime.js');
  const { Noise } = await import('/src/stylize.js');
  const load = async (path) => new Uint8Array(await (await fetch('/model/' + path)).arrayBuffer());
  const manifest = JSON.parse(new TextDecoder().decode(await load('browser.json')));
  const runtime = await openRuntime({ vendor: location.origin + '/vendor/', manifest, load, backend });
  window.opened = { runtime, noise: new Noise(manifest), manifest, load };
  return runtime.label;
}"""
_ADAPT = """async ({ recipe, steps, crops, positions, pixels, size }) => {
  const { runtime, noise } = window.opened;
  const { adapt } = await import('/src/adapt.js');
  const { predictStyle } = await import('/src/stylize.js');
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const artwork = { ...size, data: new Uint8ClampedArray(bytes(pixels).buffer) };
  const { vector: start, grams } = await predictStyle(runtime, artwork);
  const draw = (i) => ({ crops: new Float32Array(bytes(crops[i]).buffer), position: positions[i] });
  const losses = [], seconds = [];
  let vector = start, last = performance.now();
  for await (const step of adapt(runtime, { recipe, steps, start, grams, noise, draw })) {
    losses.push(step.losses.total);
    vector = await step.parameters();
    seconds.push((performance.now() - last) / 1000);
    last = performance.now();
    if (losses.length === crops.length) break;
  }
  const text = (values) => btoa(Array.from(new Uint8Array(values.buffer), (b) => String.fromCharCode(b)).join(''));
  return { losses, seconds, start: text(start), vector: text(vector) };
}"""
_STYLIZE = """async ({ style, path, size }) => {
  const { runtime, noise, manifest, load } = window.opened;
  const { readBase, readStyle } = await import('/src/style.js');
  const { decodeImage } = await import('/src/image.js');
  const { stylize } = await import('/src/stylize.js');
  const json = async (path) => JSON.parse(new TextDecoder().decode(await load(path)));
  const base = readBase(manifest, await json(manifest.base.config), await load(manifest.base.weights));
  const entry = manifest.styles.find(({ name }) => name === style);
  const { vector } = readStyle(base, await load(entry.config), await load(entry.weights), style);
  const photo = await decodeImage(new Blob([await load(path)]), path);
  const started = performance.now();
  const { data } = await stylize(runtime, noise, photo, vector, { size });
  const text = Array.from(data, (b) => String.fromCharCode(b)).join('');
  return { seconds: (performance.now() - started) / 1000, pixels: btoa(text) };
}"""


class Report:
    """Prints figures beside their targets."""

    def __init__(self) -> None:
        self.missed = 0

    def line(self, what: str, value: float, target: float | None = None, unit: str = "") -> None:
        """Print a figure; a target is its largest value."""
        met = "" if target is None else f"   target {target:g}: {'met' if value <= target else 'NOT MET'}"
        self.missed += target is not None and value > target
        print(f"{what:62} {value:10.4g} {unit}{met}", flush=True)


class Processes:
    """The processes that this one has started, and theirs."""

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}

    def cpu_seconds(self) -> float:
        """Return their CPU time so far, with that of processes that were seen and have ended."""
        parents, seconds = {}, {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:  # it has ended
                continue
            pid = int(stat.parent.name)
            parents[pid], seconds[pid] = int(fields[1]), (int(fields[11]) + int(fields[12])) / 100
        family = {os.getpid()}
        while more := {pid for pid, parent in parents.items() if parent in family} - family:
            family |= more
        self._seconds |= {pid: seconds[pid] for pid in family - {os.getpid()}}
        return sum(self._seconds.values())


def check_images(page: Page, base: MetaStyle, report: Report, size: int, tolerance: float) -> None:
    """Stylize the example photos in the page and in Python."""
    style = base.load_style(Path(__file__).parents[2] / "space" / "styles" / _STYLE)
    for name, path in list(example_contents().items())[:5]:
        found = page.evaluate(_STYLIZE, {"style": _STYLE, "path": f"contents/{path.name}", "size": size})
        expected = np.asarray(style.stylize(path, size=size), int)
        pixels = np.frombuffer(base64.b64decode(found["pixels"]), np.uint8).reshape(*expected.shape[:2], 4)
        report.line(
            f"{name}: largest difference, 8-bit levels", float(np.abs(pixels[..., :3] - expected).max()), tolerance
        )


def check_adaptation(
    page: Page, base: MetaStyle, report: Report, config: AdaptationConfig, recipe: str, cpu: Callable[[], float],
    steps: int, tolerance: float,
) -> None:  # fmt: skip
    """Refine on the crops that Python draws, and compare losses and the image of the result."""
    contents, crops = content_dataset(), CropConfig(config.crop_size, config.min_scale, config.max_scale)
    drawn, positions = [], []
    for index in range(steps):
        rng = np.random.default_rng((config.seed, index))
        batch = random_crops(contents, config.batch_size, crops, rng)
        drawn.append(base64.b64encode(batch.numpy().tobytes()).decode())
        positions.append(random_noise_offset(rng))
    artwork = Image.open(example(_ARTWORK)).convert("RGBA")
    before = cpu()
    found = page.evaluate(
        _ADAPT,
        {
            "recipe": recipe, "steps": config.steps, "crops": drawn, "positions": positions,
            "pixels": base64.b64encode(artwork.tobytes()).decode(),
            "size": {"width": artwork.width, "height": artwork.height},
        },
    )  # fmt: skip
    report.line(f"{steps} steps of the recipe {recipe}, with the prediction", cpu() - before, unit="CPU s")
    report.line("the same, wall clock", sum(found["seconds"]), unit="s")
    stream = base.adapt_iter(example(_ARTWORK), config=config)
    expected = [next(stream) for _ in range(steps + 1)]
    # at index 0 Python yields the loss of the base, not of the prediction
    relative = [abs(a / e.loss - 1) for a, e in zip(found["losses"][1:], expected[1:], strict=False)]
    report.line("loss: largest relative difference to PyTorch", max(relative), tolerance)
    names = sorted(name for name in expected[-1].style_model.state_dict() if is_own(name))
    flat = torch.cat([expected[-1].style_model.state_dict()[name].flatten() for name in names]).numpy()
    start = torch.cat([base.predict_style(example(_ARTWORK)).state_dict()[name].flatten() for name in names]).numpy()
    vector, predicted = (np.frombuffer(base64.b64decode(found[key]), np.float32) for key in ("vector", "start"))
    report.line(
        "prediction: relative difference", float(np.linalg.norm(predicted - start) / np.linalg.norm(start)), 1e-3
    )
    moved = np.linalg.norm(flat - start)
    report.line("parameters: difference, as a share of their path", float(np.linalg.norm(vector - flat) / moved))


def is_own(name: str) -> bool:
    """Return whether a style of the page stores this parameter."""
    return ".norm." in name or name.startswith(("decoder.", "to_rgb."))


def longest_task(trace: list[dict[str, Any]]) -> float:
    """Return the CPU time in ms of the longest task of a page's main thread; the wall clock depends on the machine."""
    threads = {(e["pid"], e["tid"]): e["args"]["name"] for e in trace if e.get("name") == "thread_name"}
    tasks = [e for e in trace if threads.get((e["pid"], e["tid"])) == "CrRendererMain" and "RunTask" in e["name"]]
    return max(task.get("tdur", 0) for task in tasks) / 1000


def check_page(page: Page, address: str, report: Report, cpu: Callable[[], float]) -> None:
    """Open the page as a visitor does: times, long tasks of the main thread, requests to other hosts."""
    hosts: set[str] = set()
    page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
    page.set_default_timeout(300_000)
    page.context.browser.start_tracing(page=page, categories=["toplevel"])  # type: ignore[union-attr]
    for visit in ("first visit", "second visit"):
        before, started = cpu(), time.monotonic()
        page.goto(f"{address}?backend=wasm")
        page.wait_for_function("document.body.dataset.ready")
        report.line(f"{visit}: first stylized image", time.monotonic() - started, 5, "s")
        report.line(f"{visit}: the same", cpu() - before, unit="CPU s")
        page.wait_for_function("document.body.dataset.offline")
    for what in ("the feature extractor is loaded first", "again"):
        before, started = cpu(), time.monotonic()
        page.evaluate("document.getElementById('refine-status').textContent = ''")
        page.set_input_files("#artwork", str(example(_ARTWORK)))
        page.wait_for_function("document.getElementById('refine-status').textContent")
        report.line(f"predicted style ({what})", time.monotonic() - started, 3, "s")
        report.line("the same", cpu() - before, unit="CPU s")
        page.wait_for_function("document.getElementById('refine-status').textContent.startsWith('Step')")
        page.evaluate("document.getElementById('stop').click()")
        page.wait_for_function("/^Stop|^Ref/.test(document.getElementById('refine-status').textContent)")
    trace = json.loads(page.context.browser.stop_tracing())["traceEvents"]  # type: ignore[union-attr]
    report.line("longest task of the main thread, CPU time", longest_task(trace), 50, "ms")
    report.line("hosts asked, other than the page's", len(hosts) - 1, 0)


def main() -> int:
    """Run the checks; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=("wasm", "webgpu"), default="wasm")
    parser.add_argument("--emulated", action="store_true", help="use an adapter that Chromium emulates on the CPU")
    parser.add_argument("--chromium", default="/usr/bin/chromium", help="the browser")
    args = parser.parse_args()
    gpu = args.backend == "webgpu"
    base, report = MetaStyle.from_pretrained(), Report()
    flags = _FLAGS + (_EMULATED if args.emulated else [] if gpu else ["--disable-gpu"])
    with site_server(build_site()) as server, sync_playwright() as driver:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        browser = driver.chromium.launch(executable_path=args.chromium, args=flags)
        processes = Processes()
        page = browser.new_context().new_page()
        if not gpu:
            check_page(page, address, report, processes.cpu_seconds)
        page.goto(f"{address}thumbs/")
        print(page.evaluate(_OPEN, args.backend))
        check_images(page, base, report, 64 if args.emulated else _SIZE, 2 if gpu else 1)
        recipe = "full" if gpu and not args.emulated else "small"
        steps, tolerance = (1, 1e-2) if args.emulated else (20, 1e-2)
        config = RECIPES[recipe].replace(steps=20)
        check_adaptation(page, base, report, config, recipe, processes.cpu_seconds, max(2, steps), tolerance)
        server.shutdown()
    return int(report.missed > 0)


if __name__ == "__main__":
    sys.exit(main())
