"""The page as a whole: its tabs, its theme, and how it is served. It needs no GPU and no network."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import math
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import gradio as gr

from metastyle_hub.app import html, texts
from metastyle_hub.app.components import PRIVATE
from metastyle_hub.app.endpoints import add_endpoints, hide_page_events
from metastyle_hub.app.files import KEEP_SECONDS, ServerFolder
from metastyle_hub.app.gallery import Gallery
from metastyle_hub.app.lists import connect_browser, connect_lists
from metastyle_hub.app.session import Session
from metastyle_hub.app.studio import Adapt, Estimate, Studio
from metastyle_hub.app.tabs.compare import compare_tab
from metastyle_hub.app.tabs.mix import mix_tab
from metastyle_hub.app.tabs.styles import styles_tab
from metastyle_hub.app.tabs.stylize import stylize_tab
from metastyle_hub.app.tabs.video import video_tab
from metastyle_hub.app.theme import theme
from metastyle_hub.model import MetaStyle

__all__ = ["STYLE_FILE", "build", "end_process", "gpu_seconds", "launch_options", "main", "on_lent_gpu"]

STYLE_FILE, _SCRIPT_FILE = (Path(__file__).with_name(name) for name in ("style.css", "page.js"))
_ALTS = {
    "#content img": [texts.CONTENT_ALT],
    "#style img": [texts.STYLE_ALT],
    "#result img": texts.RESULT_ALTS,
    "#compared img": texts.COMPARE_ALTS,
}

_FIRST_GPU_SECONDS, _MOST_GPU_SECONDS = 60, 120  # of a lent GPU


def main(device: str = "auto", gallery: str | os.PathLike[str] | None = None, **launch: Any) -> None:
    """Serve the app until it is interrupted.

    Args:
        device: of adaptations.
        gallery: a folder of built-in styles; None for those of the checkout, or of the example images.
        **launch: further arguments of Gradio's `launch`, such as server_name, server_port and share.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    with contextlib.suppress(ValueError):  # in another thread than the main one
        signal.signal(signal.SIGTERM, _interrupt)  # images of visitors must not stay
    with ServerFolder() as folder:
        gr.mcp.DEFAULT_TEMP_DIR = str(folder)  # Gradio reads the usual one when it is imported
        base = MetaStyle.from_pretrained()
        styles = Gallery.open(base, None if gallery is None else Path(gallery))
        studio = Studio(base, gallery=styles, worker=on_lent_gpu, device=device)
        page = build(studio)
        page.launch(prevent_thread_lock=True, **launch_options(), **launch)
        # while the first visitor loads the page; but where GPUs are lent, this process must not touch one
        if not os.getenv("SPACES_ZERO_GPU"):
            threading.Thread(target=studio.warm_up, daemon=True).start()
        threading.Thread(target=_delete_downloads, args=[studio], daemon=True).start()
        page.block_thread()
    end_process()


def _delete_downloads(studio: Studio) -> NoReturn:
    """Delete old files, also on a day without a visitor."""
    while True:
        time.sleep(KEEP_SECONDS / 2)
        studio.downloads.delete_old()


def _interrupt(*_: object) -> NoReturn:
    """End the server as Ctrl-C does."""
    raise KeyboardInterrupt


