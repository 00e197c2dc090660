"""The built-in styles of the app."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Self

from metastyle_hub.app.files import plain_name
from metastyle_hub.data.examples import example_styles
from metastyle_hub.errors import MetaStyleError
from metastyle_hub.model import MetaStyle

__all__ = ["CHECKOUT_STYLES", "Gallery", "opening_styles"]

log = logging.getLogger(__name__)

CHECKOUT_STYLES = Path(__file__).resolve().parents[2] / "space" / "styles"
"""The folder of the adapted styles, in a checkout of the project."""


_OPENING = ("cut paper", "night swirls", "ink mountains", "woodblock waves")  # they differ, and suit any photo


def opening_styles(names: Iterable[str]) -> list[str]:
    """Return the names of styles, those with which the page opens first.

    >>> opening_styles(["batik kawung", "night swirls"])
    ['night swirls', 'batik kawung']
    """
    names = list(names)
    return [*(name for name in _OPENING if name in names), *(name for name in names if name not in _OPENING)]


class Gallery(Mapping[str, MetaStyle]):
    """Built-in styles by name, each loaded on first use.

    >>> sorted(Gallery.from_examples(MetaStyle.from_pretrained()))[:2]
    ['batik kawung', 'cubist planes']
    """

    def __init__(self, sources: Mapping[str, Path], load: Callable[[Path], MetaStyle]) -> None:
        self._sources = {plain_name(name): path for name, path in sources.items()}
        self._load = load
        self._styles: dict[str, MetaStyle] = {}

    @classmethod
    def open(cls, base: MetaStyle, folder: Path | None = None) -> Self:
        """Return the styles of a folder; without one, those of the checkout or of the example images.

        Args:
            base: of the styles.
            folder: of style folders.
        """
        folder = folder or CHECKOUT_STYLES
        return cls.from_folder(base, folder) if folder.is_dir() else cls.from_examples(base)

    @classmethod
    def from_folder(cls, base: MetaStyle, folder: Path) -> Self:
        """Load adapted styles, at once; those that are damaged or of another base are left out with a warning."""
        gallery = cls({path.name: path for path in sorted(folder.iterdir())}, base.load_style)
        for name, path in list(gallery._sources.items()):
            try:
                gallery[name]
            except MetaStyleError as error:
                log.warning("The built-in style %s is left out: %s", path.name, error)
                del gallery._sources[name]
        return gallery

    @classmethod
    def from_examples(cls, base: MetaStyle) -> Self:
        """Predict the styles of the example images, each on first use; none if the base has no predictor."""
        return cls(example_styles() if base.predictor is not None else {}, base.predict_style)

    def __getitem__(self, name: str) -> MetaStyle:
        if name not in self._styles:
            self._styles[name] = self._load(self._sources[name]).renamed(name)
        return self._styles[name]

    def __contains__(self, name: object) -> bool:  # Mapping's would load the style
        return name in self._sources

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)
