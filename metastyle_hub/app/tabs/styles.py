"""The last tab: the styles of the session, and those on the Hub."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import gradio as gr

from metastyle_hub.app import html, texts
from metastyle_hub.app.components import Parts, check_given, friendly, style_list
from metastyle_hub.app.session import Session
from metastyle_hub.app.studio import Studio
from metastyle_hub.hub.search import list_styles

__all__ = ["hub_cards", "styles_tab", "table"]

_HUB_LIMIT = 24  # styles of a search


def table(session: Session) -> str:
    """Return the styles of a session as a table: name, parameters, steps."""
    rows = []
    for name, style in session.styles.items():
        steps = texts.INTERPOLATED if style.config.steps is None else style.config.steps
        rows.append((name, texts.KIND[style.config.trainable], steps))
    return html.table(rows)


def hub_cards(studio: Studio, search: str) -> str:
    """Return the styles of the studio's base on the Hub, as HTML."""
    return html.hub_cards(list_styles(search.strip() or None, base=studio.base.fingerprint, limit=_HUB_LIMIT))


def styles_tab(studio: Studio, state: gr.State, adapt: Parts) -> Parts:
    """Lay out the tab and connect its events."""
    gr.Markdown(texts.STYLES_INTRO)
    styles = gr.HTML(table(Session()), elem_id="table")
    status = gr.Markdown(elem_id="styles-status")
    with gr.Row(elem_classes="columns"):
        with gr.Column(min_width=300):
            pick = style_list(texts.PICK, "pick", [], None)
            with gr.Row(elem_classes="pair"):
                name_box = gr.Textbox(label=texts.NEW_NAME, max_length=60, elem_id="new-name", min_width=140)
                rename_button = gr.Button(texts.RENAME, scale=0, elem_id="rename", min_width=110)
            with gr.Row():
                stylize_button = gr.Button(texts.STYLIZE_FILE, elem_id="stylize-file", min_width=140)
                download_button = gr.Button(texts.DOWNLOAD, elem_id="download", min_width=140)
            saved = gr.File(label=texts.FILE, visible=False, interactive=False, elem_id="style-file")
        with gr.Column(min_width=300):
            upload_button = gr.UploadButton(texts.UPLOAD, file_types=[".zip"], elem_id="upload")
            repo_box = gr.Textbox(
                label=texts.HUB_REPO, placeholder=texts.HUB_PLACEHOLDER, elem_id="repo", min_width=140
            )
            add_button = gr.Button(texts.HUB_ADD, elem_id="add", min_width=80)
    if os.getenv("OAUTH_CLIENT_ID"):
        _share(studio, state, adapt, pick)
    with gr.Accordion(texts.HUB_TITLE, open=False, elem_id="hub"):
        gr.Markdown(texts.HUB_INTRO)
        with gr.Row(elem_classes="pair"):
            words = gr.Textbox(label=texts.HUB_SEARCH, elem_id="search", min_width=140)
            find = gr.Button(texts.HUB_GO, scale=0, elem_id="find", min_width=90)
        cards = gr.HTML(js_on_load=html.ADD_ON_CLICK, elem_id="cards")

    @friendly
    def rename(name: str, new_name: str, session: Any) -> tuple[str, Session, Any]:
        """Give a style of the session another name."""
        session = session or Session()
        new = studio.rename(name, new_name, session)
        return texts.RENAMED.format(name=new), session, gr.Dropdown(choices=list(session.styles), value=new)

    @friendly
    def download(name: str, session: Any) -> Any:
        """Download a style as a .zip with config.json and model.safetensors."""
        style = studio.style(name, session or Session())
        return gr.File(str(studio.downloads.save_style(style, name)), visible=True)

    @friendly
    def stylize_file(name: str, content_image: Any, session: Any) -> Any:
        """Stylize an image at its full size with a style of the session, or with user/repo, as a file."""
        check_given(content_image)
        style = studio.style(name, session or Session())
        return gr.File(str(studio.stylize_file(content_image, style, name)), visible=True)

    @friendly
    def upload(file: str, session: Any) -> tuple[str, Session]:
        """Add a style from a .zip of the download."""
        session = session or Session()
        if not file:
            raise gr.Error(texts.CHOOSE, print_exception=False)
        return texts.ADDED.format(name=studio.upload(Path(file), session)), session

    @friendly
    def add(repo: str, session: Any) -> tuple[str, Session]:
        """Add a style from the Hub, named user/repo or user/repo@revision."""
        session = session or Session()
        studio.style(repo.strip(), session)
        return texts.ADDED.format(name=repo.strip()), session

    @friendly
    def hub_styles(search: str) -> str:
        """List styles of this base on the Hub, as HTML."""
        return hub_cards(studio, search)

    renamed = rename_button.click(rename, [pick, name_box, state], [status, state, pick], api_name="rename")
    download_button.click(download, [pick, state], saved, api_name="download")
    stylize_button.click(
        stylize_file, [pick, adapt.content, state], saved, api_name="stylize_file", concurrency_limit=1
    )  # fmt: skip
    uploaded = upload_button.upload(upload, [upload_button, state], [status, state], api_name="upload")
    added = gr.on([add_button.click, repo_box.submit], add, [repo_box, state], [status, state], api_name="add")
    gr.on([find.click, words.submit], hub_styles, words, cards, api_name="hub_styles")
    return Parts(pick=pick, table=styles, changed=[renamed, uploaded, added])


def _share(studio: Studio, state: gr.State, adapt: Parts, pick: gr.Dropdown) -> None:
    """Lay out the controls that push a style to the Hub; they need OAuth, which only a Space has."""
    with gr.Accordion(texts.PUSH_TITLE, open=True, elem_id="push-group"):
        gr.Markdown(texts.PUSH_INTRO)
        with gr.Row():
            repo_box = gr.Textbox(label=texts.PUSH_NAME, max_length=90, elem_id="push-name")
            private_box = gr.Checkbox(label=texts.PUSH_PRIVATE, elem_id="push-private")
            preview_box = gr.Checkbox(label=texts.PUSH_PREVIEW, elem_id="push-preview")
        button = gr.Button(texts.PUSH_GO, variant="primary", elem_id="push")
        pushed = gr.Markdown(elem_id="pushed")

    @friendly
    def push(
        name: str,
        repo: str,
        private: bool,
        preview: bool,
        content_image: Any,
        session: Any,
        profile: gr.OAuthProfile | None,
        token: gr.OAuthToken | None,
    ) -> str:
        """Share a style of the session as a repo of the visitor who is signed in."""
        if profile is None or token is None:
            raise gr.Error(texts.PUSH_LOGIN, print_exception=False)
        shown = content_image if preview else None
        session = session or Session()
        repo_id, url = studio.push(name, repo, private, shown, profile.username, token.token, session)
        return texts.PUSHED.format(repo=repo_id, url=url)

    button.click(
        push,
        [pick, repo_box, private_box, preview_box, adapt.content, state],
        pushed,
        api_name="push",
        concurrency_limit=2,
    )
