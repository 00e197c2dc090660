"""HTML and JavaScript of the page: the loss curve, strips of images, cards. Text from outside is escaped here.

Strips, curve and table are hand-made, as they are easier to use by keyboard and screen reader than Gradio's: a
`gr.Gallery` names its buttons "Thumbnail 2 of 6", a `gr.LinePlot` has no text alternative, and a `gr.Dataframe` is an
interactive grid even if it can only be read.
"""

from __future__ import annotations

import base64
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from PIL import Image

from metastyle_hub.app import texts
from metastyle_hub.hub.search import HubStyle

__all__ = [
    "ADD_ON_CLICK",
    "MOVE_SLIDER_ON_CLICK",
    "SAVE",
    "SUBMIT_ON_CLICK",
    "Curve",
    "StripImage",
    "add_alts",
    "curve",
    "hub_cards",
    "smooth",
    "status",
    "strip",
    "table",
    "tiles",
]

Curve = Sequence[tuple[int, float, float]]
"""Step, content loss and style loss."""

_WIDTH, _HEIGHT, _SIDE, _TOP, _BOTTOM = 480, 150, 8, 22, 20  # of the loss curve and its margins


def curve(points: Curve, steps: int) -> str:
    """Return the losses so far as an SVG with a text alternative; an empty frame if there are fewer than two points."""
    if len(points) < 2:
        return f'<div class="empty curve">{escape(texts.CURVE_EMPTY)}</div>'
    values = [_log10(value) for _, *pair in points for value in pair]
    low, high = min(values), max(values)
    span, bottom = max(high - low, 0.1), _HEIGHT - _BOTTOM

    def line(which: int, points: Curve) -> tuple[str, float, float]:
        places = [
            (
                _SIDE + (_WIDTH - 2 * _SIDE) * p[0] / max(1, steps),
                _TOP + (bottom - _TOP) * (high - _log10(p[which])) / span,
            )
            for p in points
        ]
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in places), *places[-1]

    measured, points = points, smooth(points)
    (_, content0, style0), (index, content1, style1) = points[0], points[-1]
    label = texts.CURVE_LABEL.format(
        index=index, content0=content0, content1=content1, style0=style0, style1=style1
    )  # fmt: skip
    parts = [
        f'<svg class="curve" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}">',
        f'<line class="axis" x1="{_SIDE}" y1="{bottom}" x2="{_WIDTH - _SIDE}" y2="{bottom}"/>',
        f'<text x="{_SIDE}" y="{_HEIGHT - 5}">0</text>',
        f'<text x="{_WIDTH - _SIDE}" y="{_HEIGHT - 5}" text-anchor="end">{steps} {texts.CURVE_STEPS}</text>',
    ]
    for which, (kind, name) in enumerate((("content", texts.CURVE_CONTENT), ("style", texts.CURVE_STYLE)), start=1):
        path, x, y = line(which, points)
        raw, _, _ = line(which, measured)
        left = _SIDE + (which - 1) * 110
        parts += [
            f'<polyline class="{kind} raw" points="{raw}"/><polyline class="{kind}" points="{path}"/>'
            f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>',
            f'<circle class="{kind}" cx="{left + 6}" cy="9" r="4"/><text x="{left + 16}" y="13">{name}</text>',
        ]
    return "".join(parts) + "</svg>"


def _log10(value: float) -> float:
    return math.log10(max(value, 1e-12))


def smooth(points: Curve, window: int = 12) -> Curve:
    """Return the geometric means of the last few losses, as every step has other crops."""

    def mean(which: int, end: int) -> float:
        logs = [_log10(p[which]) for p in points[max(0, end - window) : end]]
        return float(10 ** (sum(logs) / len(logs)))

    return [(point[0], mean(1, i), mean(2, i)) for i, point in enumerate(points, start=1)]


@dataclass(frozen=True)
class StripImage:
    """One image of a strip; a click on it moves a slider of the page to `value`."""

    image: Image.Image
    caption: str
    alt: str
    value: float = 0


def strip(images: Sequence[StripImage], title: str, empty: str, slider: str = "") -> str:
    """Return small images in a row.

    Args:
        images: in their order.
        title: the name of the row, for screen readers.
        empty: the text if there are no images.
        slider: element id of the slider that the images move, see `MOVE_SLIDER_ON_CLICK`.
    """
    if not images:
        return f'<div class="empty">{escape(empty)}</div>'
    figures = [
        f'<figure><button type="button" data-slider="{escape(slider)}" data-value="{item.value:g}">'
        f'<img src="{_data_url(item.image)}" alt="{escape(item.alt)}"></button>'
        f"<figcaption>{escape(item.caption)}</figcaption></figure>"
        for item in images
    ]
    return f'<section class="strip" aria-label="{escape(title)}">{"".join(figures)}</section>'


