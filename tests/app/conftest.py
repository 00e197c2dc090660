"""Fixtures of the app's tests: one tiny studio and one served page for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_fixtures import use_endpoint
from hub_server import LocalHub
from huggingface_hub import constants

CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="package", autouse=True)
def own_folder(tmp_path_factory) -> Iterator[None]:
    """A folder for Gradio's files: a server that ends deletes its own, which others may have by the same name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        yield


@pytest.fixture(scope="package")
def watch():
    from app_helpers import Watch

    return Watch()


@pytest.fixture(scope="package")
def studio(watch):
    from app_helpers import tiny_studio

    return tiny_studio(worker=watch)


@pytest.fixture(scope="package")
def url(studio) -> Iterator[str]:
    from app_helpers import served

    from metastyle_hub.app.app import build

    with served(build(studio)) as url:
        yield url


@pytest.fixture(scope="module")
def browser():
    """Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[test]'")
    if not CHROMIUM.is_file():
        pytest.skip(f"there is no {CHROMIUM}: apt-get install chromium")
    playwright.expect.set_options(timeout=12_000)  # a slow machine is not a broken page
    with playwright.sync_playwright() as driver:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        chromium = driver.chromium.launch(executable_path=str(CHROMIUM), args=flags)
        yield chromium
        chromium.close()


@pytest.fixture
def client(url):
    from gradio_client import Client

    return Client(url, verbose=False)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path) -> Iterator[LocalHub]:
    """A Hub on this machine, an empty cache, and nobody signed in."""
    with LocalHub() as server:
        use_endpoint(monkeypatch, server.url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield server
