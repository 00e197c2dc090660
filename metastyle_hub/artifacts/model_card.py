"""Model cards: README.md with the metadata that the Hub searches, and the text that people read.

A card that nobody edited is written anew at every save. Once somebody edits it, its text stays and only the metadata is
updated; a checksum in the last line tells the two apart.
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
    "CARD_FILE", "CARD_PIXELS", "PREVIEW_FILE", "STYLE_FILE", "STYLE_TAG", "base_tag", "card_image", "make_card",
    "merge_cards",
]  # fmt: skip

CARD_FILE, PREVIEW_FILE, STYLE_FILE = "README.md", "preview.jpg", "style.jpg"
STYLE_TAG, BASE_TAG = "metastyle-style", "metastyle-base"
LICENSE = "apache-2.0"
CARD_PIXELS = 1024  # largest side of an image in a card

# metadata that this library sets; everything else in a card belongs to its author
_OWN_KEYS = ("library_name", "pipeline_tag", "base_model", "base_model_relation", "model_name", "widget")
# `tags: 2024` is valid YAML that ModelCard does not accept
_TAGS_SCALAR = re.compile(r"^(tags:[ \t]*)([^\s\[\]{}#-][^\r\n\[\]]*)$", re.MULTILINE)
_CHECKSUM = re.compile(r"<!-- written by metastyle_hub, checksum ([0-9a-f]{16}) -->\s*\Z")
_SOURCE = re.compile(r'(?<=from_pretrained\()"[^"\n]*"|(?<= -s )\S+')  # where the card's code loads from
_PLACEHOLDER = "this-folder"
_STORED = {
    "norm": "norm weights and biases, 13 kB",
    "decoder": "norm parameters and the decoder's convolutions, 0.4 MB",
    "all": "the whole network, 7 MB",
}


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

    >>> "metastyle-style" in make_card(style.config, style.base.fingerprint)
    True
    """
    is_base, reference = config.kind == "base", config.base_model
    data: dict[str, Any] = {
        "library_name": "metastyle_hub",
        "pipeline_tag": "image-to-image",
        "license": license or LICENSE,
        "tags": ["metastyle", "style-transfer", BASE_TAG if is_base else STYLE_TAG, base_tag(fingerprint)],
    }
    if config.name:
        data["model_name"] = config.name
    # a base on somebody's disk or in the package is no repo to link to
    if reference is not None and reference.revision is not None:
        data |= {"base_model": reference.repo_id, "base_model_relation": "adapter"}
    captions = {PREVIEW_FILE: "A photo in this style", STYLE_FILE: "The style image"}
    widget = [{"text": text, "output": {"url": name}} for name, text in captions.items() if name in images]
    if widget:
        data["widget"] = widget
    body = _body(config, fingerprint, bool(widget))
    return _card(data, f"{body}\n<!-- written by metastyle_hub, checksum {_checksum(body)} -->\n")


def merge_cards(existing: bytes | None, new: bytes, place: str | None = None, license: str | None = None) -> bytes:
    """Return the card to write over an existing one: its text if somebody edited it, with our metadata updated.

    Args:
        existing: the bytes of a README.md, or None.
        new: the generated card.
        place: the repo or folder of the card, for the code in it.
        license: overrides that of the existing card.

    Raises:
        ArtifactError: if the existing card is not UTF-8 or its metadata is not YAML.
    """
    fresh = new.decode()
    if place and re.fullmatch(r"[\w./-]+", place):
        fresh = _SOURCE.sub(lambda found: f'"{place}"' if found[0].startswith('"') else place, fresh)
    if existing is None:
        return fresh.encode()
    where = f"{CARD_FILE} in {place or 'the folder'}"
    try:
        old = existing.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ArtifactError(f"The {where} is not UTF-8 text ({error}); convert it first.") from error
    (own, fresh_text), (theirs, text) = _parse(fresh, where), _parse(old, where)
    data = {key: value for key, value in theirs.items() if key not in _OWN_KEYS or key in own}
    data |= {key: value for key, value in own.items() if key in _OWN_KEYS}
    data["license"] = license or theirs.get("license") or own["license"]
    data["tags"] = _merged_tags(theirs.get("tags"), own["tags"])
    mark = _CHECKSUM.search(text)
    if mark and mark[1] == _checksum(text[: mark.start()]):
        text = fresh_text
    elif data == theirs:
        return existing  # an edited card keeps every byte if nothing has to change
    newline = "\r\n" if "\r\n" in old.partition(text or "\0")[0] else "\n"
    return _card(data, text, newline).encode()


def card_image(image: Image.Image) -> bytes:
    """Return an image as a JPEG of at most `CARD_PIXELS` a side, on white, without metadata such as place and time."""
    image = image.copy()
    image.thumbnail((CARD_PIXELS, CARD_PIXELS))
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    file, image = io.BytesIO(), image.convert("RGB")
    image.info = {}
    image.save(file, "JPEG", quality=90, optimize=True)
    return file.getvalue()


def _merged_tags(theirs: Any, own: Iterable[str]) -> list[str]:
    kept = [str(t) for t in theirs] if isinstance(theirs, list) else [] if theirs is None else [str(theirs)]
    kept = [t for t in kept if not t.startswith((STYLE_TAG, BASE_TAG))]
    return kept + [t for t in own if t not in kept]


