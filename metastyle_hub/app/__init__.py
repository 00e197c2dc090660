"""The Gradio app: adapt, compare, mix, stylize videos, and share styles in the browser. Needs the extra `app`.

app           the page as a whole, and how it is served
endpoints     the actions for programs and agents, without a session
tabs/         one module for each tab: its layout and its events
lists         the lists of styles in all tabs
browser       the styles that the browser of a visitor keeps
components    parts that the tabs share
html, texts   HTML and all text of the page; style.css, page.js, theme
studio        the actions of a visitor, without the page
queue         one long action at a time; the others wait and know how long
session       the state of a visitor
files         uploads and downloads
gallery       the built-in styles
"""

from metastyle_hub.app.app import main

__all__ = ["main"]