def tiles(images: Mapping[str, Image.Image], title: str, chosen: str | None = None) -> str:
    """Return small images to choose one from; see `SUBMIT_ON_CLICK`.

    Args:
        images: by name.
        title: the name of the group.
        chosen: the name of the image that is chosen.
    """
    buttons = [
        f'<button type="button" data-name="{escape(name)}" aria-pressed="{str(name == chosen).lower()}" '
        f'title="{escape(name)}"><img src="{_data_url(image)}" alt="{escape(name)}"></button>'
        for name, image in images.items()
    ]
    return (
        f'<div class="tiles-title">{escape(title)}</div>'
        f'<div class="tiles" role="group" aria-label="{escape(title)}">{"".join(buttons)}</div>'
    )


def status(
    text: str, *, busy: bool = False, share: float | None = None, failed: bool = False, short: bool = False
) -> str:
    """Return what an action is doing: a sentence, and a bar while it runs. The page shows a stop button with it.

    Args:
        text: plain, but for **bold** words.
        busy: whether the action runs.
        share: of it that is done, if that is known.
        failed: whether it was refused or failed.
        short: whether it ends before a visitor could stop it.

    >>> status("**Done** in 2 s.")
    '<div class="status"><p><b>Done</b> in 2 s.</p></div>'
    """
    words = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", escape(text, quote=False))
    kind = " busy" if busy else " failed" if failed else ""
    kind += " short" if short else ""
    value = "" if share is None else f' value="{min(1.0, share):.3f}"'
    bar = f'<progress max="1"{value} aria-label="{escape(texts.PROGRESS)}"></progress>' if busy else ""
    return f'<div class="status{kind}"><p>{words}</p>{bar}</div>'


def table(rows: Iterable[Sequence[object]]) -> str:
    """Return the styles of a session as a table."""
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    if not body:
        return f'<div class="empty">{escape(texts.STYLES_EMPTY)}</div>'
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in texts.TABLE)
    return f'<table class="styles"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def hub_cards(styles: Iterable[HubStyle]) -> str:
    """Return styles on the Hub with their previews."""
    cards = []
    for style in styles:
        name, repo = escape(style.name), escape(style.repo_id)
        alt = escape(texts.HUB_PREVIEW_ALT.format(name=style.name))
        preview = (
            f'<img src="{escape(style.preview)}" alt="{alt}" loading="lazy">'
            if style.preview
            else f'<div class="none">{escape(texts.HUB_NO_PREVIEW)}</div>'
        )
        facts = escape(texts.HUB_CARD.format(likes=style.likes, downloads=style.downloads))
        cards.append(
            f"<figure>{preview}<figcaption><b>{name}</b><br><code>{repo}</code><br>{facts}</figcaption>"
            f'<button type="button" data-repo="{repo}" aria-label="{escape(texts.HUB_ADD)} {name}">'
            f"{escape(texts.HUB_ADD)}</button></figure>"
        )
    if not cards:
        return f'<div class="empty">{escape(texts.HUB_NONE)}</div>'
    return f'<section class="cards">{"".join(cards)}</section>'


def _data_url(image: Image.Image) -> str:
    """Return a small image as a part of the page, so that no file of it stays on the server."""
    file = io.BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def add_alts(alts: Mapping[str, Sequence[str]]) -> str:
    """Return JavaScript for the load event that adds text alternatives which Gradio lacks, also to later images.

    Args:
        alts: texts by selector, one for each image that it finds; without a text, the file name of the image is used.
    """
    return f"""() => {{
  const alts = {json.dumps(alts)};
  const describe = () => {{
    for (const [selector, texts] of Object.entries(alts)) document.querySelectorAll(selector).forEach((image, i) => {{
      if (!image.alt) image.alt = texts[i] || decodeURIComponent(new URL(image.src).pathname)
        .split("/").pop().replace(/\\.\\w+$/, "").replaceAll("_", " ");
    }});
  }};
  describe();
  new MutationObserver(describe).observe(document.body, {{subtree: true, childList: true}});
}}"""


SUBMIT_ON_CLICK = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-name]');
  if (!button) return;
  element.querySelectorAll('button[data-name]').forEach((b) => b.setAttribute('aria-pressed', b === button));
  trigger('submit', {name: button.dataset.name});
});
"""
"""For `js_on_load` of a gr.HTML with tiles: a click submits `{"name": ...}`."""


SAVE = """(file) => {
  for (const each of [file].flat().filter(Boolean)) {
    const link = document.createElement('a');
    link.href = each.url;
    link.download = each.orig_name;
    link.click();
  }
  return [];
}"""
"""JavaScript for an event with a gr.File: the browser saves its files."""


MOVE_SLIDER_ON_CLICK = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-slider]');
  const input = button && document.querySelector('#' + button.dataset.slider + ' input[type=number]');
  if (!input) return;
  input.value = button.dataset.value;
  input.dispatchEvent(new Event('input', {bubbles: true}));
});
"""
"""For `js_on_load` of a gr.HTML with a strip: a click on an image moves its slider."""


ADD_ON_CLICK = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-repo]');
  const input = button && document.querySelector('#repo input, #repo textarea');
  if (!input) return;
  input.value = button.dataset.repo;
  input.dispatchEvent(new Event('input', {bubbles: true}));
  // the page must read the text before the button asks for it
  setTimeout(() => document.querySelector('#add').click(), 100);
});
"""
"""For `js_on_load` of a gr.HTML with cards: a click on a card's button adds its style."""
