"""The page as a whole: its tabs, its theme, and how it is served. It needs no GPU and no network."""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import gradio as gr

from metastyle_hub.app import html, texts
from metastyle_hub.app.components import PRIVATE, WORK, Parts, check_given, friendly
from metastyle_hub.app.gallery import Gallery
from metastyle_hub.app.session import Session
from metastyle_hub.app.studio import Adapt, Studio
from metastyle_hub.app.tabs.adapt import adapt_tab
from metastyle_hub.app.tabs.compare import compare_tab, entries
from metastyle_hub.app.tabs.mix import mix_tab
from metastyle_hub.app.tabs.styles import styles_tab, table
from metastyle_hub.app.tabs.video import video_tab
from metastyle_hub.model import MetaStyle

__all__ = ["STYLE_FILE", "build", "end_process", "gpu_seconds", "launch_options", "main", "on_lent_gpu", "theme"]

STYLE_FILE = Path(__file__).with_name("style.css")
_ALTS = {
    "#content img": [texts.CONTENT_ALT],
    "#style img": [texts.STYLE_ALT],
    "#content-examples img, #style-examples img": [],
    "#result img": texts.RESULT_ALTS,
    "#compared img": texts.COMPARE_ALTS,
}
_MAX_QUEUE = 20  # waiting calls; the next is refused


def main(device: str = "auto", gallery: str | os.PathLike[str] | None = None, **launch: Any) -> None:
    """Serve the app until it is interrupted.

    Args:
        device: of adaptations.
        gallery: a folder of built-in styles; None for those of the checkout, or of the example images.
        **launch: further arguments of Gradio's `launch`, such as server_name, server_port and share.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    base = MetaStyle.from_pretrained()
    styles = Gallery.open(base, None if gallery is None else Path(gallery))
    studio = Studio(base, gallery=styles, worker=on_lent_gpu, device=device)
    page = build(studio)
    page.launch(prevent_thread_lock=True, **launch_options(), **launch)
    # while the first visitor loads the page; but where GPUs are lent, this process must not touch one
    if not os.getenv("SPACES_ZERO_GPU"):
        threading.Thread(target=studio.warm_up, daemon=True).start()
    page.block_thread()
    end_process()


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
        "max_file_size": "20mb",
        "run_history": False,
        "footer_links": ["api", "settings"],
        "state_session_capacity": 64,
        "ssr_mode": False,
        "mcp_server": importlib.util.find_spec("mcp") is not None,
    }


def on_lent_gpu(adapt: Adapt) -> Adapt:
    """Run adaptations on a GPU that the Space lends for their duration (ZeroGPU); elsewhere, change nothing."""
    try:
        import spaces
    except ImportError:
        return adapt
    lent: Adapt = spaces.GPU(duration=gpu_seconds)(adapt)
    return lent


def gpu_seconds(style_image: Any, content: Any, steps: int, trainable: str) -> int:
    """Return the seconds for which an adaptation needs a GPU."""
    return 15 + steps // 5


def build(studio: Studio, forget_after: float = 600) -> gr.Blocks:
    """Return the page of a studio; launch it with `launch_options`.

    Args:
        studio: does the work.
        forget_after: seconds that a session outlives its page; a phone that sleeps for a minute keeps its styles.
    """
    with gr.Blocks(title=texts.TITLE, analytics_enabled=False, delete_cache=(900, 3600)) as page:
        session = gr.State(None, time_to_live=3600)
        with gr.Row(elem_id="top"):
            gr.Markdown(f"# {texts.TITLE}\n\n{texts.INTRO}", elem_id="intro")
            if os.getenv("OAUTH_CLIENT_ID"):
                gr.LoginButton(size="sm", scale=0, min_width=200, elem_id="login")
        with gr.Tabs(elem_id="tabs"):
            with gr.Tab(texts.TAB_ADAPT, elem_id="tab-adapt"):
                adapt = adapt_tab(studio, session)
            with gr.Tab(texts.TAB_COMPARE, elem_id="tab-compare") as tab:
                compare = compare_tab(studio, session, adapt, tab)
            with gr.Tab(texts.TAB_MIX, elem_id="tab-mix") as tab:
                mix = mix_tab(studio, session, adapt, tab)
            with gr.Tab(texts.TAB_VIDEO, elem_id="tab-video"):
                video = video_tab(studio, session)
            with gr.Tab(texts.TAB_STYLES, elem_id="tab-styles"):
                styles = styles_tab(studio, session, adapt)
        gr.Markdown(texts.FOOT, elem_id="foot")
        _update_lists(studio, session, compare, mix, video, styles)
        _add_stylize_endpoint(studio, adapt)

        def leave(request: gr.Request) -> None:
            _forget(page, str(request.session_hash), forget_after)

        page.unload(leave)
        page.load(None, None, None, js=html.add_alts(_ALTS), **PRIVATE)
    page.queue(max_size=_MAX_QUEUE, default_concurrency_limit=2)
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


def _update_lists(
    studio: Studio, state: gr.State, compare: Parts, mix: Parts, video: Parts, styles: Parts
) -> None:  # fmt: skip
    """Update all lists of styles when the session's styles have changed; a choice that still exists stays."""
    lists = [compare.left, compare.right, styles.pick, video.style, mix.first, mix.second, *mix.corners]

    def update(session: Any, left: str, right: str, pick: str | None, in_video: str | None, *mixed: str | None) -> Any:
        session = session or Session()
        all_entries, names, own = entries(studio, session), studio.names(session), list(session.styles)
        latest = [*reversed(own), *studio.gallery]

        def kept(chosen: Sequence[str | None]) -> list[str | None]:
            """Return the choices, or the latest styles if a choice is gone or there are more styles than choices."""
            if set(chosen) <= set(names) and len(set(chosen)) >= min(len(chosen), len(names)):
                return list(chosen)
            return [latest[i % len(latest)] if latest else None for i in range(len(chosen))]

        # the content image beside itself is of no use once there is a style
        right = right if right in all_entries and right != texts.CONTENT else (latest or all_entries)[0]
        updates = [
            gr.Dropdown(choices=all_entries, value=left if left in all_entries else texts.CONTENT),
            gr.Dropdown(choices=all_entries, value=right),
            gr.Dropdown(choices=own, value=pick if pick in own else (own or [None])[-1]),
            gr.Dropdown(choices=names, value=in_video if in_video in own else (latest or [None])[0]),
        ]
        updates += [gr.Dropdown(choices=names, value=name) for name in kept(mixed[:2]) + kept(mixed[2:])]
        return *updates, gr.Row(visible=len(names) < 2), table(session)

    outputs = [*lists, mix.empty, styles.table]
    for event in (*compare.changed, *mix.changed, *styles.changed):
        updated = event.then(update, [state, *lists], outputs, **PRIVATE)
        if event is mix.adapted:
            function, inputs, shown = mix.refresh
            updated.then(function, inputs, shown, **PRIVATE)