def _parse(card: str, where: str) -> tuple[dict[str, Any], str]:
    """The metadata and the text of a card."""
    import yaml
    from huggingface_hub import ModelCard

    if not card.lstrip().startswith("---"):
        return {}, card
    try:
        parsed = ModelCard(_TAGS_SCALAR.sub(r"\1[\2]", card, 1))
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:  # February 30 is a ValueError
        line = f", line {mark.line + 2}" if (mark := getattr(error, "problem_mark", None)) else ""
        raise ArtifactError(
            f"The metadata of {where} is not a mapping in YAML ({error.__class__.__name__}{line}); correct it first."
        ) from error
    return parsed.data.to_dict(), parsed.text


def _card(data: Mapping[str, Any], text: str, newline: str = "\n") -> str:
    from huggingface_hub import ModelCardData

    block = ModelCardData(**data).to_yaml(line_break=newline)
    return f"---{newline}{block}{newline}---{newline}{text}"


def _checksum(body: str) -> str:
    # the place is filled in later, and Windows changes line ends; neither is an edit
    return hashlib.sha256("\n".join(_SOURCE.sub('""', body).rstrip().splitlines()).encode()).hexdigest()[:16]


def _body(config: ArtifactConfig, fingerprint: str, gallery: bool) -> str:
    converted = config.kind == "base" and config.output_activation is not None
    what, code, limits = _CONVERTED if converted else _BASE if config.kind == "base" else _STYLE
    name = _plain(config.name or ("MetaStyle base" if config.kind == "base" else "A style"))
    lines = [f"\n# {name}\n", what, *(["<Gallery />\n"] if gallery else [])]
    lines += ["## Use\n", "```bash\npip install metastyle-hub\n```\n", f"```python\n{code}```\n"]
    if config.kind == "style":
        lines.append(f"```bash\nmetastyle stylize photo.jpg -s {_PLACEHOLDER} -o out.png\n```\n")
    lines += ["## Facts\n", "| | |\n|---|---|"]
    lines += [f"| {key} | {_plain(value)} |" for key, value in _facts(config, fingerprint)]
    for key, entries in (config.training or {}).items():
        if isinstance(entries, list) and entries:  # such as the stages of a training
            title = _plain(key.replace("_", " ").capitalize())
            lines += [f"\n## {title}\n", *(f"{i}. {_plain(entry)}" for i, entry in enumerate(entries, 1))]
    lines += ["\n## Limits\n", limits, *([] if converted else [_CITATION])]
    return "\n".join(lines)


def _facts(config: ArtifactConfig, fingerprint: str) -> Iterable[tuple[str, object]]:
    if config.kind == "style":
        yield "parameters", _STORED[config.trainable]
        yield "base", _base_link(config.base_model)
    yield "fingerprint of the base" if config.kind == "style" else "fingerprint", f"`{fingerprint[:12]}`"
    yield "network", ", ".join(f"{k} {v}" for k, v in config.architecture.to_dict().items())
    yield "feature extractor of the loss", config.feature_extractor
    if config.steps is not None:
        yield "gradient steps", config.steps
    if config.style_sha256:
        yield "SHA-256 of the style image", f"`{config.style_sha256}`"
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


def _base_link(reference: BaseReference | None) -> str:
    if reference is None or reference.revision is None:
        return "that of the package" if reference is not None and reference.repo_id == "embedded" else "not shared"
    return f"[{reference.repo_id}](https://huggingface.co/{reference.repo_id}) at `{reference.revision[:12]}`"


def _plain(value: object) -> str:
    """One line without Markdown or HTML: names come from file names, which can hold anything."""
    text = " ".join(str(value).split()).replace("|", "\\|")
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _code(extra: str) -> str:
    return f'from metastyle_hub import MetaStyle\n\n{extra}style.stylize("photo.jpg").save("out.png")\n'


_LOAD_STYLE = f'style = MetaStyle.from_pretrained("{_PLACEHOLDER}")\n'
_STYLE = (
    "An artistic style as a feed-forward network, adapted from one image with `metastyle_hub`, after *MetaStyle* "
    "(Zhang, Zhu, Zhu, AAAI 2019).\n",
    _code(_LOAD_STYLE) + 'style.stylize("photo.jpg", strength=0.6).save("softer.png")\n',
    "Colors and strokes of the style image carry over, motifs do not. Faces and text lose detail; a smaller `strength` "
    "or a larger image helps. The style image may be under copyright even where this license covers the parameters. "
    "Disclose that images were stylized.\n",
)
_BASE = (
    "A base of `metastyle_hub`: the meta-trained initialization from which about a hundred gradient steps adapt a "
    "style, after *MetaStyle* (Zhang, Zhu, Zhu, AAAI 2019).\n",
    _code(f'base = MetaStyle.from_pretrained("{_PLACEHOLDER}")\nstyle = base.adapt("starry_night.jpg", steps=100)\n'),
    "Without adaptation it reproduces its input. Styles belong to exactly this base: its fingerprint is checked when "
    "they are loaded, and only styles of one base can be interpolated.\n",
)
_CONVERTED = (
    "A feed-forward style network of Johnson et al. 2016, converted for `metastyle_hub`.\n",
    _code(_LOAD_STYLE),
    "It was not adapted from a base, so `strength` has no effect, and it interpolates with no other style. Check that "
    "the license of the original lets you share it.\n",
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
