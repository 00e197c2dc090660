"""The lists of styles in all tabs, which follow the styles of the session; and the styles that a browser keeps."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import gradio as gr

from metastyle_hub.app import texts
from metastyle_hub.app.browser import KEEP, RESTORE, packed, restore
from metastyle_hub.app.components import PRIVATE, Parts, Updates, done, fetching, friendly
from metastyle_hub.app.studio import Studio
from metastyle_hub.app.tabs.compare import entries
from metastyle_hub.app.tabs.styles import table
from metastyle_hub.app.tabs.stylize import tiles

__all__ = ["connect_browser", "connect_lists"]


_USE = """(name) => { document.getElementById('tab-stylize-button').click(); return [name]; }"""


def connect_lists(
    studio: Studio, revision: gr.State, shared: Parts, compare: Parts, mix: Parts, video: Parts, styles: Parts
) -> None:
    """Update all lists of styles when the session's styles have changed; a choice that still exists stays."""
    lists = [compare.left, compare.right, styles.pick, video.style, mix.first, mix.second, *mix.corners]

    def update(
        content: Any, current: str | None, session: Any, left: str, right: str, pick: str | None, in_video: str | None,
        *mixed: str | None,
    ) -> dict[Any, Any]:  # fmt: skip
        compared, names, own = entries(studio, session, content), studio.names(session), list(session.styles)
        latest = [*reversed(own), *studio.gallery]

        def kept(chosen: Sequence[str | None]) -> list[str | None]:
            """Return the choices, or the latest styles if a choice is gone or there are more styles than choices."""
            if set(chosen) <= set(names) and len(set(chosen)) >= min(len(chosen), len(names)):
                return list(chosen)
            return [latest[i % len(latest)] if latest else None for i in range(len(chosen))]

        # the latest style beside what was shown, never an image beside itself
        right = latest[0] if latest and (own or right not in compared or right == texts.CONTENT) else right
        left = left if left in compared and left != right else texts.CONTENT
        mixes = [gr.Dropdown(choices=names, value=name) for name in kept(mixed[:2]) + kept(mixed[2:])]
        return {
            compare.left: gr.Dropdown(choices=compared, value=left),
            compare.right: gr.Dropdown(choices=compared, value=right),
            styles.pick: gr.Dropdown(choices=own, value=pick if pick in own else (own or [None])[-1]),
            video.style: gr.Dropdown(choices=names, value=in_video if in_video in own else (latest or [None])[0]),
            **dict(zip([mix.first, mix.second, *mix.corners], mixes, strict=True)),
            mix.empty: gr.Row(visible=len(names) < 2),
            styles.table: table(session),
            shared.styles: tiles(studio, session, current),
        }

    used = styles.use.click(lambda name: name, styles.pick, shared.current, js=_USE, **PRIVATE)
    used.then(shared.show, shared.inputs, shared.shown, **PRIVATE)
    inputs = [shared.content, shared.current, shared.state, *lists]
    revision.change(update, inputs, [*lists, mix.empty, styles.table, shared.styles], **PRIVATE)


def connect_browser(studio: Studio, page: gr.Blocks, revision: gr.State, shared: Parts) -> None:
    """Let the browser keep the styles; restore them when the page is opened, and open the style of its address."""
    kept = gr.File(visible="hidden", interactive=False, file_count="multiple")
    restored = gr.File(visible="hidden", file_count="multiple")
    named = gr.Textbox(visible="hidden")

    @friendly(shared.status)
    def opened(files: list[str] | None, name: str, content: Any, current: Any, *controls: Any) -> Updates:
        *look, session = controls
        name = (name or "").strip()
        if files and (count := restore(studio, files, session)):
            text = texts.RESTORED.format(count=count)
            yield {revision: time.monotonic(), **done(shared.status, text)}
        if name:
            yield from fetching(studio, [name], session, shared.status)
            studio.style(name, session)
            yield {shared.current: name, revision: time.monotonic()}
            yield from shared.show(content, name, *look, session)

    page.load(
        opened, [restored, named, *shared.inputs], [revision, shared.current, *shared.shown], js=RESTORE, **PRIVATE
    )
    revision.change(lambda session: packed(studio, session), shared.state, kept, **PRIVATE).then(
        None, kept, None, js=KEEP, **PRIVATE
    )
