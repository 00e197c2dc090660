"""A user's mistake ends with status 2 and one sentence, and leaves nothing behind."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import tiny
from command_line import QUICK, refused
from safetensors.torch import load_file

from metastyle_hub import MetaStyle
from metastyle_hub.cli import main


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        ("adapt missing.jpg -o new --base base", ["missing.jpg"]),
        ("adapt base/config.json -o new --base base", ["config.json"]),
        ("adapt style0.png -o new --base base --steps -1", ["steps", "1000", "-1"]),
        ("adapt style0.png -o new --base base --crop-size 66", ["crop_size", "4", "66"]),
        ("adapt style0.png -o new --base base --style-weight nan", ["style_weight", "nan"]),
        ("adapt style0.png -o new --base base --content missing.jpg", ["missing.jpg"]),
        ("adapt style0.png -o new --base none", ["none"]),
        ("adapt style0.png -o new --base base --device quantum", ["quantum"]),
        ("stylize photo.png -s none -o out.png", ["none"]),
        ("stylize photo.png -s holiday -o out.png", ["holiday"]),
        ("stylize missing.png -s starry -o out.png", ["missing.png"]),
        ("stylize holiday -s starry -o results", ["holiday"]),
        ("stylize *.xyz -s starry -o results", ["*.xyz"]),
        ("stylize photo.png -s starry -o out.xyz", ["out.xyz", ".png"]),
        ("stylize photo.png -s starry -s wave -o out.png", ["out.png", "2 styles"]),
        ("stylize photo.png -s starry -o out.png --strength 2", ["strength", "2.0"]),
        ("stylize photo.png -s starry -o out.png --size 0", ["size", "0"]),
        ("stylize photo.png -s starry -o out.png --device cuda:99", ["cuda:99"]),
        ("interpolate starry wave --content photo.png -o m.png --weights 0.5 0.6", ["0.5", "0.6"]),
        ("interpolate starry wave --content photo.png -o m.png --weights 1", ["1 weights", "2 styles"]),
        ("interpolate starry wave --content missing.png -o m.png", ["missing.png"]),
        ("interpolate starry wave --content photo.png -o m.png --frames 1", ["--frames", "1"]),
        ("interpolate starry wave --content photo.png -o m.png --save mix", ["--save", "--weights"]),
        ("interpolate starry --content photo.png -o m.png", ["starry"]),
        ("interpolate starry wave --content photo.png -o m.xyz", ["m.xyz", ".png"]),
        ("adapt https://127.0.0.1:1/a.jpg -o new --base base", ["https://127.0.0.1:1/a.jpg"]),
        ("adapt style0.png -o new --base base --preview missing.jpg", ["missing.jpg"]),
        ("demo -o grid", ["grid", ".png"]),
        ("demo --styles style0.png missing.jpg -o out.png", ["missing.jpg"]),
        ("info holiday", ["holiday"]),
    ],
)
def test_a_mistake_is_one_sentence(home, capsys, arguments, values):
    Path("holiday").mkdir()
    before = sorted(Path().rglob("*"))
    parts = arguments.split()
    device = [] if "--device" in parts or parts[0] == "info" else ["--device", "cpu"]
    capsys.readouterr()
    assert main([*parts, *device]) == 2
    text = capsys.readouterr().err
    (sentence,) = [line for line in re.split(r"[\r\n]+", text) if line.startswith("metastyle: ")]
    assert all(value in sentence for value in values) and sentence.endswith(".") and "Traceback" not in text, text
    assert sorted(Path().rglob("*")) == before, "nothing is left behind"


@pytest.mark.parametrize(
    "arguments", [["stylize", "", "-s", "starry", "-o", "out"], ["stylize", "photo.png", "-s", "starry", "-o", ""]]
)
def test_an_empty_name_is_not_the_current_folder(home, capsys, arguments):
    before = sorted(Path().rglob("*"))
    assert "empty" in refused(capsys, *arguments)
    assert sorted(Path().rglob("*")) == before


def test_a_loss_that_goes_wrong_leaves_no_folder(home, capsys):
    tensors = load_file("base/model.safetensors")
    huge = {name: p * 1e38 if name.endswith((".norm.weight", "to_rgb.weight")) else p for name, p in tensors.items()}
    MetaStyle.from_parameters(huge, tiny.NETWORK).save_pretrained("base")
    assert "loss" in refused(capsys, "adapt", "style0.png", "-o", "new", "--base", "base", *QUICK)
    assert not Path("new").exists()


@pytest.mark.parametrize(
    "arguments", ["", "stylizes photo.png", "stylize photo.png", "adapt", "adapt x -o y --steps many"]
)
def test_a_wrong_command_line_shows_the_usage(capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments.split())
    assert caught.value.code == 2
    assert "usage: metastyle" in capsys.readouterr().err


def test_somebody_else_s_style_folder_is_refused_with_its_name(home, capsys):
    config = json.loads(Path("starry/config.json").read_text())
    config["base_model"]["fingerprint"] = "0" * 64
    Path("starry/config.json").write_text(json.dumps(config))
    assert "starry" in refused(capsys, "stylize", "photo.png", "-s", "starry", "-o", "out.png")
