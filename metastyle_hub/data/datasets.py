"""Image datasets for training, and reproducible random crops of them.

A draw depends on nothing but its generator. A training run that resumes at step n and seeds its generator with
(seed, n) sees the same crops as one that was never stopped.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from metastyle_hub.config import Config, expanded, option
from metastyle_hub.errors import ImageError, SettingError, first_line
from metastyle_hub.images.files import image_suffixes
from metastyle_hub.images.io import list_images, load_image, to_tensor
from metastyle_hub.images.transforms import center_crop, resize_short_side

__all__ = [
    "CropConfig",
    "FolderDataset",
    "ImageDataset",
    "InMemoryDataset",
    "center_crops",
    "check_crop_scales",
    "next_readable",
    "open_dataset",
    "random_crop",
    "random_crops",
]

log = logging.getLogger(__name__)


@runtime_checkable
class ImageDataset(Protocol):
    """Numbered images: `len(dataset)` of them, `dataset[i]` is (3, H, W) in [0, 1]."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Tensor: ...


class FolderDataset:
    """The images of a folder and its subfolders, sorted by path, decoded on access.

    Raises:
        ImageError: if the folder does not exist or holds no image.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.paths: list[Path] = list_images(folder)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        return to_tensor(load_image(self.paths[index]))[0]


class InMemoryDataset:
    """Images in memory, each (3, H, W) in [0, 1]; sizes may differ."""

    def __init__(self, images: Sequence[Tensor | Image.Image]) -> None:
        self.images = [image if isinstance(image, Tensor) else to_tensor(image)[0] for image in images]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


@dataclass(frozen=True)
class CropConfig(Config):
    """How a square crop is drawn from an image."""

    size: int = option(256, "pixels a side; source: the paper, section 5", low=1)
    min_scale: float = option(0.5, "smallest crop, as a share of the short side", low=0.001, high=1)
    max_scale: float = option(1.0, "largest crop, as a share of the short side", low=0.001, high=1)
    jitter: float = option(0.0, "brightness, contrast and saturation each change by up to this share", low=0, high=1)
    flip: bool = option(True, "whether half of the crops are mirrored")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_crop_scales(self.min_scale, self.max_scale)


def check_crop_scales(min_scale: float, max_scale: float) -> None:
    """Refuse a range of crop scales that is empty.

    Raises:
        SettingError: if the largest scale is below the smallest.
    """
    if max_scale < min_scale:
        raise SettingError(f"max_scale must be at least min_scale ({min_scale:g}), got {max_scale:g}.")


def random_crop(image: Tensor, config: CropConfig, rng: np.random.Generator) -> Tensor:
    """Draw a random square crop: (3, H, W) in [0, 1] -> (3, size, size) in [0, 1]."""
    height, width = image.shape[-2:]
    # never enlarge by more than two: an enlarged crop is smoother than any photo
    short = min(height, width)
    smallest = min(short, max(config.size / 2, config.min_scale * short))
    side = round(rng.uniform(smallest, max(smallest, config.max_scale * short)))
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    crop = image[None, :, top : top + side, left : left + side]
    if side != config.size:
        crop = F.interpolate(crop, (config.size, config.size), mode="bilinear", antialias=True)
    if config.flip and rng.random() < 0.5:
        crop = crop.flip(-1)
    if config.jitter:
        brightness, contrast, saturation = 1 + config.jitter * rng.uniform(-1, 1, 3)
        gray = crop.mean(1, keepdim=True)
        crop = gray + saturation * (crop - gray)
        crop = crop.mean() + contrast * (crop - crop.mean())
        crop = crop * brightness
    # dither by up to one 8-bit level: on a crop of one color every instance norm multiplies the gradient by 300, until
    # it overflows; half a level would vanish in bfloat16's rounding of white
    dither = 2 * torch.from_numpy(rng.random(crop.shape, np.float32)).to(crop.device) - 1
    return (crop + dither / 255)[0].clamp(0, 1)


def random_crops(dataset: ImageDataset, count: int, config: CropConfig, rng: np.random.Generator) -> Tensor:
    """Draw crops of different images, as far as there are enough: (count, 3, size, size) in [0, 1]."""
    indices = rng.choice(len(dataset), count, replace=count > len(dataset))
    return torch.stack([random_crop(next_readable(dataset, int(i)), config, rng) for i in indices])


def next_readable(dataset: ImageDataset, index: int) -> Tensor:
    """Return image `index`, or the next readable one: a broken file must not end a run of days.

    Raises:
        ImageError: if no image is readable.
    """
    for i in range(len(dataset)):
        try:
            return dataset[(index + i) % len(dataset)]
        except ImageError as error:
            last = error
            log.warning("%s The next image replaces it.", error)
    raise ImageError(f"None of the {len(dataset)} images is readable; the last one: {last}")


def center_crops(dataset: ImageDataset, size: int) -> Tensor:
    """Return the central square of every image, resized to `size` pixels: (len(dataset), 3, size, size)."""
    images = (resize_short_side(dataset[i][None], size) for i in range(len(dataset)))
    return torch.cat([center_crop(image, size) for image in images])


def open_dataset(source: str | os.PathLike[str]) -> FolderDataset:
    """Open a local folder, or a dataset of image files on the Hugging Face Hub ("user/name").

    Raises:
        ImageError: if neither exists, or it holds no image files (images inside Parquet files are not read).

    >>> len(open_dataset("photos"))
    2
    """
    folder = expanded(source)
    if folder.is_dir() or len(folder.parts) != 2 or folder.is_absolute():
        return FolderDataset(folder)
    from huggingface_hub import snapshot_download

    # of huggingface_hub: * also stands for folders, and capital letters count
    patterns = ["*" + "".join(f"[{c}{c.upper()}]" if c.isalpha() else c for c in s) for s in image_suffixes()]
    try:
        local = snapshot_download(str(source), repo_type="dataset", allow_patterns=patterns)
    except Exception as error:
        raise ImageError(
            f"{source} is neither a folder nor a readable Hub dataset ({first_line(error)}); check the path."
        ) from error
    try:
        return FolderDataset(local)
    except ImageError as error:
        raise ImageError(
            f"The Hub dataset {source} holds no image files, and Parquet is not read; download and unpack it first."
        ) from error
