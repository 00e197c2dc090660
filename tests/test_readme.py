"""The Python of README.md runs as it is printed, against a Hub on this machine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import tiny
from hub_server import LocalHub
from PIL import Image
from videos import write_video

from metastyle_hub import MetaStyle
from metastyle_hub.data.examples import example

README = Path(__file__).parents[1] / "README.md"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with the files that the examples name."""
    monkeypatch.chdir(tmp_path)
    names = {"starry_night.jpg": "night_swirls", "wave.jpg": "woodblock_waves", "photo.jpg": "coffee"}
    for name, source in names.items():
        with Image.open(example(source)) as image:
            image.convert("RGB").resize((96, 80)).save(tmp_path / name)
    write_video(tmp_path / "walk.mp4", [tiny.content(), tiny.content(seed=1)])
    return tmp_path


def test_every_example_runs(folder: Path, hub: LocalHub) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    assert len(blocks) >= 4
    names: dict[str, object] = {}
    for block in blocks:
        # two steps instead of a hundred, and a small video: the examples must run, the images need not be good
        quick = re.sub(r"steps=\d+", "steps=2", block).replace("size=360", "size=64")
        exec(compile(quick, str(README), "exec"), names)
    for name in ("out.png", "step_0.png", "again.png"):
        assert Image.open(folder / name).size == (96, 80)
    assert (folder / "stylized.mp4").stat().st_size > 0
    shared = hub.repos["me/starry-night"].files()
    assert {"config.json", "model.safetensors", "README.md", "preview.jpg"} <= shared.keys()
    mix = MetaStyle.from_pretrained(folder / "my_mix")
    assert [part["weight"] for part in mix.config.mix or []] == [0.3, 0.7]


def test_every_link_to_a_file_exists() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README.read_text(encoding="utf-8"))
    assert len(links) > 10
    assert [link for link in links if not (README.parent / link).exists()] == []
