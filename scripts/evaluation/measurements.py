"""What an evaluation has measured: one line of JSON per unit of work, under a key of all that decides its figures."""

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

__all__ = ["Ledger", "Measurement", "digest", "key_of", "loss_key", "pool_key"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measurement:
    """The judge's view of one picture."""

    method: str
    style: int  # index of the style
    content: int  # index of the content
    step: int  # gradient steps or iterations so far
    seconds: float  # of work so far, without loading and judging; for `gatys` per pair, else per style
    total: float
    content_loss: float
    style_loss: float


@dataclass(frozen=True)
class Ledger:
    """The measurements of a folder, in `measurements.jsonl`. A line that a killed run left half is passed over.

    >>> ledger = Ledger(Path("runs/evaluation"))
    >>> ledger.append(key, rows); ledger.read()[key] == rows
    """

    folder: Path

    @property
    def file(self) -> Path:
        """Where the lines are."""
        return self.folder / "measurements.jsonl"

    def read(self) -> dict[str, list[Measurement]]:
        """All finished units by key; a later one with the same key replaces an earlier one."""
        done: dict[str, list[Measurement]] = {}
        if self.file.exists():
            for number, line in enumerate(self.file.read_text().splitlines(), 1):
                try:
                    unit = json.loads(line)
                    done[unit["key"]] = [Measurement(**row) for row in unit["rows"]]
                except (ValueError, TypeError, KeyError):  # the line that a killed run was writing, or no key
                    log.warning("ignoring line %d of %s, which is broken or has no key", number, self.file)
        return done

    def append(self, key: str, rows: list[Measurement]) -> None:
        """One finished unit."""
        self.folder.mkdir(parents=True, exist_ok=True)
        half = self.file.exists() and self.file.read_bytes()[-1:] not in (b"", b"\n")
        with self.file.open("a") as f:
            # after half a line a line of its own, or both would be lost
            f.write("\n" * half + json.dumps({"key": key, "rows": [asdict(row) for row in rows]}) + "\n")


def key_of(parts: Mapping[str, Any]) -> str:
    """A short SHA-256 of whatever decides a figure."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def digest(pictures: Tensor) -> str:
    """A short SHA-256 of one picture or of many, in eight bits: by it figures are known to be of these."""
    values = (pictures.detach().cpu() * 255).round().to(torch.uint8).contiguous()
    return hashlib.sha256(repr(tuple(values.shape)).encode() + values.numpy().tobytes()).hexdigest()[:16]


def loss_key(loss: PerceptualLoss) -> dict[str, Any]:
    """What decides the values of a loss."""
    features = loss.features
    return {
        "weights": loss.weights.to_dict(),
        "spec": asdict(features.spec),
        "features": fingerprint(features.state_dict()),
        "dtype": str(features.dtype),
    }


def pool_key(pool: ImageDataset) -> list[Any]:
    """What decides the crops that are drawn from a pool."""
    if isinstance(pool, FolderDataset):  # which may hold thousands: their names and sizes will do
        return [(path.name, path.stat().st_size) for path in pool.paths]
    return [digest(pool[i]) for i in range(len(pool))]
