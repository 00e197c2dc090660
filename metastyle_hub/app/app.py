"""The Space: lays out the page and wires its tabs together. What it does lives in `actions`, what it says in `texts`.

    python space/app.py      # then open the address that it prints

It needs no GPU and no network.
"""

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

try:
    import spaces  # before anything that touches the GPU
except ImportError:
    spaces = None

from metastyle_hub.app import html
import gradio as gr
from metastyle_hub.app import texts
from metastyle_hub.app.studio import Learn, Studio
from metastyle_hub.app.tabs.adapt import adapt_tab
from metastyle_hub.app.components import PRIVATE, WORK, Parts, friendly, needed
from metastyle_hub.app.tabs.compare import compare_tab
from metastyle_hub.app.tabs.mix import mix_tab
from metastyle_hub.app.tabs.styles import styles_tab
from metastyle_hub.app.tabs.video import video_tab
from metastyle_hub.app.session import Session

HERE = Path(__file__).resolve().parent
ALTS = {
    "#photo img": [texts.PHOTO_ALT],
    "#style img": [texts.STYLE_ALT],
    "#photo-examples img, #style-examples img": [],
    "#result img": texts.RESULT_ALTS,
    "#compared img": texts.COMPARE_ALTS,
}
MOST_WAITING = 20  # visitors in the queue; the next is told that it is full


def gpu(function: Learn) -> Learn:
    """The function on a GPU lent for its duration where the Space has such; elsewhere itself."""
    if spaces is None:
        return function
    wrapped: Learn = spaces.GPU(duration=_gpu_seconds)(function)
    return wrapped


def _gpu_seconds(picture: Any, view: Any, steps: int, parameters: str) -> int:
    return 15 + steps // 5


def build(studio: Studio, forget_after: float = 600) -> gr.Blocks:
    """The whole page for a studio; launch it with `launch_options`.

    Args:
        forget_after: seconds that a visit outlives its page; a phone that sleeps for a minute keeps its styles.
    """
    with gr.Blocks(title=texts.TITLE, analytics_enabled=False, delete_cache=(900, 3600)) as page:
        visit = gr.State(None, time_to_live=3600)
        with gr.Row(elem_id="top"):
            gr.Markdown(f"# {texts.TITLE}\n\n{texts.INTRO}", elem_id="intro")
            if os.getenv("OAUTH_CLIENT_ID"):
                gr.LoginButton(size="sm", scale=0, min_width=200, elem_id="login")
        with gr.Tabs(elem_id="tabs"):
            with gr.Tab(texts.TAB_ADAPT, elem_id="tab-adapt"):
                adapt = adapt_tab(studio, visit)
            with gr.Tab(texts.TAB_COMPARE, elem_id="tab-compare") as tab:
                compare = compare_tab(studio, visit, adapt, tab)
            with gr.Tab(texts.TAB_MIX, elem_id="tab-mix") as tab:
                mix = mix_tab(studio, visit, adapt, tab)
            with gr.Tab(texts.TAB_VIDEO, elem_id="tab-video"):
                video = video_tab(studio, visit)
            with gr.Tab(texts.TAB_STYLES, elem_id="tab-styles"):
                styles = styles_tab(studio, visit, adapt)
        gr.Markdown(texts.FOOT, elem_id="foot")
        _keep_lists_fresh(studio, visit, compare, mix, video, styles)
        _for_programs(studio, adapt)

        def leave(request: gr.Request) -> None:
            _forget(page, str(request.session_hash), forget_after)

        page.unload(leave)
        page.load(None, None, None, js=html.described(ALTS), **PRIVATE)
    page.queue(max_size=MOST_WAITING, default_concurrency_limit=2)
    return page


def _forget(page: gr.Blocks, session: str, after: float) -> None:
    """Drop all that a visit holds once its page has been closed for a while; Gradio alone would keep it for an hour."""
    holder = page.state_holder
    left = holder.time_last_used.get(session)

    def drop() -> None:
        # somebody who came back has used the page since
        if holder.time_last_used.get(session) == left:
            holder.session_data.pop(session, None)
            holder.time_last_used.pop(session, None)

    timer = threading.Timer(after, drop)
    timer.daemon = True
    timer.start()


