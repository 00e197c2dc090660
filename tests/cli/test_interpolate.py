"""`metastyle interpolate` writes a strip or one mix."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import refused, run
from PIL import Image

from metastyle_hub import MetaStyle


def test_a_strip_between_two_styles(home):
    assert run("interpolate", "starry", "wave", "--content", "photo.png", "-o", "strip.png", "--frames", "3") == 0
    strip = Image.open("strip.png")
    assert strip.width > 3 * 60 and strip.height > 60


def test_one_mix_can_be_saved_and_used(home):
    weights = ["--weights", "0.25", "0.75", "--save", "mix"]
    assert run("interpolate", "starry", "wave", "--content", "photo.png", "-o", "mix.png", *weights) == 0
    mix = MetaStyle.from_pretrained("mix")
    assert np.array_equal(np.asarray(mix.stylize("photo.png")), np.asarray(Image.open("mix.png")))
    assert [part["weight"] for part in mix.config.mix] == [0.25, 0.75]


def test_a_mix_that_cannot_be_saved_is_refused_before_anything_is_written(home, capsys):
    Path("bert").mkdir()
    Path("bert/config.json").write_text('{"model_type": "bert"}')
    arguments = ["interpolate", "starry", "wave", "--content", "photo.png", "-o", "mix.png", "--weights", "0.5", "0.5"]
    assert "config.json" in refused(capsys, *arguments, "--save", "bert")
    assert not Path("mix.png").exists() and len(list(Path("bert").iterdir())) == 1
    Path("photo.png").write_bytes(b"broken")
    refused(capsys, *arguments, "--save", "new")
    assert not Path("new").exists()


def test_a_strip_shows_every_style(home):
    assert run("interpolate", *["starry", "wave"] * 3, "--content", "photo.png", "-o", "long.png") == 0
    assert run("interpolate", "starry", "wave", "--content", "photo.png", "-o", "short.png") == 0
    assert Image.open("long.png").width > 1.4 * Image.open("short.png").width  # 11 images and 7


@pytest.mark.parametrize("size", [(2000, 1), (1, 2000)])
def test_a_strip_of_a_thin_image(home, size):
    Image.new("RGB", size, "red").save("thin.png")
    arguments = ["starry", "wave", "--content", "thin.png", "-o", "strip.png", "--frames", "2"]
    assert run("interpolate", *arguments) == 0
    assert Image.open("strip.png").size > (512, 1)
