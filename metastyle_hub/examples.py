"""Pictures to try the library with: styles painted for this project, and freely licensed photographs.

Who made them and on what terms they may be used stands in `pictures/LICENSES.md`.
"""

from __future__ import annotations

from pathlib import Path

from metastyle_hub.errors import SettingError

PICTURES = Path(__file__).resolve().parent / "pictures"


def example_styles() -> dict[str, Path]:
    """The style pictures by name, in alphabetical order.

    >>> sorted(example_styles())[:2]
    ['batik_kawung', 'cubist_planes']
    """
    return _pictures("styles")


def example_photos() -> dict[str, Path]:
    """The photographs by name, in alphabetical order.

    >>> sorted(example_photos())[:2]
    ['astronaut', 'cat']
    """
    return _pictures("photos")


def example(name: str) -> Path:
    """The file of one style or photograph; an unknown name is a SettingError that lists the known ones.

    >>> example("mosaic_sun").name
    'mosaic_sun.jpg'
    """
    styles, photos = example_styles(), example_photos()
    known = styles | photos
    if name not in known:
        raise SettingError(
            f"There is no example picture named {name!r}: the styles are {', '.join(styles)}, "
            f"and the photos are {', '.join(photos)}."
        )
    return known[name]


def _pictures(folder: str) -> dict[str, Path]:
    return {path.stem: path for path in sorted((PICTURES / folder).glob("*.jpg"))}
