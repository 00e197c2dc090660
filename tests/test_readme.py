"""The README's Python is what it says it is: code that runs, against a Hub of this machine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import tiny
from videos import write_video
from hub_server import LocalHub
from PIL import Image

from metastyle_hub import MetaStyle
from metastyle_hub.data.examples import example

README = Path(__file__).parents[1] / "README.md"


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the examples name."""
    monkeypatch.chdir(tmp_path)
    names = {"starry_night.jpg": "night_swirls", "wave.jpg": "woodblock_waves", "photo.jpg": "coffee"}
    for name, which in names.items():
        with Image.open(example(which)) as picture:
            picture.convert("RGB").resize((96, 80)).save(tmp_path / name)
    write_video(tmp_path / "walk.mp4", [tiny.content(), tiny.content(seed=1)])
    return tmp_path


def test_every_example_runs(pictures: Path, hub: LocalHub) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    assert len(blocks) >= 3
    names: dict[str, object] = {}
    for block in blocks:
        # two steps instead of a hundred, a film of stamps: the example must run, it need not be beautiful
        quick = re.sub(r"steps=\d+", "steps=2", block).replace("size=360", "size=64")
        quick = quick.replace('"wave.jpg")', '"wave.jpg", steps=2)')
        exec(compile(quick, str(README), "exec"), names)
    assert Image.open(pictures / "out.png").size == (96, 80)
    assert Image.open(pictures / "step_0.png").size == (96, 80)
    assert Image.open(pictures / "again.png").size == (96, 80)
    assert (pictures / "painted.mp4").stat().st_size > 0
    shared = hub.repos["me/starry-night"].files()
    assert {"config.json", "model.safetensors", "README.md", "preview.jpg"} <= shared.keys()
    mix = MetaStyle.from_pretrained(pictures / "my_mix")
    assert [round(part["weight"], 1) for part in mix.config.mix or []] == [0.3, 0.7]
