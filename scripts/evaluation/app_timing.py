"""Timing of the Gradio app for one visitor in a real browser: until the page, the first step, the end, and after Stop.

    python scripts/evaluation/app_timing.py --out runs/page     # needs chromium and playwright; some minutes; page.json

The app is served by this process, which shares the machine with the browser. The worker is free when the generator of
the adaptation has ended. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from metastyle_hub.adaptation import AdaptationConfig
from metastyle_hub.app import texts
from metastyle_hub.app.app import build, launch_options
from metastyle_hub.app.files import ImageUpload
from metastyle_hub.app.session import Job, Session, StepEvent
from metastyle_hub.app.studio import Studio
from metastyle_hub.data.examples import example
from metastyle_hub.model import MetaStyle

_STEPS = AdaptationConfig().steps  # the default of the page
_STYLE = "stained_glass"  # the style image of the page when it opens


class WatchedStudio(Studio):
    """A studio that notes when its worker is free."""

    ended = threading.Event()
    ended_at = 0.0

    def adapt(self, job: Job, style_image: ImageUpload, session: Session) -> Iterator[StepEvent]:
        """Note the end of the job."""
        self.ended.clear()
        try:
            yield from super().adapt(job, style_image, session)
        finally:
            self.ended_at = time.monotonic()
            self.ended.set()

    def seconds_until_free(self, since: float) -> float:
        """Return the seconds from a time until the worker was free.

        Raises:
            TimeoutError: if that takes more than half a minute.
        """
        if not self.ended.wait(30):
            raise TimeoutError("The worker was not freed within 30 s.")
        return self.ended_at - since


def measure(chromium: str, rounds: int, steps: int = _STEPS) -> dict[str, float]:
    """Return all figures in seconds, and the time of the page over that of the library.

    Args:
        chromium: the program of the browser.
        rounds: of page and library, in turn.
        steps: of an adaptation.
    """
    from playwright.sync_api import expect, sync_playwright

    found: dict[str, float] = {}
    started = time.monotonic()
    base = MetaStyle.from_pretrained()
    studio = WatchedStudio(base)
    app = build(studio)
    _, url, _ = app.launch(prevent_thread_lock=True, quiet=True, **launch_options())
    found["launch"] = time.monotonic() - started
    threading.Thread(target=studio.warm_up, daemon=True).start()  # as in metastyle_hub.app.main

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--headless", "--no-sandbox", "--disable-gpu"])

        def opened() -> Any:
            page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
            page.goto(url)
            expect(page.locator("#status")).to_contain_text("Ready", timeout=60_000)
            return page

        def until(page: Any, text: str) -> float:
            begun = time.monotonic()
            expect(page.locator("#status")).to_contain_text(text, timeout=600_000)
            return time.monotonic() - begun

        def start(page: Any) -> None:
            page.locator("#go").click()
            until(page, f" of {steps}")
            page.wait_for_timeout(4000)

        started = time.monotonic()
        page = opened()
        found["page usable"] = time.monotonic() - started
        page.wait_for_timeout(4000)
        page.locator("#go").click()
        found["first step shown"] = until(page, f" of {steps}")
        until(page, "Adapted")

        durations: dict[str, list[float]] = {"on the page": [], "by the library": []}
        for _ in range(rounds):  # in turn, as the speed of a machine drifts
            page.locator("#go").click()
            durations["on the page"].append(until(page, f" of {steps}") + until(page, "Adapted"))
            begun = time.monotonic()
            for _step in base.adapt_iter(example(_STYLE), steps=steps):
                pass
            durations["by the library"].append(time.monotonic() - begun)
        for where, seconds in durations.items():
            found[f"{steps} steps {where}"] = statistics.median(seconds)
        found["page over library"] = found[f"{steps} steps on the page"] / found[f"{steps} steps by the library"]

        start(page)
        pressed = time.monotonic()
        page.get_by_role("button", name=texts.STOP, exact=True).first.click()
        found["Stop until the worker is free"] = studio.seconds_until_free(pressed)
        until(page, "Stopped")
        found["Stop until the page says so"] = time.monotonic() - pressed
        start(page)
        closed = time.monotonic()
        page.close()
        found["tab closed until the worker is free"] = studio.seconds_until_free(closed)
        browser.close()
    app.close()
    return found


def main() -> int:
    """Measure, and write page.json; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=2, help="of page and library, in turn (default 2)")
    parser.add_argument("--steps", type=int, default=_STEPS, help=f"of an adaptation (default {_STEPS})")
    parser.add_argument("--chromium", default=shutil.which("chromium"), help="the program of the browser")
    args = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    if not args.chromium:
        print("app_timing: chromium is not installed; name the program of a browser with --chromium.", file=sys.stderr)
        return 2
    found = measure(args.chromium, args.rounds, args.steps)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "page.json").write_text(json.dumps(found, indent=2) + "\n")
    for what, figure in found.items():
        print(f"{what}: {figure:.2f}{'' if 'over' in what else ' s'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
