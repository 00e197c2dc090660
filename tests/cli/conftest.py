"""Fixtures of the command-line tests: a folder with a tiny base, two styles and images."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import tiny
from command_line import QUICK

from metastyle_hub import MetaStyle
from metastyle_hub.cli import main


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base, two styles adapted by the command, style images and a content image."""
    folder = tmp_path_factory.mktemp("template")
    MetaStyle.from_parameters(tiny.parameters(), tiny.NETWORK, name="tiny").save_pretrained(folder / "base")
    for i in range(2):
        tiny.image(tiny.style(seed=i)).save(folder / f"style{i}.png")
    tiny.image(tiny.content(40, 60)).save(folder / "photo.png")
    for i, (name, trainable) in enumerate((("starry", "all"), ("wave", "norm"))):
        status = main(
            ["adapt", str(folder / f"style{i}.png"), "-o", str(folder / name), "--base", str(folder / "base"),
             "--trainable", trainable, *QUICK, "--device", "cpu"]
        )  # fmt: skip
        assert status == 0
    return folder


@pytest.fixture
def home(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, as the current folder."""
    shutil.copytree(template, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    return tmp_path / "home"
