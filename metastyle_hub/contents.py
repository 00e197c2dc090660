"""The content images that adaptation learns on: the user's photos, a folder, or the built-in default.

A style is learned from how the network paints *contents*; which contents matters little as long as they have the
edges, textures and flat regions of photographs. `docs/decisions.md` has the comparison that chose the default.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor

from metastyle_hub.data import FolderPool, ImagePool, TensorPool
from metastyle_hub.errors import ImageError
from metastyle_hub.examples import example_photos
from metastyle_hub.images import ImageLike, load_image, resize_short_side, to_tensor

__all__ = ["Contents", "content_pool", "dead_leaves"]

Contents = ImagePool | ImageLike | Sequence[ImageLike] | None
"""What a user may name as contents: nothing, a picture, several, a folder, or a pool."""

_SHORT_SIDE = 384  # pixels; crops are drawn from pictures of this size, so larger ones would only cost memory
_OWN_SHARE = 0.5  # of the crops come from the user's own pictures, the rest from the built-in ones


def dead_leaves(size: int, rng: np.random.Generator) -> Tensor:
    """A picture of overlapping opaque shapes: (3, size, size) in [0, 1].

    The dead-leaves model (Matheron 1968; Lee, Mumford and Huang 2001): shapes whose sizes follow a power law,
    laid over one another, have the edge and scale statistics of photographs.
    """
    palette = rng.beta(0.8, 0.8, (6, 1)) * 255 + rng.normal(0, 30, (6, 3))
    image = Image.new("RGB", (size, size), _color(palette, rng))
    draw = ImageDraw.Draw(image)
    smallest, largest = size / 60, size / 2
    for _ in range(400):
        # radii with density r^-3 between the two limits: the scale-invariant law
        u = rng.random()
        radius = 1 / np.sqrt((1 - u) / smallest**2 + u / largest**2)
        x, y = rng.uniform(0, size, 2)
        a, b = radius, radius * rng.uniform(0.4, 1)
        if rng.random() < 0.5:
            draw.ellipse((x - a, y - b, x + a, y + b), fill=_color(palette, rng))
        else:
            corners = int(rng.integers(3, 7))
            angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
            points = [(x + a * np.cos(t), y + b * np.sin(t)) for t in angles]
            draw.polygon(points, fill=_color(palette, rng))
    image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.4, 1.2))))
    picture = np.asarray(image, np.float32) / 255
    light = _pink_noise(size, rng)[..., None]
    texture = rng.normal(0, 0.03, (size, size, 1))
    picture = np.clip(picture * (1 + 0.25 * light) + texture, 0, 1)
    return torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1).contiguous()


def _color(palette: np.ndarray, rng: np.random.Generator) -> tuple[int, int, int]:
    value = palette[rng.integers(len(palette))] + rng.normal(0, 18, 3)
    r, g, b = (int(v) for v in np.clip(value, 0, 255))
    return r, g, b


def _pink_noise(size: int, rng: np.random.Generator) -> np.ndarray:
    """Noise with the 1/f spectrum of natural light, of unit variance: (size, size)."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    spectrum = np.fft.rfft2(rng.normal(size=(size, size))) / np.maximum(frequency, 1 / size) ** 1.2
    noise = np.fft.irfft2(spectrum, (size, size))
    return np.asarray((noise - noise.mean()) / noise.std())


@lru_cache(maxsize=1)
def _built_in() -> tuple[Tensor, ...]:
    pictures = [dead_leaves(_SHORT_SIDE, np.random.default_rng(i)) for i in range(12)]
    for path in example_photos().values():
        pictures.append(resize_short_side(to_tensor(load_image(path)), _SHORT_SIDE)[0])
    return tuple(pictures)


def content_pool(contents: Contents = None) -> ImagePool:
    """The pool that adaptation draws its content crops from.

    Args:
        contents: None for the built-in pictures alone; a folder, which then is all that is used; a picture or a
            list of pictures, which share the crops half and half with the built-in ones, because a network that
            has seen one photo only has nothing else to be right about; or a pool of your own.

    Raises:
        ImageError: a picture or folder that cannot be used.
    """
    if contents is None:
        return TensorPool(_built_in())
    if isinstance(contents, str | os.PathLike) and Path(contents).is_dir():
        return FolderPool(contents)
    if not isinstance(contents, Image.Image | Tensor | np.ndarray | str | os.PathLike | Sequence):
        if not isinstance(contents, ImagePool):
            raise ImageError(
                f"Contents are photos, a folder or a pool of pictures, not {contents!r}; leave them out for the "
                "built-in ones."
            )
        return contents
    if isinstance(contents, Tensor) and contents.ndim == 4:
        contents = list(contents)
    given = contents if isinstance(contents, Sequence) and not isinstance(contents, str) else [contents]
    if len(given) == 0:
        raise ImageError("The list of contents is empty; name at least one photo, or None for the built-in pictures.")
    own = [_prepared(picture) for picture in given]
    built_in = _built_in()
    repeats = max(1, round(len(built_in) * _OWN_SHARE / (1 - _OWN_SHARE) / len(own)))
    return TensorPool([*own * repeats, *built_in])


def _prepared(picture: ImageLike) -> Tensor:
    tensor = to_tensor(load_image(picture))
    return resize_short_side(tensor, _SHORT_SIDE)[0] if min(tensor.shape[-2:]) > _SHORT_SIDE else tensor[0]
