"""What the tests of the app share: example files, a served page, and an adaptation in a session or over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import gradio as gr
import tiny
from gradio_client import Client, handle_file

from metastyle_hub.adaptation import AdaptationConfig
from metastyle_hub.app.app import launch_options
from metastyle_hub.app.files import ImageUpload
from metastyle_hub.app.session import Session
from metastyle_hub.app.studio import Adapt, Estimate, Studio
from metastyle_hub.data.examples import example
from metastyle_hub.model import MetaStyle

ROOT = Path(__file__).resolve().parents[1]
CONTENT, STYLE, OTHER_STYLE = (example(name) for name in ("cat", "stained_glass", "night_swirls"))
FRAMES = [tiny.content(seed=i) for i in range(4)]


class Watch:
    """A worker, as a lent GPU would be one: it notes every step, and that the generator was closed."""

    def __init__(self) -> None:
        self.jobs: list[tuple[list[int], threading.Event]] = []  # the steps of each, and whether it was closed

    def __call__(self, adapt: Adapt, estimate: Estimate) -> Adapt:
        def watched(*arguments):
            steps, closed = [], threading.Event()
            self.jobs.append((steps, closed))
            try:
                with closing(adapt(*arguments)) as events:
                    for event in events:
                        steps.append(event.index)
                        yield event
            finally:
                closed.set()

        return watched


def tiny_studio(**options: Any) -> Studio:
    """A studio whose network and images are so small that an adaptation takes a second."""
    base = MetaStyle.from_parameters(tiny.parameters(), tiny.NETWORK)
    config = AdaptationConfig(crop_size=64, style_size=64, batch_size=1, precision="float32")
    return Studio(base, config, device="cpu", **options)


@contextmanager
def served(page: gr.Blocks) -> Iterator[str]:
    """The address of a page, which is served until the end of the block."""
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, **launch_options())
    try:
        yield url
    finally:
        page.close()


def upload(path: Path, name: str | None = None) -> ImageUpload:
    return ImageUpload(path, name or path.stem)


def adapted(studio: Studio, steps: int = 3, trainable: str = "norm", style: Path = STYLE, session=None) -> Session:
    """A session with an adapted style."""
    session = session or Session()
    job = studio.start(upload(CONTENT), upload(style), steps, trainable, session)
    for _ in studio.adapt(job, upload(style), session):
        pass
    return session


def images(style: Path = STYLE, content: Path = CONTENT) -> dict[str, Any]:
    """The images of an adaptation as arguments of a client."""
    return {"content_image": handle_file(content), "style_image": handle_file(style)}


def adapt(client: Client, steps: int = 3, trainable: str = "norm", style: Path = STYLE) -> Any:
    """The .zip of an adapted style."""
    return client.predict(style_image=handle_file(style), steps=steps, trainable=trainable, api_name="/adapt")


@contextmanager
def opened(browser, url="about:blank", width=1280, **settings):
    """A page in its own window, closed at the end of the block.

    Without an address it stays blank, for a test that must listen before the first request.
    """
    context = browser.new_context(viewport={"width": width, "height": 900}, **settings)
    try:
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.goto(url)
        yield page
    finally:
        context.close()
