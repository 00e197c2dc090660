"""Colors under transparent pixels, which nobody sees: visible ones replace them, so that no result depends on them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

__all__ = ["fill_hidden", "visible_box"]

_HIDDEN, _SOLID = 1, 128  # of 255: pixels below the first are filled, with colors of pixels from the second


def fill_hidden(rgb: Image.Image, alpha: Image.Image) -> Image.Image:
    """Return an "RGB" image in which reflections of the visible pixels replace the transparent ones.

    Rows are filled first, then those without a visible pixel. A constant color would do for the pixels, but not for
    the statistics of instance norms and Gram matrices, which are taken over the whole image.

    Args:
        rgb: an "RGB" image.
        alpha: an "L" image of its size.

    >>> cutout = image.convert("RGBA")
    >>> fill_hidden(cutout.convert("RGB"), cutout.getchannel("A")).mode
    'RGB'
    """
    opacity = np.asarray(alpha)
    if int(opacity.min()) >= _HIDDEN:
        return rgb
    solid: npt.NDArray[np.bool_] = np.greater_equal(opacity, min(_SOLID, max(1, int(opacity.max()))))
    if not solid.any():
        return Image.new("RGB", rgb.size, (128, 128, 128))
    pixels = np.array(rgb)  # (H, W, 3)
    filled: npt.NDArray[np.bool_] = np.any(solid, axis=1)
    for y in np.flatnonzero(filled & (opacity < _HIDDEN).any(1)):
        source, hidden = pixels[y, _reflected(solid[y])], opacity[y] < _HIDDEN
        pixels[y, hidden] = source[hidden]
    if not filled.all():
        rows = pixels[_reflected(filled)]
        hidden_pixels = (opacity < _HIDDEN) & ~filled[:, None]
        pixels[hidden_pixels] = rows[hidden_pixels]
    return Image.fromarray(pixels)


def visible_box(alpha: Image.Image) -> tuple[int, int, int, int] | None:
    """Return left, top, right and bottom of what is visible, or None if nothing is."""
    return alpha.point(lambda value: 255 * (value >= _HIDDEN)).getbbox()


def _reflected(valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    """For each index a valid one: itself, or its reflection to and fro in the nearest run of valid ones."""
    index = np.arange(len(valid))
    none = len(valid) * 2
    before = np.maximum.accumulate(np.where(valid, index, -none))  # the nearest valid index up to here, or far away
    after = np.minimum.accumulate(np.where(valid, index, none)[::-1])[::-1]
    starts = valid & ~np.concatenate([[False], valid[:-1]])
    ends = valid & ~np.concatenate([valid[1:], [False]])
    start = np.maximum.accumulate(np.where(starts, index, 0))
    end = np.minimum.accumulate(np.where(ends, index, len(valid) - 1)[::-1])[::-1]
    left = index - before <= after - index
    edge = np.where(left, before, after)
    length = np.where(left, before - start[before.clip(0)], end[after.clip(max=len(valid) - 1)] - after) + 1
    step = (np.abs(index - edge) - 1) % (2 * length)
    inwards = np.minimum(step, 2 * length - 1 - step)
    return np.where(valid, index, np.where(left, edge - inwards, edge + inwards))