def end_process() -> NoReturn:
    """End the process at once.

    Adaptations run in daemon threads; one that is inside torch when the interpreter exits would abort the process.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def launch_options() -> dict[str, Any]:
    """Return how the page is served: uploads and sessions are limited, nobody sees a traceback or a run history."""
    return {
        "theme": theme(),
        "css_paths": STYLE_FILE,
        "max_file_size": "100mb",  # a photo of 200 megapixels
        "run_history": False,
        "footer_links": ["api", "settings"],
        "state_session_capacity": 64,
        "ssr_mode": False,
        "mcp_server": importlib.util.find_spec("mcp") is not None,
    }


def on_lent_gpu(adapt: Adapt, estimate: Estimate) -> Adapt:
    """Run adaptations on a GPU that the Space lends for their duration (ZeroGPU); elsewhere, change nothing."""
    try:
        import spaces
    except ImportError:
        return adapt
    lent: Adapt = spaces.GPU(duration=lambda _, content, steps, kind: gpu_seconds(estimate(steps, kind)))(adapt)
    return lent


def gpu_seconds(measured: float | None) -> int:
    """Return the seconds to ask a GPU for: a visitor has few minutes a day, but what takes longer is cut off.

    Args:
        measured: what earlier adaptations of this kind took; None before the first one.
    """
    return _FIRST_GPU_SECONDS if measured is None else min(_MOST_GPU_SECONDS, math.ceil(5 + 1.5 * measured))


class _Page(gr.Blocks):
    """A page whose link previews have a description and an image; Gradio's template asks for them."""

    def get_config_file(self, *args: Any, **kwargs: Any) -> Any:
        """Add them to what the template gets."""
        shown = {"simple_description": texts.DESCRIPTION, "thumbnail": texts.PREVIEW_URL}
        return {**super().get_config_file(*args, **kwargs), **shown}


def build(studio: Studio, forget_after: float = 600) -> gr.Blocks:
    """Return the page of a studio; launch it with `launch_options`.

    Args:
        studio: does the work.
        forget_after: seconds that a session outlives its page; a phone that sleeps for a minute keeps its styles.
    """
    with _Page(title=texts.TITLE, analytics_enabled=False, delete_cache=(900, 3600)) as page:
        add_endpoints(studio)
        session = gr.State(Session(), time_to_live=3600)  # each visitor gets a copy
        revision = gr.State(0.0)
        with gr.Row(elem_id="top"):
            gr.Markdown(f"# {texts.TITLE}\n\n{texts.INTRO}", elem_id="intro")
            if os.getenv("OAUTH_CLIENT_ID"):
                gr.LoginButton(size="sm", scale=0, min_width=200, elem_id="login")
        with gr.Tabs(elem_id="tabs"):
            with gr.Tab(texts.TAB_STYLIZE, elem_id="tab-stylize"):
                shared = stylize_tab(studio, session, revision)
            with gr.Tab(texts.TAB_COMPARE, elem_id="tab-compare") as tab:
                compare = compare_tab(studio, shared, tab)
            with gr.Tab(texts.TAB_MIX, elem_id="tab-mix") as tab:
                mix = mix_tab(studio, shared, revision, tab)
            with gr.Tab(texts.TAB_VIDEO, elem_id="tab-video"):
                video = video_tab(studio, session)
            with gr.Tab(texts.TAB_STYLES, elem_id="tab-styles"):
                styles = styles_tab(studio, shared, revision)
            if space := os.getenv("SPACE_ID"):  # scripts/publish.py pushes the page beside the Space
                with gr.Tab(texts.TAB_DEVICE, elem_id="tab-device"):
                    gr.Markdown(texts.DEVICE.format(space=space))
        gr.Markdown(texts.FOOT, elem_id="foot")
        connect_lists(studio, revision, shared, compare, mix, video, styles)
        connect_browser(studio, page, revision, shared)

        def leave(request: gr.Request) -> None:
            _forget(page, str(request.session_hash), forget_after)

        page.unload(leave)
        page.load(None, None, None, js=_SCRIPT_FILE.read_text(encoding="utf-8"), **PRIVATE)
        page.load(None, None, None, js=html.add_alts(_ALTS), **PRIVATE)
    hide_page_events(page)  # now that also those are there which Gradio adds at the end
    page.queue(default_concurrency_limit=4)  # long actions wait in `Studio.queue`
    return page


def _forget(page: gr.Blocks, session: str, after: float) -> None:
    """Delete a session some time after its page was closed; Gradio alone would keep it for an hour."""
    holder = page.state_holder
    left = holder.time_last_used.get(session)

    def delete() -> None:
        # unless the visitor came back
        if holder.time_last_used.get(session) == left:
            holder.session_data.pop(session, None)
            holder.time_last_used.pop(session, None)

    timer = threading.Timer(after, delete)
    timer.daemon = True
    timer.start()
