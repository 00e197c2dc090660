"""The ledger of an evaluation: one line of JSON per unit of work, under a key of all that decides it."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metastyle_hub.artifacts.serialization import fingerprint
from metastyle_hub.data.datasets import FolderDataset, ImageDataset
from metastyle_hub.losses import PerceptualLoss

__all__ = ["Ledger", "Measurement", "dataset_key", "digest", "key_of", "loss_key"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measurement:
    """The losses of one image by the evaluation network."""

    method: str
    style: int  # index of the style image
    content: int  # index of the content image
    step: int  # gradient steps or iterations so far
    seconds: float  # of work so far, without loading and evaluation; for `gatys` per pair, else per style
    total: float
    content_loss: float
    style_loss: float


@dataclass(frozen=True)
class Ledger:
    """The measurements of a folder, in `measurements.jsonl`. A line that a kill left incomplete is ignored.

    Example::

        ledger = Ledger(Path("runs/evaluation"))
        ledger.append(key, rows); ledger.read()[key] == rows
    """

    folder: Path

    @property
    def file(self) -> Path:
        """The file of the lines."""
        return self.folder / "measurements.jsonl"

    def read(self) -> dict[str, list[Measurement]]:
        """Return all finished units by key; a later one with the same key replaces an earlier one."""
        done: dict[str, list[Measurement]] = {}
        if self.file.exists():
            for number, line in enumerate(self.file.read_text(encoding="utf-8").splitlines(), 1):
                try:
                    unit = json.loads(line)
                    done[unit["key"]] = [Measurement(**row) for row in unit["rows"]]
                except (ValueError, TypeError, KeyError):
                    log.warning("ignoring line %d of %s, which is incomplete or has no key", number, self.file)
        return done

    def append(self, key: str, rows: list[Measurement]) -> None:
        """Write one finished unit."""
        self.folder.mkdir(parents=True, exist_ok=True)
        incomplete = self.file.exists() and self.file.read_bytes()[-1:] not in (b"", b"\n")
        with self.file.open("a", encoding="utf-8") as file:
            # on a line of its own, or an incomplete line before it would make both unreadable
            unit = json.dumps({"key": key, "rows": [asdict(row) for row in rows]})
            file.write("\n" * incomplete + unit + "\n")


def key_of(parts: Mapping[str, Any]) -> str:
    """Return a short SHA-256 of everything that decides a figure."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def digest(images: Tensor) -> str:
    """Return a short SHA-256 of one image or of many, (..., 3, H, W) in [0, 1], in eight bits."""
    values = (images.detach().cpu() * 255).round().to(torch.uint8).contiguous()
    return hashlib.sha256(repr(tuple(values.shape)).encode() + values.numpy().tobytes()).hexdigest()[:16]


def loss_key(loss: PerceptualLoss) -> dict[str, Any]:
    """Return what decides the values of a loss."""
    extractor = loss.feature_extractor
    return {
        "weights": loss.weights.to_dict(),
        "spec": asdict(extractor.spec),
        "feature_extractor": fingerprint(extractor.state_dict()),
        "dtype": str(loss.dtype),
    }


def dataset_key(dataset: ImageDataset) -> list[Any]:
    """Return what decides the crops that are drawn from a dataset."""
    if isinstance(dataset, FolderDataset):  # of maybe thousands of files: names and sizes suffice
        return [(path.name, path.stat().st_size) for path in dataset.paths]
    return [digest(dataset[i]) for i in range(len(dataset))]
