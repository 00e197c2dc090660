"""Checkpoints of a training: one file, whole at any time, from which the same command continues."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from metastyle_hub.errors import SettingError, first_line

__all__ = ["read_checkpoint", "write_checkpoint"]


def read_checkpoint(file: Path, device: torch.device | str = "cpu") -> dict[str, Any] | None:
    """Return what `write_checkpoint` wrote, with its tensors on a device; None if there is no file.

    Raises:
        SettingError: for a damaged file.
    """
    if not file.exists():
        return None
    try:
        state = torch.load(file, map_location=device, weights_only=True)
    except Exception as error:  # unpickling fails in many ways
        raise SettingError(f"The checkpoint {file} is damaged; delete it, or use another folder.") from error
    if not isinstance(state, dict):
        raise SettingError(f"The checkpoint {file} is damaged; delete it, or use another folder.")
    return state


def write_checkpoint(file: Path, state: Mapping[str, Any]) -> None:
    """Write a temporary file and rename it: a kill leaves the old or the new checkpoint whole.

    Raises:
        OSError: if it cannot be written.

    >>> write_checkpoint(Path("checkpoint.pt"), {"step": 1})
    >>> read_checkpoint(Path("checkpoint.pt"))
    {'step': 1}
    """
    temporary = file.with_suffix(".tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(dict(state), temporary)
        temporary.replace(file)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        temporary.unlink(missing_ok=True)
        raise OSError(
            f"The checkpoint {file} cannot be written ({first_line(error)}); free space, and start again from the "
            "last one, which is whole."
        ) from error
