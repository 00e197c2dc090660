"""The demo picture: at one glance, what adaptation and interpolation do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from PIL import Image, ImageOps

from metastyle_hub.adaptation import AdaptationConfig
from metastyle_hub.data.examples import example
from metastyle_hub.images.io import ImageLike, load_image
from metastyle_hub.model import MetaStyle, StyleStep, interpolate
from metastyle_hub.images.grid import image_grid

__all__ = ["Demo", "demo_steps", "film_strip_marks"]


@dataclass(frozen=True)
class Demo:
    """What the demo shows: one photo, two styles, and the steps at which the adaptation is looked at."""

    photo: ImageLike = field(default_factory=lambda: example("temple"))
    styles: tuple[ImageLike, ImageLike] = field(
        default_factory=lambda: (example("night_swirls"), example("stained_glass"))
    )
    config: AdaptationConfig = field(default_factory=AdaptationConfig)
    blends: int = 6  # pictures in the strip between the two styles
    tile: int = 256  # pixels


def film_strip_marks(steps: int) -> tuple[int, ...]:
    """The steps of an adaptation worth showing: 0, 5, 20, 100 ... up to `steps`.

    >>> film_strip_marks(100)
    (0, 5, 20, 100)
    """
    return (*(mark for mark in (0, 5, 20, 50, 100, 200, 500) if mark < steps and (mark != 50 or steps < 100)), steps)


def demo_steps(base: MetaStyle, demo: Demo) -> Iterator[StyleStep | Image.Image]:
    """The steps of both adaptations as they happen, and at the end the picture.

    >>> *_, picture = demo_steps(MetaStyle.from_pretrained(), Demo())
    """
    photo = load_image(demo.photo).convert("RGB")
    photo.thumbnail((2 * demo.tile, 2 * demo.tile), Image.Resampling.LANCZOS)
    marks = film_strip_marks(demo.config.steps)
    rows: list[list[Image.Image]] = []
    learned: list[MetaStyle] = []
    for picture in demo.styles:
        row = [photo, ImageOps.fit(load_image(picture).convert("RGB"), photo.size)]
        for step in base.adapt_iter(picture, config=demo.config):
            yield step
            if step.index in marks:
                row.append(step.style_model.stylize(photo))
        rows.append(row)
        learned.append(step.style_model)
    shares = [i / (demo.blends - 1) for i in range(demo.blends)]
    rows.append([interpolate(learned, [1 - t, t]).stylize(photo) for t in shares])
    columns = ["photo", "style", *(f"{mark} steps" for mark in marks)]
    yield image_grid(rows, columns, tile=demo.tile)
