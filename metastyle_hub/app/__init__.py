"""The Gradio app: adapt, compare, mix, stylize videos, and share styles in the browser. Needs the extra `app`.

app           the page as a whole, and how it is served
tabs/         one module for each tab: its layout, its events and its endpoints
components    parts that the tabs share
html, texts   HTML and all text of the page
studio        the actions of a visitor, without the page
session       the state of a visitor
files         uploads and downloads
gallery       the built-in styles
"""

from metastyle_hub.app.app import main

__all__ = ["main"]
