"""The content dataset: what an adaptation trains on. Your photos, a folder, or the built-in example photos.

A style is fitted to how the network stylizes content images. The default is the six example photos that ship with
the package; synthetic images did worse (docs/experiments.md).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image
from torch import Tensor

from metastyle_hub.config import expanded
from metastyle_hub.data.datasets import FolderDataset, ImageDataset, InMemoryDataset
from metastyle_hub.data.examples import example_contents
from metastyle_hub.errors import ImageError
from metastyle_hub.images.io import ImageLike, load_image, to_tensor
from metastyle_hub.images.transforms import resize_short_side

__all__ = ["CONTENT_SIZE", "ContentImages", "content_dataset"]

ContentImages = ImageDataset | ImageLike | Sequence[ImageLike] | None
"""What callers may pass as content images: nothing, an image, several, a folder, or a dataset."""

CONTENT_SIZE = 384  # pixels; crops are smaller, so larger images would only cost memory
_OWN_SHARE = 0.5  # of the crops come from the caller's images, the rest from the built-in ones


@lru_cache(maxsize=1)
def _built_in() -> tuple[Tensor, ...]:
    return tuple(resize_short_side(to_tensor(load_image(p)), CONTENT_SIZE)[0] for p in example_contents().values())


def content_dataset(images: ContentImages = None) -> ImageDataset:
    """Return the dataset that an adaptation draws its content crops from.

    Args:
        images: None for the built-in images alone; a folder, which is then used alone; an image or a list of images,
            which get half of the crops, the built-in ones the other half, because one photo alone is overfitted; or a
            dataset.

    Raises:
        ImageError: if an image or folder cannot be used.

    >>> len(content_dataset())
    6
    """
    if images is None:
        return InMemoryDataset(_built_in())
    if isinstance(images, str | os.PathLike) and expanded(images).is_dir():
        return FolderDataset(images)
    if not isinstance(images, Image.Image | Tensor | np.ndarray | str | os.PathLike | Sequence):
        if not isinstance(images, ImageDataset):
            raise ImageError(
                f"Content images are images, a folder or a dataset, got {images!r}; leave them out for the default."
            )
        return images
    if isinstance(images, Tensor) and images.ndim == 4:
        images = list(images)
    given = images if isinstance(images, Sequence) and not isinstance(images, str) else [images]
    if len(given) == 0:
        raise ImageError("The list of content images is empty; pass at least one, or None for the built-in ones.")
    own = [_prepared(image) for image in given]
    built_in = _built_in()
    repeats = max(1, round(len(built_in) * _OWN_SHARE / (1 - _OWN_SHARE) / len(own)))
    return InMemoryDataset([*own * repeats, *built_in])


def _prepared(image: ImageLike) -> Tensor:
    tensor = to_tensor(load_image(image))
    return resize_short_side(tensor, CONTENT_SIZE)[0] if min(tensor.shape[-2:]) > CONTENT_SIZE else tensor[0]