def _add_stylize_endpoint(studio: Studio, adapt: Parts) -> None:
    """Add an endpoint without a session, for programs and agents: content and style image in, stylized image out."""
    button = gr.Button(visible=False)
    result = gr.Image(visible=False, format="jpeg")

    @friendly
    def stylize(
        content_image: Any, style_image: Any, steps: float, trainable: str, strength: float, preserve_color: bool
    ) -> Iterator[Any]:
        """Adapt to the style of an image and stylize another. Streams previews; the last image is the result."""
        check_given(content_image, style_image, both=True)
        session = Session()
        job = studio.start(content_image, style_image, steps, trainable, session)
        for event in studio.adapt(job, style_image, session):
            yield event.preview if event.preview is not None else gr.skip()
        yield studio.at_step(job.steps, strength, preserve_color, session)[2]

    inputs = [adapt.content, adapt.style, adapt.steps, adapt.trainable, adapt.strength, adapt.preserve_color]
    button.click(stylize, inputs, result, api_name="stylize", **WORK)


def theme() -> gr.themes.Base:
    """Return the theme: paper, ink and one warm color, in the fonts of the system, so that no request is made."""
    plain = {
        "body_background_fill": "*neutral_50",
        "block_background_fill": "white",
        "block_border_width": "1px",
        "block_border_color": "*neutral_200",
        "block_shadow": "none",
        "body_text_color_subdued": "*neutral_600",
        "block_info_text_color": "*neutral_600",
        "input_border_width": "1px",
        "input_border_color": "*neutral_300",
        "checkbox_border_color": "*neutral_400",
        "block_title_background_fill": "none",
        "block_title_padding": "0",
        "block_title_text_color": "*body_text_color",
        "block_title_text_weight": "600",
        "block_label_background_fill": "*background_fill_primary",
        "block_label_text_color": "*body_text_color_subdued",
        "block_label_text_weight": "500",
        "block_label_text_size": "*text_xs",
        "block_label_border_width": "0px",
    }
    dark = {f"{key}_dark": value for key, value in plain.items() if key.endswith(("fill", "color", "subdued"))} | {
        "body_background_fill_dark": "*neutral_950",
        "block_background_fill_dark": "*neutral_900",
        "block_border_color_dark": "*neutral_800",
        "body_text_color_subdued_dark": "*neutral_400",
        "block_info_text_color_dark": "*neutral_400",
        "input_border_color_dark": "*neutral_700",
        "checkbox_border_color_dark": "*neutral_500",
    }
    return gr.themes.Soft(
        primary_hue="orange",
        secondary_hue="orange",
        neutral_hue="stone",
        font=["ui-sans-serif", "system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    ).set(**plain, **dark)
