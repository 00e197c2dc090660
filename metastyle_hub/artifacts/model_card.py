"""Model cards: README.md with the metadata that the Hub finds styles by, and the text that people read.

A card that nobody edited is written anew at every save. As soon as somebody writes in it, the text is theirs and only
the metadata is kept up to date; a checksum in the last line tells the two apart.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from PIL import Image

from metastyle_hub.artifacts.config import ArtifactConfig, BaseReference
from metastyle_hub.errors import ArtifactError
from metastyle_hub.version import __version__

__all__ = [
    "CARD_FILE",
    "CARD_PIXELS",
    "PREVIEW_FILE",
    "STYLE_FILE",
    "STYLE_TAG",
    "base_tag",
    "card_picture",
    "make_card",
    "merge_cards",
]

CARD_FILE, PREVIEW_FILE, STYLE_FILE = "README.md", "preview.jpg", "style.jpg"
STYLE_TAG, BASE_TAG = "metastyle-style", "metastyle-base"
LICENSE = "apache-2.0"
CARD_PIXELS = 1024

# what this library is the authority on; everything else in a card's metadata belongs to its author
_OURS = ("library_name", "pipeline_tag", "base_model", "base_model_relation", "model_name", "widget")
_BLOCK = re.compile(r"\A\s*---[ \t]*\r?\n(.*?)\r?\n?---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_MARK = re.compile(r"<!-- written by metastyle_hub, checksum ([0-9a-f]{16}) -->\s*\Z")
_PLACE = "this-folder"
_OWNED = {
    "norm": "norm scales and shifts, 13 kB",
    "decoder": "norms and the convolutions behind the trunk, 0.4 MB",
    "all": "the whole network",
}


def base_tag(fingerprint: str) -> str:
    """The tag that all styles of a base share, wherever the base is: "metastyle-base-" and 12 digits."""
    return f"{BASE_TAG}-{fingerprint[:12]}"


def make_card(
    config: ArtifactConfig, fingerprint: str, *, pictures: Collection[str] = (), license: str | None = None
) -> str:
    """The card of a base or style.

    Args:
        fingerprint: of the base that it is, or is a style of.
        pictures: which of preview.jpg and style.jpg come along.
        license: an identifier of the Hub, default apache-2.0.

    >>> make_card(style.config, style.base.fingerprint).splitlines()[1]
    'library_name: metastyle_hub'
    """
    is_base = config.kind == "base"
    reference = config.base_model
    data: dict[str, Any] = {
        "library_name": "metastyle_hub",
        "pipeline_tag": "image-to-image",
        "license": license or LICENSE,
        "tags": ["metastyle", "style-transfer", BASE_TAG if is_base else STYLE_TAG, base_tag(fingerprint)],
    }
    if config.name:
        data["model_name"] = config.name
    # a base that only exists on somebody's disk, or in the package, is no repo to link to
    if reference is not None and reference.revision is not None:
        data |= {"base_model": reference.repo_id, "base_model_relation": "adapter"}
    captions = {PREVIEW_FILE: "A photo in this style", STYLE_FILE: "The picture whose style this is"}
    widget = [{"text": text, "output": {"url": name}} for name, text in captions.items() if name in pictures]
    if widget:
        data["widget"] = widget
    body = _body(config, fingerprint, bool(widget))
    return f"{_block(data)}{body}\n<!-- written by metastyle_hub, checksum {_checksum(body)} -->\n"


def merge_cards(existing: bytes | None, new: bytes, place: str | None = None, license: str | None = None) -> bytes:
    """The card to write over an existing one: its text if people wrote it, our metadata, and the rest of theirs.

    Args:
        place: the repo or folder where the card goes, for the code in it.
        license: wins over the existing licence; None leaves that.

    Raises:
        ArtifactError: the existing card cannot be read.
    """
    fresh = _named(new.decode(), place)
    if existing is None:
        return fresh.encode()
    try:
        old = existing.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ArtifactError(f"The {CARD_FILE} in {place or 'the folder'} is not UTF-8 text ({error}).") from error
    ours, theirs = _data(fresh, place), _data(old, place)
    data = {k: v for k, v in theirs.items() if k not in _OURS or k in ours}
    data |= {k: v for k, v in ours.items() if k in _OURS}
    data["license"] = license or theirs.get("license") or ours["license"]
    data["tags"] = _tags(theirs.get("tags"), ours["tags"])
    text = _text(old)
    mark = _MARK.search(text)
    if mark and mark[1] == _checksum(text[: mark.start()]):
        text = _text(fresh)
    elif data == theirs:
        return existing  # not one byte of a hand-written card changes without need
    block = _BLOCK.match(old)
    break_ = "\r\n" if "\r\n" in (block[0] if block else old) else "\n"
    return (_block(data).replace("\n", break_) + text).encode()


def card_picture(image: Image.Image) -> bytes:
    """A picture as it goes along with a card: a JPEG of at most `CARD_PIXELS` a side, laid over white.

    It has none of the metadata of the original: where and when a photo was taken is not part of a style.
    """
    image = image.copy()
    image.thumbnail((CARD_PIXELS, CARD_PIXELS))
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    file = io.BytesIO()
    image = image.convert("RGB")
    image.info = {}
    image.save(file, "JPEG", quality=90, optimize=True)
    return file.getvalue()


def _tags(theirs: Any, ours: Iterable[str]) -> list[str]:
    kept = [str(t) for t in theirs] if isinstance(theirs, list) else [] if theirs is None else [str(theirs)]
    kept = [t for t in kept if not t.startswith((STYLE_TAG, BASE_TAG))]
    return kept + [t for t in ours if t not in kept]


def _data(card: str, where: str | None) -> dict[str, Any]:
    import yaml

    block = _BLOCK.match(card)
    try:
        data = yaml.safe_load(block[1]) if block else None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a 30th of February is a ValueError
        line = f", line {mark.line + 2}" if (mark := getattr(error, "problem_mark", None)) else ""
        raise ArtifactError(
            f"The metadata at the top of {CARD_FILE} in {where or 'the folder'} is not YAML ({error.__class__.__name__}"
            f"{line}); correct it there first."
        ) from error
    if data is not None and not isinstance(data, dict):
        raise ArtifactError(f"The metadata at the top of {CARD_FILE} in {where or 'the folder'} is no list of keys.")
    return dict(data or {})


def _text(card: str) -> str:
    block = _BLOCK.match(card)
    return card[block.end() :] if block else card


def _block(data: Mapping[str, Any]) -> str:
    import yaml

    return f"---\n{yaml.safe_dump(dict(data), sort_keys=False, allow_unicode=True, width=10_000)}---\n"


def _checksum(body: str) -> str:
    # the place is filled in on the way to the Hub, and Windows changes line ends; neither is an edit
    return hashlib.sha256("\n".join(_SOURCE.sub('""', body).rstrip().splitlines()).encode()).hexdigest()[:16]


_SOURCE = re.compile(r'(?<=from_pretrained\()"[^"\n]*"|(?<= -s )\S+')


def _named(card: str, place: str | None) -> str:
    """The card with the code in it naming the place where it goes."""
    if not place or not re.fullmatch(r"[\w./-]+", place):
        return card
    return _SOURCE.sub(lambda found: f'"{place}"' if found[0].startswith('"') else place, card)


def _body(config: ArtifactConfig, fingerprint: str, gallery: bool) -> str:
    name = _plain(config.name or ("MetaStyle base" if config.kind == "base" else "A style"))
    what, code, limits = _BASE if config.kind == "base" else _STYLE
    if config.kind == "base" and config.output_activation is not None:
        what, code, limits = _CONVERTED
    lines = [f"\n# {name}\n", what]
    if gallery:
        lines.append("<Gallery />\n")
    lines += ["## Use\n", "```bash\npip install metastyle-hub\n```\n", f"```python\n{code}```\n"]
    if config.kind == "style":
        lines.append(f"```bash\nmetastyle stylize photo.jpg -s {_PLACE} -o out.png\n```\n")
    lines += ["## Facts\n", "| | |\n|---|---|"]
    lines += [f"| {key} | {_plain(value)} |" for key, value in _facts(config, fingerprint)]
    for title, entries in _lists(config.training or {}):
        lines += [f"\n## {title}\n", *(f"{i}. {_plain(entry)}" for i, entry in enumerate(entries, 1))]
    lines += ["\n## Limits\n", limits]
    if config.output_activation is None:
        lines.append(_CITATION)
    return "\n".join(lines)


def _facts(config: ArtifactConfig, fingerprint: str) -> Iterable[tuple[str, object]]:
    if config.kind == "style":
        yield "parameters", _OWNED[config.trainable]
        yield "base", _base_text(config.base_model)
    yield "fingerprint of the base" if config.kind == "style" else "fingerprint", f"`{fingerprint[:12]}`"
    yield "network", ", ".join(f"{k} {v}" for k, v in config.architecture.to_dict().items())
    yield "features of the loss", config.feature_extractor
    if config.steps is not None:
        yield "gradient steps", config.steps
    if config.style_sha256:
        yield "SHA-256 of the style picture", f"`{config.style_sha256}`"
    if config.mix:
        yield "mix of", ", ".join(" ".join(map(str, m.values())) for m in config.mix if isinstance(m, Mapping))
    for group in (config.adaptation, config.training):
        for key, value in _flat(group or {}):
            if key != "steps":
                yield key.replace("_", " "), value
    yield "library", f"metastyle_hub {__version__}"


def _flat(values: Mapping[str, Any], group: str = "") -> Iterable[tuple[str, object]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{key}: ")
        elif isinstance(value, str | int | float):
            yield group + key, f"{value:g}" if isinstance(value, float) else value


def _lists(values: Mapping[str, Any]) -> Iterable[tuple[str, list[object]]]:
    """What is told in several sentences, such as the stages of a training: a heading, and a line each."""
    for key, value in values.items():
        if isinstance(value, list) and value:
            yield _plain(key.replace("_", " ").capitalize()), value


def _base_text(reference: BaseReference | None) -> str:
    if reference is None or reference.revision is None:
        shared = reference is not None and reference.repo_id == "embedded"
        return "the one in the package" if shared else "not shared"
    return f"[{reference.repo_id}](https://huggingface.co/{reference.repo_id}) at `{reference.revision[:12]}`"


def _plain(value: object) -> str:
    """One line that Markdown and HTML leave as it is: names come from file names, which can hold anything."""
    text = " ".join(str(value).split()).replace("|", "\\|")
    return text.replace("&", "&amp;").replace("<", "&lt;")


_STYLE = (
    "A painting style as a feed-forward network, learned from one picture with "
    "`metastyle_hub`, after *MetaStyle* (Zhang, Zhu, Zhu, AAAI 2019).\n",
    f"""from metastyle_hub import MetaStyle

