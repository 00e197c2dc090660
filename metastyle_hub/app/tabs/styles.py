"""The last tab: the styles of this visit, and those on the Hub."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from metastyle_hub.app import html
import gradio as gr
from metastyle_hub.app import texts
from metastyle_hub.app.studio import Studio
from metastyle_hub.app.components import Parts, friendly, needed, style_list
from metastyle_hub.app.session import Session


def styles_tab(studio: Studio, visit: gr.State, adapt: Parts) -> Parts:
    gr.Markdown(texts.STYLES_INTRO)
    table = gr.HTML(html.table([]), elem_id="table")
    status = gr.Markdown(elem_id="styles-status")
    with gr.Row(elem_classes="columns"):
        with gr.Column(min_width=300):
            pick = style_list(texts.PICK, "pick", [], None)
            with gr.Row(elem_classes="pair"):
                name = gr.Textbox(label=texts.NEW_NAME, max_length=60, elem_id="new-name", min_width=140)
                rename = gr.Button(texts.RENAME, scale=0, elem_id="rename", min_width=110)
            with gr.Row():
                paint = gr.Button(texts.PAINT, elem_id="paint", min_width=140)
                download = gr.Button(texts.DOWNLOAD, elem_id="download", min_width=140)
            file = gr.File(label=texts.FILE, visible=False, interactive=False, elem_id="style-file")
        with gr.Column(min_width=300):
            upload = gr.UploadButton(texts.UPLOAD, file_types=[".zip"], elem_id="upload")
            repo = gr.Textbox(label=texts.HUB_REPO, placeholder=texts.HUB_PLACEHOLDER, elem_id="repo", min_width=140)
            add = gr.Button(texts.HUB_ADD, elem_id="add", min_width=80)
    if os.getenv("OAUTH_CLIENT_ID"):
        with gr.Accordion(texts.PUSH_TITLE, open=True, elem_id="push-group"):
            gr.Markdown(texts.PUSH_INTRO)
            with gr.Row():
                target = gr.Textbox(label=texts.PUSH_NAME, max_length=90, elem_id="push-name")
                private = gr.Checkbox(label=texts.PUSH_PRIVATE, elem_id="push-private")
                preview = gr.Checkbox(label=texts.PUSH_PREVIEW, elem_id="push-preview")
            push = gr.Button(texts.PUSH_GO, variant="primary", elem_id="push")
            pushed = gr.Markdown(elem_id="pushed")

        @friendly
        def share(
            name: str,
            repo: str,
            private: bool,
            preview: bool,
            photo: Any,
            visit: Any,
            profile: gr.OAuthProfile | None,
            token: gr.OAuthToken | None,
        ) -> str:
            """Share a style of the session as a repo of the visitor who is signed in."""
            if profile is None or token is None:
                raise gr.Error(texts.PUSH_LOGIN, print_exception=False)
            shown = photo if preview else None
            place, url = studio.push(name, repo, private, shown, profile.username, token.token, visit or Session())
            return texts.PUSHED.format(repo=place, url=url)

        push.click(
            share, [pick, target, private, preview, adapt.photo, visit], pushed, api_name="push", concurrency_limit=2
        )
    with gr.Accordion(texts.HUB_TITLE, open=False, elem_id="hub"):
        gr.Markdown(texts.HUB_INTRO)
        with gr.Row(elem_classes="pair"):
            search = gr.Textbox(label=texts.HUB_SEARCH, elem_id="search", min_width=140)
            find = gr.Button(texts.HUB_GO, scale=0, elem_id="find", min_width=90)
        cards = gr.HTML(js_on_load=html.ADD, elem_id="cards")

    @friendly
    def rename_style(name: str, new: str, visit: Any) -> tuple[str, Session, Any]:
        """Give a style of the session another name."""
        visit = visit or Session()
        renamed = studio.rename(name, new, visit)
        return texts.RENAMED.format(name=renamed), visit, gr.Dropdown(choices=list(visit.styles), value=renamed)

    @friendly
    def download_style(name: str, visit: Any) -> Any:
        """A style of the session as a .zip with config.json and model.safetensors."""
        return gr.File(str(studio.pack(studio.style(name, visit or Session()), name)), visible=True)

    @friendly
    def paint_photo(name: str, photo: Any, visit: Any) -> Any:
        """A photo in a style of the session, or in user/repo, as large as it came, as a file."""
        needed(photo)
        style = studio.style(name, visit or Session())
        return gr.File(str(studio.paint(photo, style, name)), visible=True)

    @friendly
    def upload_style(file: str, visit: Any) -> tuple[str, Session]:
        """Add a style from a .zip such as the download gives."""
        visit = visit or Session()
        if not file:
            raise gr.Error(texts.CHOOSE, print_exception=False)
        return texts.ADDED.format(name=studio.upload(Path(file), visit)), visit

    @friendly
    def add_style(repo: str, visit: Any) -> tuple[str, Session]:
        """Add a style from the Hub, named user/repo or user/repo@revision."""
        visit = visit or Session()
        studio.style(repo.strip(), visit)
        return texts.ADDED.format(name=repo.strip()), visit

    @friendly
    def hub_styles(search: str) -> str:
        """Styles of this base on the Hub, as HTML."""
        return studio.on_the_hub(search)

    renamed = rename.click(rename_style, [pick, name, visit], [status, visit, pick], api_name="rename")
    download.click(download_style, [pick, visit], file, api_name="download")
    paint.click(paint_photo, [pick, adapt.photo, visit], file, api_name="paint", concurrency_limit=1)
    uploaded = upload.upload(upload_style, [upload, visit], [status, visit], api_name="upload")
    added = gr.on([add.click, repo.submit], add_style, [repo, visit], [status, visit], api_name="add")
    gr.on([find.click, search.submit], hub_styles, search, cards, api_name="hub_styles")
    return Parts(pick=pick, table=table, changed=[renamed, uploaded, added])
