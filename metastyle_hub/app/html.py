"""Pieces of HTML: the loss curve, the film strip, cards. Text from outside is escaped here."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from metastyle_hub.app import texts
from PIL import Image

from metastyle_hub import HubStyle

Curve = Sequence[tuple[int, float, float]]  # step, content, style


def curve(points: Curve, steps: int) -> str:
    """The losses so far as an SVG with a text alternative; an empty frame before there are two points."""
    if len(points) < 2:
        return f'<div class="empty curve">{escape(texts.CURVE_EMPTY)}</div>'
    width, height, left, right, top, bottom = 480, 150, 8, 8, 22, 20
    values = [math.log10(max(v, 1e-12)) for _, *pair in points for v in pair]
    low, high = min(values), max(values)
    span = max(high - low, 0.1)

    def line(which: int, points: Curve) -> tuple[str, float, float]:
        where = [
            (
                left + (width - left - right) * p[0] / max(1, steps),
                top + (height - top - bottom) * (high - math.log10(max(p[which], 1e-12))) / span,
            )
            for p in points
        ]
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in where), *where[-1]

    measured, points = points, smooth(points)

    label = texts.CURVE_LABEL.format(
        index=points[-1][0], content0=points[0][1], content1=points[-1][1], style0=points[0][2], style1=points[-1][2]
    )
    parts = [
        f'<svg class="curve" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">',
        f'<line class="axis" x1="{left}" y1="{height - bottom}" x2="{width - right}" y2="{height - bottom}"/>',
        f'<text x="{left}" y="{height - 5}">0</text>',
        f'<text x="{width - right}" y="{height - 5}" text-anchor="end">{steps} {texts.CURVE_STEPS}</text>',
    ]
    for which, (kind, name) in enumerate((("content", texts.CURVE_CONTENT), ("style", texts.CURVE_STYLE)), start=1):
        path, x, y = line(which, points)
        raw, _, _ = line(which, measured)
        at = left + (which - 1) * 110
        parts += [
            f'<polyline class="{kind} raw" points="{raw}"/><polyline class="{kind}" points="{path}"/>'
            f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>',
            f'<circle class="{kind}" cx="{at + 6}" cy="9" r="4"/><text x="{at + 16}" y="13">{name}</text>',
        ]
    return "".join(parts) + "</svg>"


def smooth(points: Curve, window: int = 12) -> Curve:
    """The trend: every value the geometric mean of the last few, as each step sees other crops of other photos."""

    def mean(which: int, end: int) -> float:
        logs = [math.log(max(p[which], 1e-12)) for p in points[max(0, end - window) : end]]
        return math.exp(sum(logs) / len(logs))

    return [(point[0], mean(1, i), mean(2, i)) for i, point in enumerate(points, start=1)]


@dataclass(frozen=True)
class Frame:
    """One picture of a strip; pressing it moves a slider of the page to `value`."""

    picture: Image.Image
    caption: str
    alt: str
    value: float = 0


def strip(frames: Sequence[Frame], title: str, empty: str, slider: str = "") -> str:
    """Small pictures in a row that wraps on a phone.

    Args:
        slider: element id of the slider that the pictures move; see `PRESS`.
    """
    if not frames:
        return f'<div class="empty">{escape(empty)}</div>'
    figures = [
        f'<figure><button type="button" data-slider="{escape(slider)}" data-value="{frame.value:g}">'
        f'<img src="{data_url(frame.picture)}" alt="{escape(frame.alt)}"></button>'
        f"<figcaption>{escape(frame.caption)}</figcaption></figure>"
        for frame in frames
    ]
    return f'<section class="strip" aria-label="{escape(title)}">{"".join(figures)}</section>'


def show(elem_id: str) -> str:
    """JavaScript for an event: bring an element into view, which on a phone is far below the button."""
    return f"""() => {{
  const place = document.getElementById("{elem_id}");
  const box = place.getBoundingClientRect();
  if (box.top < 0 || box.top > 0.6 * innerHeight) place.scrollIntoView({{block: "start", behavior: "smooth"}});
  return [];
}}"""


def described(alts: Mapping[str, Sequence[str]]) -> str:
    """JavaScript for the page's load: text alternatives where Gradio has none, for what comes later as well.

    Args:
        alts: texts by selector, one for each picture that it finds; with none, the picture's file name tells.
    """
    return f"""() => {{
  const alts = {json.dumps(alts)};
  const describe = () => {{
    for (const [selector, texts] of Object.entries(alts)) document.querySelectorAll(selector).forEach((picture, i) => {{
      if (!picture.alt) picture.alt = texts[i] || decodeURIComponent(new URL(picture.src).pathname)
        .split("/").pop().replace(/\\.\\w+$/, "").replaceAll("_", " ");
    }});
  }};
  describe();
  new MutationObserver(describe).observe(document.body, {{subtree: true, childList: true}});
}}"""


PRESS = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-slider]');
  const input = button && document.querySelector('#' + button.dataset.slider + ' input[type=number]');
  if (!input) return;
  input.value = button.dataset.value;
  input.dispatchEvent(new Event('input', {bubbles: true}));
});
"""
"""What makes the pictures of a strip move their slider: for a gr.HTML's `js_on_load`."""


ADD = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-repo]');
  const input = button && document.querySelector('#repo input, #repo textarea');
  if (!input) return;
  input.value = button.dataset.repo;
  input.dispatchEvent(new Event('input', {bubbles: true}));
  // the page takes note of what was typed before the button asks for it
  setTimeout(() => document.querySelector('#add').click(), 100);
});
"""
"""What makes a card's button add its style: for a gr.HTML's `js_on_load`."""


def table(rows: Iterable[Sequence[object]]) -> str:
    """The visitor's styles."""
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    if not body:
        return f'<div class="empty">{escape(texts.STYLES_EMPTY)}</div>'
    head = "".join(f"<th>{escape(name)}</th>" for name in texts.TABLE)
    return f'<table class="styles"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def hub_cards(styles: Iterable[HubStyle]) -> str:
    """Styles on the Hub with their previews."""
    cards = []
    for style in styles:
        name, repo = escape(style.name), escape(style.repo_id)
        picture = (
            f'<img src="{escape(style.preview)}" alt="A photo in the style {name}" loading="lazy">'
            if style.preview
            else f'<div class="none">{escape(texts.HUB_NO_PREVIEW)}</div>'
        )
        facts = escape(texts.HUB_CARD.format(likes=style.likes, downloads=style.downloads))
        cards.append(
            f"<figure>{picture}<figcaption><b>{name}</b><br><code>{repo}</code><br>{facts}</figcaption>"
            f'<button type="button" data-repo="{repo}" aria-label="{escape(texts.HUB_ADD)} {name}">'
            f"{escape(texts.HUB_ADD)}</button></figure>"
        )
    if not cards:
        return f'<div class="empty">{escape(texts.HUB_NONE)}</div>'
    return f'<section class="cards">{"".join(cards)}</section>'


def data_url(picture: Image.Image) -> str:
    """A small picture inside the page: no file of a visitor's photo stays on the server."""
    file = io.BytesIO()
    picture.convert("RGB").save(file, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
