"""The suite computes on the CPU, with one thread: for networks so small, threads cost more than they give.

The fixtures here are those of more than one module.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("ACCELERATE_USE_CPU", "true")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import pytest
import tiny
import torch
from hub_fixtures import at_home
from hub_server import LocalHub

from metastyle_hub import MetaStyle

torch.set_num_threads(1)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LocalHub]:
    """A Hub on this machine, and a client that asks no other."""
    yield from at_home(monkeypatch, tmp_path)


@pytest.fixture
def base() -> MetaStyle:
    """A base that is tiny and untrained, so that it costs no time to make one for every test."""
    return MetaStyle.from_parameters(tiny.parameters(), tiny.NETWORK, name="tiny base")
