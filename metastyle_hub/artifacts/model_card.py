"""Model cards: README.md with the metadata that the Hub searches, and the text that people read.

A card that nobody edited is generated again at every save. Once somebody edits it, its text stays and only the metadata
is updated; a checksum in the last line tells the two apart.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from PIL import Image

from metastyle_hub.artifacts.config import ArtifactConfig
from metastyle_hub.errors import ArtifactError

if TYPE_CHECKING:
    from huggingface_hub import RepoCard

__all__ = [
    "CARD_FILE", "PREVIEW_FILE", "STYLE_FILE", "STYLE_TAG", "base_tag", "card_image", "make_card", "merge_cards",
]  # fmt: skip

CARD_FILE, PREVIEW_FILE, STYLE_FILE = "README.md", "preview.jpg", "style.jpg"
STYLE_TAG, BASE_TAG = "metastyle-style", "metastyle-base"
_MAX_SIDE = 1024  # pixels of an image in a card

# metadata that this library sets; everything else in a card belongs to its author
_OWN_KEYS = ("library_name", "pipeline_tag", "base_model", "base_model_relation", "model_name", "widget")
_CHECKSUM = re.compile(r"<!-- written by metastyle_hub, checksum ([0-9a-f]{16}) -->\s*\Z")
_SOURCE = re.compile(r'(?<=from_pretrained\()"[^"\n]*"|(?<= -s )\S+')  # where the card's code loads from
_CAPTIONS = {PREVIEW_FILE: "A photo in this style", STYLE_FILE: "The style image"}


def base_tag(fingerprint: str) -> str:
    """Return the tag that all styles of a base share: "metastyle-base-" and 12 digits of its fingerprint."""
    return f"{BASE_TAG}-{fingerprint[:12]}"


def make_card(
    config: ArtifactConfig, fingerprint: str, *, images: Collection[str] = (), license: str | None = None
) -> str:
    """Return the card of a base or style.

    Args:
        config: of the artifact.
        fingerprint: of the base that it is, or belongs to.
        images: which of preview.jpg and style.jpg are in the folder.
        license: an identifier of the Hub, default apache-2.0.
    """
    from huggingface_hub import ModelCardData

    widget = [{"text": text, "output": {"url": name}} for name, text in _CAPTIONS.items() if name in images]
    # a base in the package or on somebody's disk is no repo to link to
    repo = config.base_model.repo_id if config.base_model and config.base_model.revision else None
    tags = ["metastyle", "style-transfer", STYLE_TAG if config.kind == "style" else BASE_TAG, base_tag(fingerprint)]
    data = ModelCardData(
        library_name="metastyle_hub", pipeline_tag="image-to-image", license=license or "apache-2.0", tags=tags,
        model_name=config.name, base_model=repo, base_model_relation=repo and "adapter", widget=widget or None,
    )  # fmt: skip
    body = _body(config, fingerprint, bool(widget))
    return f"---\n{data.to_yaml()}\n---\n{body}\n<!-- written by metastyle_hub, checksum {_checksum(body)} -->\n"


def merge_cards(
    existing: bytes | None, new: bytes, place: str | None = None, license: str | None = None, draft: bytes | None = None
) -> bytes:
    """Return the card to write over an existing one: its text if somebody edited it, with our metadata updated.

    Args:
        existing: the README.md that is there, or None.
        new: the generated card.
        place: the repo or folder of the card, for the code in it.
        license: overrides that of the existing card.
        draft: a second README.md, of the folder that is pushed; its text is used if nobody edited that of `existing`.
    """
    text, where = new.decode(), f"{CARD_FILE} in {place or 'the folder'}"
    if place and re.fullmatch(r"[\w./-]+", place):
        text = _SOURCE.sub(lambda found: f'"{place}"' if found[0].startswith('"') else place, text)
    cards = [_parse(card, where) for card in (existing, draft) if card is not None]
    if not cards:
        return text.encode()
    fresh, card = _parse(text.encode(), where), next((c for c in cards if not _is_generated(c.text)), cards[0])
    own, theirs = fresh.data.to_dict(), cards[-1].data.to_dict() | cards[0].data.to_dict()
    data = {key: value for key, value in theirs.items() if key not in _OWN_KEYS}
    data |= {key: own[key] for key in _OWN_KEYS if key in own}
    data["license"] = license or theirs.get("license") or own["license"]
    tags = theirs.get("tags") or []
    kept = [str(tag) for tag in (tags if isinstance(tags, list) else [tags])]
    data["tags"] = [t for t in kept if not t.startswith((STYLE_TAG, BASE_TAG)) and t not in own["tags"]] + own["tags"]
    if _is_generated(card.text):
        card.text = fresh.text
    elif existing is not None and card is cards[0] and data == theirs:
        return existing  # an edited card keeps every byte if nothing has to change
    card.data = type(card.data)(**data)
    return card.content.encode()


def card_image(image: Image.Image, stylize: Callable[[Image.Image], Image.Image] | None = None) -> bytes:
    """Return an image, stylized if asked for, as a JPEG of at most 1024 pixels a side, on white, without metadata."""
    image = image.copy()
    image.thumbnail((_MAX_SIDE, _MAX_SIDE))
    image = stylize(image) if stylize is not None else image
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    file, image = io.BytesIO(), image.convert("RGB")
    image.info = {}
    image.save(file, "JPEG", quality=90, optimize=True)
    return file.getvalue()


def _parse(data: bytes, where: str) -> RepoCard:
    import yaml
    from huggingface_hub import RepoCard  # not ModelCard, which accepts no `tags: 2024`

    try:
        text = data.decode("utf-8-sig")
        return RepoCard(text if text.lstrip().startswith("---") else f"---\n{{}}\n---\n{text}")
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:  # February 30 is a ValueError
        line = f", line {mark.line + 2}" if (mark := getattr(error, "problem_mark", None)) else ""
        kind = type(error).__name__
        raise ArtifactError(f"The {where} is no UTF-8 text with a YAML mapping ({kind}{line}); correct it.") from error


def _is_generated(text: str) -> bool:
    """Whether nobody edited the text of a card."""
    return any(mark[1] == _checksum(text[: mark.start()]) for mark in _CHECKSUM.finditer(text))


def _checksum(body: str) -> str:
    # the place is filled in later, and Windows changes line ends; neither is an edit
    return hashlib.sha256("\n".join(_SOURCE.sub('""', body).rstrip().splitlines()).encode()).hexdigest()[:16]


def _body(config: ArtifactConfig, fingerprint: str, gallery: bool) -> str:
    converted = config.kind == "base" and config.output_activation is not None
    what, code, limits = _CONVERTED if converted else _BASE if config.kind == "base" else _STYLE
    facts = "\n".join(f"| {key} | {_plain(value)} |" for key, value in _facts(config, fingerprint))
    title, command = _plain(config.name or f"A MetaStyle {config.kind}"), _COMMAND if config.kind == "style" else ""
    parts = [f"\n# {title}", what, *(["<Gallery />"] if gallery else []), "## Use"]
    parts += [f"```bash\npip install metastyle-hub\n{command}```", f"```python\n{_IMPORT}{code}```"]
    parts += ["## Facts", f"| | |\n|---|---|\n{facts}"]
    for key, entries in (config.training or {}).items():
        if isinstance(entries, list) and entries:  # such as the stages of a training
            numbered = "\n".join(f"{i}. {_plain(entry)}" for i, entry in enumerate(entries, 1))
            parts += [f"## {_plain(key.replace('_', ' ').capitalize())}", numbered]
    return "\n\n".join([*parts, "## Limits", limits, *([] if converted else ["## Citation", _CITATION])]) + "\n"


def _facts(config: ArtifactConfig, fingerprint: str) -> Iterable[tuple[str, object]]:
    base, keys = config.base_model, ("feature_extractor", "architecture", "steps", "style_sha256", "library_version")
    yield "fingerprint of the base" if base else "fingerprint", f"`{fingerprint[:12]}`"
    if base is not None:
        link = f"[{base.repo_id}](https://huggingface.co/{base.repo_id}) at `{(base.revision or '')[:12]}`"
        package = "that of the package" if base.repo_id == "embedded" else "not shared"
        yield "base", link if base.revision else package
        yield "trained parameters", config.trainable
    if config.mix:
        yield "mix of", ", ".join(" ".join(map(str, m.values())) for m in config.mix if isinstance(m, Mapping))
    values = config.to_dict()
    yield from _flat((config.adaptation or {}) | {key: values[key] for key in keys} | (config.training or {}))


def _flat(values: Mapping[str, Any], group: str = "") -> Iterable[tuple[str, object]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{key}: ")
        elif isinstance(value, str | int | float):
            yield group + key.replace("_", " "), f"{value:g}" if isinstance(value, float) else value


def _plain(value: object) -> str:
    """One line without Markdown or HTML: names come from file names, which can hold anything."""
    return " ".join(str(value).split()).replace("|", "\\|").replace("&", "&amp;").replace("<", "&lt;")


_COMMAND = "metastyle stylize photo.jpg -s this-folder -o out.png\n"
_IMPORT = "from metastyle_hub import MetaStyle\n\n"
_LOAD = 'style = MetaStyle.from_pretrained("this-folder")\nstyle.stylize("photo.jpg").save("out.png")\n'
# what it is, code, limits
_STYLE = (
    "An artistic style as a feed-forward network, adapted from one image with `metastyle_hub`, after *MetaStyle* "
    "(Zhang, Zhu, Zhu, AAAI 2019).",
    _LOAD + 'style.stylize("photo.jpg", strength=0.6).save("softer.png")\n',
    "Colors and strokes of the style image carry over, motifs do not. Faces and text lose detail; a smaller `strength` "
    "or a larger image helps. The style image may be under copyright even where this license covers the parameters. "
    "Disclose that images were stylized.",
)
_BASE = (
    "A base of `metastyle_hub`: the meta-trained initialization from which about a hundred gradient steps adapt a "
    "style, after *MetaStyle* (Zhang, Zhu, Zhu, AAAI 2019).",
    'base = MetaStyle.from_pretrained("this-folder")\nstyle = base.adapt("starry_night.jpg", steps=100)\n'
    'style.stylize("photo.jpg").save("out.png")\n',
    "Without adaptation it reproduces its input. Styles belong to exactly this base: its fingerprint is checked when "
    "they are loaded, and only styles of one base can be interpolated.",
)
_CONVERTED = (
    "A feed-forward style network of Johnson et al. 2016, converted for `metastyle_hub`.",
    _LOAD,
    "It was not adapted from a base, so `strength` has no effect, and it interpolates with no other style. Check that "
    "the license of the original lets you share it.",
)
_CITATION = """```bibtex
@inproceedings{zhang2019metastyle,
  title = {MetaStyle: Three-Way Trade-off among Speed, Flexibility, and Quality in Neural Style Transfer},
  author = {Zhang, Chi and Zhu, Yixin and Zhu, Song-Chun}, booktitle = {AAAI}, year = {2019}
}
```"""