def _keep_lists_fresh(studio: Studio, visit: gr.State, compare: Parts, mix: Parts, video: Parts, styles: Parts) -> None:
    """Whenever the visit's styles have changed, the lists offer them; a choice that still exists stays."""
    lists = [compare.left, compare.right, styles.pick, video.style, mix.first, mix.second, *mix.corners]

    def fresh(visit: Any, left: str, right: str, pick: str | None, filmed: str | None, *mixing: str | None) -> Any:
        visit = visit or Session()
        entries, names, own = studio.entries(visit), studio.names(visit), list(visit.styles)
        latest = [*reversed(own), *studio.gallery]

        def still(chosen: Sequence[str | None]) -> list[str | None]:
            """What was chosen, unless it is gone or there is more to choose from than that."""
            if set(chosen) <= set(names) and len(set(chosen)) >= min(len(chosen), len(names)):
                return list(chosen)
            return [latest[i % len(latest)] if latest else None for i in range(len(chosen))]

        # the photo beside itself is nothing to look at once there is a style
        right = right if right in entries and right != texts.THE_PHOTO else (latest or entries)[0]
        updates = [
            gr.Dropdown(choices=entries, value=left if left in entries else texts.THE_PHOTO),
            gr.Dropdown(choices=entries, value=right),
            gr.Dropdown(choices=own, value=pick if pick in own else (own or [None])[-1]),
            gr.Dropdown(choices=names, value=filmed if filmed in own else (latest or [None])[0]),
        ]
        updates += [gr.Dropdown(choices=names, value=name) for name in still(mixing[:2]) + still(mixing[2:])]
        return *updates, gr.Row(visible=len(names) < 2), html.table(studio.rows(visit))

    outputs = [*lists, mix.empty, styles.table]
    for event in (*compare.changed, *mix.changed, *styles.changed):
        done = event.then(fresh, [visit, *lists], outputs, **PRIVATE)
        if event is mix.learned:
            function, inputs, shown = mix.mix
            done.then(function, inputs, shown, **PRIVATE)


def _for_programs(studio: Studio, adapt: Parts) -> None:
    """One endpoint without a session, for programs and agents: photo and style in, picture out."""
    button = gr.Button(visible=False)
    result = gr.Image(visible=False, format="jpeg")

    @friendly
    def stylize(
        photo: Any, style: Any, steps: float, parameters: str, strength: float, preserve_color: bool
    ) -> Iterator[Any]:
        """Learn the style of one picture and paint a photo in it. Streams previews; the last picture is the result."""
        needed(photo, style, both=True)
        visit = Session()
        run = studio.start(photo, style, steps, visit)
        for moment in studio.adapt(run, style, parameters, visit):
            yield moment.picture if moment.picture is not None else gr.skip()
        yield studio.at_step(run.steps, strength, preserve_color, visit)[2]

    inputs = [adapt.photo, adapt.style, adapt.steps, adapt.moves, adapt.strength, adapt.keep]
    button.click(stylize, inputs, result, api_name="stylize", **WORK)


def theme() -> gr.themes.Base:
    """Paper, ink and one warm colour, in the system's fonts: no request leaves the page."""
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


def launch_options() -> dict[str, Any]:
    """How the page is served: bounded uploads and sessions, no run history, no traceback to anybody."""
    return {
        "theme": theme(),
        "css_paths": HERE / "style.css",
        "max_file_size": "20mb",
        "run_history": False,
        "footer_links": ["api", "settings"],
        "state_session_capacity": 64,
        "ssr_mode": False,
        "mcp_server": importlib.util.find_spec("mcp") is not None,
    }


def main(device: str = "auto", **launch: Any) -> None:
    """Serve the page until it is interrupted.

    Args:
        launch: further arguments of Gradio's `launch`, such as server_name, server_port and share.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    studio = Studio(gallery=HERE / "styles", worker=gpu, device=device)
    page = build(studio)
    page.launch(prevent_thread_lock=True, **launch_options(), **launch)
    # the first visitor shall not wait for what can be made ready while the page is loading
    if not os.getenv("SPACES_ZERO_GPU"):  # where the GPU is lent, this process must not touch it
        threading.Thread(target=studio.warm_up, daemon=True).start()
    page.block_thread()
    leave()


def leave() -> NoReturn:
    """End the process at once, as no work may outlive it.

    The threads that learn are daemons; one that is amid torch's C++ when the interpreter goes away aborts the process.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
