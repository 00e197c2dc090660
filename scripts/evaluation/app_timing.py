"""One visitor of the Space in a real browser: how long until the page, the first step, the end, and after Stop?

    python scripts/space_page.py --out runs/page          # needs chromium and playwright; some minutes; page.json

The page is served by this process, which shares the machine with the browser. A worker is free when the generator
that learns has come to its end. Job it on a machine that does nothing else.
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

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "space"))

import app  # noqa: E402
import texts  # noqa: E402
from actions import Studio  # noqa: E402
from visits import StepEvent  # noqa: E402

from metastyle_hub import AdaptationConfig, MetaStyle  # noqa: E402
from metastyle_hub.data.examples import example  # noqa: E402

STEPS = AdaptationConfig().steps  # the page's own default
STYLE = "stained_glass"  # stands there when the page opens


class Watched(Studio):
    """A studio that notes when the worker came to the end of a run."""

    ended = threading.Event()
    ended_at = 0.0

    def adapt(self, *args: Any) -> Iterator[StepEvent]:
        self.ended.clear()
        try:
            yield from super().adapt(*args)
        finally:
            self.ended_at = time.monotonic()
            self.ended.set()

    def freed_after(self, moment: float) -> float:
        """Seconds from a moment until the worker was free."""
        if not self.ended.wait(30):
            raise TimeoutError("The worker was not freed within 30 s.")
        return self.ended_at - moment


def measure(chromium: str, rounds: int, steps: int = STEPS) -> dict[str, float]:
    """All figures in seconds, and the page's time over the library's."""
    from playwright.sync_api import expect, sync_playwright

    found: dict[str, float] = {}
    started = time.monotonic()
    base = MetaStyle.from_pretrained()
    studio = Watched(base)
    page_of_all = app.build(studio)
    _, url, _ = page_of_all.launch(prevent_thread_lock=True, quiet=True, **app.launch_options())
    found["launch"] = time.monotonic() - started
    threading.Thread(target=studio.warm_up, daemon=True).start()  # as app.main does

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

        def under_way(page: Any) -> None:
            page.locator("#go").click()
            until(page, f" of {steps}")
            page.wait_for_timeout(4000)

        started = time.monotonic()
        page = opened()
        found["page usable"] = time.monotonic() - started
        page.wait_for_timeout(4000)
        page.locator("#go").click()
        found["first step shown"] = until(page, f" of {steps}")
        until(page, "Learned")

        learned: dict[str, list[float]] = {"on the page": [], "by the library": []}
        for _ in range(rounds):  # by turns, as machines have moods
            page.locator("#go").click()
            learned["on the page"].append(until(page, f" of {steps}") + until(page, "Learned"))
            begun = time.monotonic()
            for _step in base.adapt_iter(example(STYLE), steps=steps):
                pass
            learned["by the library"].append(time.monotonic() - begun)
        for where, seconds in learned.items():
            found[f"{steps} steps {where}"] = statistics.median(seconds)
        found["page over library"] = found[f"{steps} steps on the page"] / found[f"{steps} steps by the library"]

        under_way(page)
        pressed = time.monotonic()
        page.get_by_role("button", name=texts.STOP, exact=True).first.click()
        found["Stop until the worker is free"] = studio.freed_after(pressed)
        until(page, "Stopped")
        found["Stop until the page says so"] = time.monotonic() - pressed
        under_way(page)
        closed = time.monotonic()
        page.close()
        found["tab closed until the worker is free"] = studio.freed_after(closed)
        browser.close()
    page_of_all.close()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=2, help="of page and library, by turns (default 2)")
    parser.add_argument("--chromium", default=shutil.which("chromium"), help="the browser's program")
    args = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    if not args.chromium:
        print("space_page: there is no chromium here; name the browser's program with --chromium.", file=sys.stderr)
        return 2
    found = measure(args.chromium, args.rounds)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "page.json").write_text(json.dumps(found, indent=2) + "\n")
    for what, figure in found.items():
        print(f"{what}: {figure:.2f}{'' if 'over' in what else ' s'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
