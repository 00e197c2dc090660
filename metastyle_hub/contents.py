"""The content images that adaptation learns on: the user's photos, a folder, or the built-in default.

A style is learned from how the network paints *contents*. The default is the six example photos that come along:
made-up pictures teach less. `docs/decisions.md` has the comparison.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from metastyle_hub.data import FolderPool, ImagePool, TensorPool
from metastyle_hub.errors import ImageError
from metastyle_hub.examples import example_photos
from metastyle_hub.geometry import resize_short_side
from metastyle_hub.images import ImageLike, load_image, to_tensor

__all__ = ["Contents", "content_pool"]

Contents = ImagePool | ImageLike | Sequence[ImageLike] | None
"""What a user may name as contents: nothing, a picture, several, a folder, or a pool."""

_SHORT_SIDE = 384  # pixels; crops are drawn from pictures of this size, so larger ones would only cost memory
_OWN_SHARE = 0.5  # of the crops come from the user's own pictures, the rest from the built-in ones


@lru_cache(maxsize=1)
def _built_in() -> tuple[Tensor, ...]:
    return tuple(resize_short_side(to_tensor(load_image(p)), _SHORT_SIDE)[0] for p in example_photos().values())


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
