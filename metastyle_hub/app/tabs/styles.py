"""The last tab: the styles of the session, and those on the Hub."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import gradio as gr

from metastyle_hub.app import html, texts
from metastyle_hub.app.components import (
    PRIVATE,
    Parts,
    Updates,
    busy,
    done,
    friendly,
    save_button,
    status_line,
    stop_button,
    style_list,
)
from metastyle_hub.app.session import Session
from metastyle_hub.app.studio import Studio
from metastyle_hub.errors import SessionError

__all__ = ["hub_cards", "styles_tab", "table"]


def table(session: Session) -> str:
    """Return the styles of a session as a table: name, parameters, steps."""
    rows = []
    for name, style in session.styles.items():
        steps = texts.INTERPOLATED if style.config.steps is None else style.config.steps
        rows.append((name, texts.KIND[style.config.trainable], steps))
    return html.table(rows)


def hub_cards(studio: Studio, search: str) -> str:
    """Return the styles of the studio's base on the Hub, as HTML."""
    return html.hub_cards(studio.hub_styles(search))


def styles_tab(studio: Studio, shared: Parts, revision: gr.State) -> Parts:
    """Lay out the tab and connect its events.

    Args:
        studio: does the work.
        shared: parts of the first tab.
        revision: changes when the styles of the session have changed.
    """
    state = shared.state
    gr.Markdown(texts.STYLES_INTRO)
    styles = gr.HTML(table(Session()), elem_id="table")
    status = status_line("styles-status")
    stop_button("styles-stop", state)
    with gr.Row(elem_classes="columns"):
        with gr.Column(min_width=300):
            pick = style_list(texts.PICK, "pick", [], None)
            with gr.Row():
                use_button = gr.Button(texts.USE, variant="primary", elem_id="use", size="md", min_width=140)
                saves = gr.Row(elem_id="saves-style")
                delete_button = gr.Button(texts.DELETE, elem_id="delete", size="md", min_width=100)
            with gr.Row(elem_classes="pair"):
                name_box = gr.Textbox(label=texts.NEW_NAME, max_length=60, elem_id="new-name", min_width=140)
                rename_button = gr.Button(texts.RENAME, scale=0, elem_id="rename", min_width=110)
        with gr.Column(min_width=300):
            upload_button = gr.UploadButton(texts.UPLOAD, file_types=[".zip"], elem_id="upload")
            with gr.Row(elem_classes="pair"):
                repo_box = gr.Textbox(
                    label=texts.HUB_REPO, placeholder=texts.HUB_PLACEHOLDER, elem_id="repo", min_width=140
                )
                add_button = gr.Button(texts.HUB_ADD, scale=0, elem_id="add", min_width=90)
    if os.getenv("OAUTH_CLIENT_ID"):
        _share(studio, shared, pick, status)
    with gr.Accordion(texts.HUB_TITLE, open=False, elem_id="hub"):
        gr.Markdown(texts.HUB_INTRO)
        with gr.Row(elem_classes="pair"):
            words = gr.Textbox(label=texts.HUB_SEARCH, elem_id="search", min_width=140)
            find = gr.Button(texts.HUB_GO, scale=0, elem_id="find", min_width=90)
        cards = gr.HTML(js_on_load=html.ADD_ON_CLICK, elem_id="cards")

    def changed(session: Session, text: str, chosen: str | None = None) -> dict[Any, Any]:
        """Return the updates after a change of the styles."""
        choice = {pick: gr.Dropdown(choices=list(session.styles), value=chosen)} if chosen else {}
        return {**done(status, text), **choice, revision: time.monotonic()}

    @friendly(status)
    def rename(name: str, new_name: str, session: Any) -> dict[Any, Any]:
        new = studio.rename(name, new_name, session)
        return changed(session, texts.RENAMED.format(name=new), new)

    @friendly(status)
    def delete(name: str, session: Any) -> dict[Any, Any]:
        session.remove(name)
        return changed(session, texts.DELETED.format(name=name))

    def save(name: str, session: Any) -> Any:
        yield studio.downloads.save_style(studio.style(name, session), name)

    @friendly(status)
    def upload(file: str, session: Any) -> dict[Any, Any]:
        if not file:
            raise SessionError(texts.CHOOSE)
        name = studio.upload(Path(file), session)
        return changed(session, texts.ADDED.format(name=name), name)

    @friendly(status)
    def add(repo: str, session: Any) -> Updates:
        name = repo.strip()
        yield busy(status, texts.FETCHING.format(name=name), short=True)
        studio.style(name, session)
        yield changed(session, texts.ADDED.format(name=name), name if name in session.styles else None)

    @friendly(status)
    def hub_styles(search: str) -> Updates:
        yield busy(status, texts.SEARCHING, short=True)
        yield {cards: hub_cards(studio, search), **done(status, "")}

    outputs = [status, pick, revision]
    rename_button.click(rename, [pick, name_box, state], outputs, **PRIVATE)
    delete_button.click(delete, [pick, state], outputs, **PRIVATE)
    upload_button.upload(upload, [upload_button, state], outputs, **PRIVATE)
    gr.on([add_button.click, repo_box.submit], add, [repo_box, state], outputs, **PRIVATE)
    gr.on([find.click, words.submit], hub_styles, words, [cards, status], **PRIVATE)
    with saves:
        save_button(texts.DOWNLOAD, "download", save, [pick, state], status, min_width=140)
    return Parts(pick=pick, table=styles, use=use_button)


def _share(studio: Studio, shared: Parts, pick: gr.Dropdown, status: gr.HTML) -> None:
    """Lay out the controls that push a style to the Hub; they need OAuth, which only a Space has."""
    with gr.Accordion(texts.PUSH_TITLE, open=True, elem_id="push-group"):
        gr.Markdown(texts.PUSH_INTRO)
        with gr.Row():
            repo_box = gr.Textbox(label=texts.PUSH_NAME, max_length=90, elem_id="push-name")
            private_box = gr.Checkbox(label=texts.PUSH_PRIVATE, elem_id="push-private")
            preview_box = gr.Checkbox(label=texts.PUSH_PREVIEW, elem_id="push-preview")
        button = gr.Button(texts.PUSH_GO, variant="primary", elem_id="push")
        pushed = gr.Markdown(elem_id="pushed")

    @friendly(status)
    def push(
        name: str,
        repo: str,
        private: bool,
        preview: bool,
        content_image: Any,
        session: Any,
        profile: gr.OAuthProfile | None,
        token: gr.OAuthToken | None,
    ) -> Updates:
        if profile is None or token is None:
            raise SessionError(texts.PUSH_LOGIN)
        shown = content_image if preview else None
        yield busy(status, texts.PUSHING, short=True)
        repo_id, url = studio.push(
            name, repo, private, shown, profile.username, token.token, session
        )  # fmt: skip
        yield {pushed: texts.PUSHED.format(repo=repo_id, url=url), **done(status, "")}

    button.click(
        push,
        [pick, repo_box, private_box, preview_box, shared.content, shared.state],
        [pushed, status],
        concurrency_limit=2,
        **PRIVATE,
    )
