"""What the tests that talk to the local Hub share: a Hub, styles made without training, and sentences."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
from hub_server import LocalHub
from huggingface_hub import constants
from torch import Tensor

import metastyle_hub.model as model_module
from metastyle_hub import MetaStyle, MetaStyleError
from metastyle_hub.artifacts.config import ArtifactConfig, BaseReference
from metastyle_hub.hub.download import EMBEDDED
from metastyle_hub.networks.param_groups import trainable_parameters


def at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LocalHub]:
    """A Hub, an empty cache, a token, and no waiting between the client's retries."""
    with LocalHub() as server:
        use_hub(monkeypatch, server, tmp_path / "cache")
        yield server


def use_hub(monkeypatch: pytest.MonkeyPatch, server: LocalHub, cache: Path) -> None:
    """Make this process a client of that Hub."""
    use_endpoint(monkeypatch, server.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setenv("HF_TOKEN", server.token)
    forget()


def use_endpoint(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """What HF_ENDPOINT does for a process that is still to start."""
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")


def make_style(base: MetaStyle, seed: int, trainable: str = "norm", name: str | None = None) -> MetaStyle:
    """A style of that base as adaptation would leave it, without the time that takes."""
    moved = {**base.state_dict(), **trainable_parameters(tiny.parameters(seed), trainable)}
    config = ArtifactConfig(
        kind="style",
        architecture=tiny.NETWORK,
        name=name or f"style {seed}",
        trainable=trainable,
        base_model=reference_to(base),
        steps=100,
        adaptation={"steps": 100, "weights": {"style_weight": 10.0}},
        style_sha256="ab" * 32,
    )
    return MetaStyle(config, moved, base)


def reference_to(base: MetaStyle) -> BaseReference:
    """How a style names this base."""
    if base.origin is None:
        return BaseReference(base.fingerprint, "unshared")
    if base.origin.folder == EMBEDDED:
        return BaseReference(base.fingerprint)
    return BaseReference(base.fingerprint, base.origin.repo_id or str(base.origin.folder), base.origin.commit)


def files_of(model: MetaStyle) -> dict[str, bytes]:
    """The files that `save_pretrained` writes."""
    with tempfile.TemporaryDirectory() as folder:
        return {file.name: file.read_bytes() for file in model.save_pretrained(folder).iterdir()}


def content(seed: int = 0, height: int = 40, width: int = 52) -> Tensor:
    return tiny.tensor(tiny.content(height, width, seed))


def forget() -> None:
    """Load from files again, not from the bases in memory."""
    model_module._REGISTRY.clear()


def published(hub: LocalHub, base: MetaStyle) -> tuple[MetaStyle, MetaStyle]:
    """The base and one style of norms on the Hub, as their author has them."""
    base.push_to_hub("me/base")
    shared = MetaStyle.from_pretrained("me/base")
    style = make_style(shared, 1, name="Starry")
    style.push_to_hub("me/starry")
    return shared, style


def assert_sentence(error: BaseException) -> None:
    text = str(error)
    assert isinstance(error, MetaStyleError)
    assert text.endswith(".") and "\n" not in text and len(text) < 400 and "Traceback" not in text, text
    assert ";" in text or ":" in text or "," in text, f"no way out in: {text}"


@contextlib.contextmanager
def without_root_permissions() -> Iterator[None]:
    """Root may write everywhere, and tests often run as root: within, this thread may write what its owner may."""
    if sys.platform != "linux" or os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, rights = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()  # version 3, this thread
    assert libc.capget(header, rights) == 0
    effective = rights[0]
    rights[0] = effective & ~(1 << 1)  # CAP_DAC_OVERRIDE
    assert libc.capset(header, rights) == 0
    try:
        yield
    finally:
        rights[0] = effective
        assert libc.capset(header, rights) == 0


def assert_nothing_half_written(cache: Path) -> None:
    leftovers = [p for p in cache.rglob("*") if p.suffix in (".incomplete", ".tmp")]
    assert leftovers == []
