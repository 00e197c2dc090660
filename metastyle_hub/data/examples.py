"""Example images: styles drawn for this project, and freely licensed photos as content.

Authors and licenses are listed in `example_images/LICENSES.md`.
"""

from __future__ import annotations

from pathlib import Path

from metastyle_hub.errors import SettingError

__all__ = ["example", "example_contents", "example_styles"]

_IMAGES = Path(__file__).resolve().parents[1] / "example_images"


def example_styles() -> dict[str, Path]:
    """Return the style images by name, in alphabetical order.

    >>> sorted(example_styles())[:2]
    ['batik_kawung', 'cubist_planes']
    """
    return _images("style")


def example_contents() -> dict[str, Path]:
    """Return the content images by name, in alphabetical order.

    >>> sorted(example_contents())[:2]
    ['astronaut', 'cat']
    """
    return _images("content")


def example(name: str) -> Path:
    """Return the file of an example image.

    Raises:
        SettingError: for an unknown name; the message lists the known ones.

    >>> example("mosaic_sun").name
    'mosaic_sun.jpg'
    """
    styles, contents = example_styles(), example_contents()
    known = styles | contents
    if name not in known:
        raise SettingError(
            f"There is no example image {name!r}; the styles are {', '.join(styles)}, "
            f"the content images {', '.join(contents)}."
        )
    return known[name]


def _images(folder: str) -> dict[str, Path]:
    return {path.stem: path for path in sorted((_IMAGES / folder).glob("*.jpg"))}