style = MetaStyle.from_pretrained("{_PLACE}")
style.stylize("photo.jpg").save("out.png")
style.stylize("photo.jpg", strength=0.6).save("softer.png")
""",
    "One style, learned from one picture: colours and strokes carry over, motifs do not. Faces and writing lose "
    "detail; a smaller `strength` or a larger photo helps. The picture may be under copyright even where this licence "
    "lets you use the parameters. Pictures that were made with it should say so.\n",
)
_BASE = (
    "A base of `metastyle_hub`: the meta-learned initialisation from "
    "which a style is learned in about a hundred gradient steps, after *MetaStyle* (Zhang, Zhu, Zhu, AAAI 2019).\n",
    f"""from metastyle_hub import MetaStyle

base = MetaStyle.from_pretrained("{_PLACE}")
style = base.adapt("starry_night.jpg", steps=100)
style.stylize("photo.jpg").save("out.png")
""",
    "By itself it returns photos nearly as they are. Styles belong to exactly this base: its fingerprint is checked "
    "when they are loaded, and only styles of one base can be mixed.\n",
)
_CITATION = """## Citation

```bibtex
@inproceedings{zhang2019metastyle,
  title     = {MetaStyle: Three-Way Trade-off among Speed, Flexibility, and Quality in Neural Style Transfer},
  author    = {Zhang, Chi and Zhu, Yixin and Zhu, Song-Chun},
  booktitle = {Proceedings of the AAAI Conference on Artificial Intelligence},
  year      = {2019}
}
```
"""
_CONVERTED = (
    "A feed-forward style network of Johnson et al. 2016, converted for `metastyle_hub`.\n",
    f"""from metastyle_hub import MetaStyle

style = MetaStyle.from_pretrained("{_PLACE}")
style.stylize("photo.jpg").save("out.png")
""",
    "It was not learned from a base, so `strength` has nothing to fade towards, and it mixes with no other style. "
    "Check that the licence of the original lets you share it.\n",
)
