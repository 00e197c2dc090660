"""Pools of pictures for training: where they come from, and reproducible random crops of them.

A draw depends on nothing but the generator it is given, so a training run that is resumed at step n and
seeds its generator with (seed, n) sees the same crops as one that was never stopped.
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

from metastyle_hub.errors import ImageError, SettingError, first_line
from metastyle_hub.geometry import center_crop, resize_short_side
from metastyle_hub.images import list_images, load_image, to_tensor

__all__ = [
    "CropConfig",
    "FolderPool",
    "ImagePool",
    "TensorPool",
    "center_crops",
    "check_scales",
    "next_readable",
    "open_pool",
    "random_crop",
    "random_crops",
]

log = logging.getLogger(__name__)


@runtime_checkable
class ImagePool(Protocol):
    """Numbered pictures: `len(pool)` of them, `pool[i]` is (3, H, W) in [0, 1]."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Tensor: ...


class FolderPool:
    """The pictures of a folder and its subfolders, in the order of their names, decoded when asked for."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.paths: list[Path] = list_images(folder)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        return to_tensor(load_image(self.paths[index]))[0]


class TensorPool:
    """Pictures that are already in memory, each (3, H, W) in [0, 1]; sizes may differ."""

    def __init__(self, pictures: Sequence[Tensor | Image.Image]) -> None:
        self.pictures = [p if isinstance(p, Tensor) else to_tensor(p)[0] for p in pictures]

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Tensor:
        return self.pictures[index]


@dataclass(frozen=True)
class CropConfig:
    """How a square crop is drawn from a picture."""

    size: int = 256  # pixels a side. Source: the paper, section 5
    min_scale: float = 0.5  # least share of the picture's short side that a crop spans, (0, 1]
    max_scale: float = 1.0  # largest, from min_scale to 1
    jitter: float = 0.0  # brightness, contrast and saturation each change by up to this share, 0 to 1
    flip: bool = True  # mirror left to right half of the time


def check_scales(min_scale: float, max_scale: float) -> None:
    """Refuse shares of a photo that are the wrong way round.

    Raises:
        SettingError: the largest is smaller than the least.
    """
    if max_scale < min_scale:
        raise SettingError(f"max_scale must be at least min_scale ({min_scale:g}), got {max_scale:g}.")


def random_crop(picture: Tensor, config: CropConfig, rng: np.random.Generator) -> Tensor:
    """A random square crop: (3, H, W) in [0, 1] -> (3, size, size) in [0, 1]."""
    height, width = picture.shape[-2:]
    # never blow a small piece up by more than two: enlarged pixels teach smoothness that no photo has
    short = min(height, width)
    least = min(short, max(config.size / 2, config.min_scale * short))
    side = round(rng.uniform(least, max(least, config.max_scale * short)))
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    crop = picture[None, :, top : top + side, left : left + side]
    if side != config.size:
        crop = F.interpolate(crop, (config.size, config.size), mode="bilinear", antialias=True)
    if config.flip and rng.random() < 0.5:
        crop = crop.flip(-1)
    if config.jitter:
        brightness, contrast, saturation = 1 + config.jitter * rng.uniform(-1, 1, 3)
        grey = crop.mean(1, keepdim=True)
        crop = grey + saturation * (crop - grey)
        crop = crop.mean() + contrast * (crop - crop.mean())
        crop = crop * brightness
    # noise of up to one level of eight bits: on one colour alone, every instance norm multiplies the gradient by 300,
    # until it overflows; half a level would be lost in bfloat16's rounding of white
    dither = 2 * torch.from_numpy(rng.random(crop.shape, np.float32)).to(crop.device) - 1
    return (crop + dither / 255)[0].clamp(0, 1)


def random_crops(pool: ImagePool, count: int, config: CropConfig, rng: np.random.Generator) -> Tensor:
    """`count` random crops of different pictures (as far as the pool has them): (count, 3, size, size)."""
    indices = rng.choice(len(pool), count, replace=count > len(pool))
    return torch.stack([random_crop(next_readable(pool, int(i)), config, rng) for i in indices])


def next_readable(pool: ImagePool, index: int) -> Tensor:
    """Picture `index`, or the next one that can be read: one broken file must not end a run of days.

    Raises:
        ImageError: not one of them can be read.
    """
    for i in range(len(pool)):
        try:
            return pool[(index + i) % len(pool)]
        except ImageError as error:
            broken = error
            log.warning("%s The next picture stands in for it.", error)
    raise ImageError(f"None of the {len(pool)} pictures can be read; the last because: {broken}")


def center_crops(pool: ImagePool, size: int) -> Tensor:
    """The central square of every picture at `size` pixels: (len(pool), 3, size, size)."""
    pictures = (resize_short_side(pool[i][None], size) for i in range(len(pool)))
    return torch.cat([center_crop(picture, size) for picture in pictures])


def open_pool(source: str | os.PathLike[str]) -> FolderPool:
    """The pictures of a local folder, or of a dataset of image files on the Hugging Face Hub ("user/name").

    Raises:
        ImageError: neither is there, or it holds no image files (pictures within Parquet files are not read).
    """
    folder = Path(source)
    if folder.is_dir() or len(folder.parts) != 2 or folder.is_absolute():
        return FolderPool(folder)
    from huggingface_hub import snapshot_download

    patterns = [f"**/*.{suffix}" for suffix in ("jpg", "jpeg", "png", "webp", "JPG", "JPEG", "PNG")]
    try:
        local = snapshot_download(str(source), repo_type="dataset", allow_patterns=patterns)
    except Exception as error:
        raise ImageError(
            f"{source} is neither a folder nor a Hub dataset that can be read ({first_line(error)}); check the path."
        ) from error
    try:
        return FolderPool(local)
    except ImageError as error:
        raise ImageError(
            f"The Hub dataset {source} holds no image files, and Parquet is not read; download and unpack it first."
        ) from error
