"""`metastyle adapt` writes a usable style, and keeps it when it is stopped."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import QUICK, run
from PIL import Image

import metastyle_hub
from metastyle_hub import MetaStyle
from metastyle_hub.adaptation import AdaptationConfig


def test_adapt_writes_a_style_that_loads(template):
    style = MetaStyle.from_pretrained(template / "starry")
    assert style.config.steps == 2 and style.config.trainable == "all" and style.name == "style0"
    assert style.config.adaptation["batch_size"] == 1 and style.config.adaptation["crop_size"] == 64
    assert MetaStyle.from_pretrained(template / "wave").config.trainable == "norm"


def test_adapt_does_what_the_library_does(home):
    base = MetaStyle.from_pretrained("base")
    settings = {"steps": 2, "crop_size": 64, "style_size": 32, "batch_size": 1, "precision": "float32"}
    assert (
        MetaStyle.from_pretrained("starry").fingerprint
        == base.adapt("style0.png", trainable="all", **settings).fingerprint
    )


def test_quick_is_the_preset_whose_values_options_replace(home):
    assert run("adapt", "style0.png", "-o", "new", "--base", "base", "--quick", *QUICK, "--steps", "1") == 0
    settings, quick = MetaStyle.from_pretrained("new").config.adaptation, AdaptationConfig.quick()
    assert settings["steps"] == 1 and settings["warmup_steps"] == quick.warmup_steps
    for name in ("steps", "batch_size"):
        assert getattr(quick, name) < getattr(AdaptationConfig(), name)


def test_adapt_names_the_next_command_and_writes_a_preview(home, capsys):
    assert run("adapt", "style0.png", "-o", "new", "--base", "base", "--preview", "photo.png", *QUICK) == 0
    assert "metastyle stylize PHOTO -s new" in capsys.readouterr().out
    assert Image.open("new/preview.jpg").size == (60, 40) and "preview.jpg" in Path("new/README.md").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_keep_the_style_as_it_is(home, number):
    arguments = ["adapt", "style0.png", "-o", "new", "--base", "base", *QUICK, "--steps", "1000"]
    # a background job of a shell starts with Ctrl-C ignored, and so would its children
    listen = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{listen}; from metastyle_hub.cli import main; sys.exit(main({arguments!r}))"
    environment = {**os.environ, "PYTHONPATH": str(Path(metastyle_hub.__file__).parent.parent)}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as running:
        seen = b""
        while not re.search(rb" [1-9]\d*/1000", seen):
            seen += running.stderr.read1()
        running.send_signal(number)
        printed, _ = running.communicate(timeout=60)
    assert running.returncode == 128 + number and b"new: " in printed
    assert 0 < MetaStyle.from_pretrained("new").config.steps < 1000


def test_content_images_and_loss_weights_change_the_style(home):
    for name, more in (("a", ["--content", "photo.png"]), ("b", ["--style-weight", "3", "--content", "."])):
        assert run("adapt", "style0.png", "-o", name, "--base", "base", *more, *QUICK) == 0
    a, b = MetaStyle.from_pretrained("a"), MetaStyle.from_pretrained("b")
    assert len({a.fingerprint, b.fingerprint, MetaStyle.from_pretrained("starry").fingerprint}) == 3
    assert b.config.adaptation["weights"]["style_weight"] == 3


@pytest.mark.parametrize(
    "card",
    [b"---\ntitle: Notes: monday\n---\n", b"caf\xe9\n", b"---\nMy notes\n---\n", b"---\ndate: 2024-02-30\n---\n"],
)
def test_a_readme_that_is_no_card_stays_and_the_style_is_saved(home, caplog, card):
    Path("new").mkdir()
    Path("new/README.md").write_bytes(card)
    assert run("adapt", "style0.png", "-o", "new", "--base", "base", *QUICK) == 0
    assert Path("new/README.md").read_bytes() == card and "README.md" in caplog.text
    assert MetaStyle.from_pretrained("new").config.steps == 2


def test_a_folder_that_cannot_hold_a_style_is_refused_before_the_first_step(home, capsys):
    for name, content in (("config.json", '{"model_type": "bert"}'), ("model.safetensors/x", ""), ("README.md/x", "")):
        Path("mine", name).parent.mkdir(parents=True)
        Path("mine", name).write_text(content)
        before = {p: p.is_file() and p.read_bytes() for p in Path("mine").rglob("*")}
        assert run("adapt", "style0.png", "-o", "mine", "--base", "base", *QUICK) == 2
        said = capsys.readouterr().err
        assert name.partition("/")[0] in said and "Traceback" not in said
        assert "step" not in said, "no progress bar has started"
        assert {p: p.is_file() and p.read_bytes() for p in Path("mine").rglob("*")} == before
        shutil.rmtree("mine")


def test_a_name_and_several_style_images(home):
    assert run("adapt", "style0.png", "style1.png", "-o", "both", "--base", "base", "--name", "two", *QUICK) == 0
    both = MetaStyle.from_pretrained("both")
    assert both.name == "two"
    assert both.config.style_sha256 != MetaStyle.from_pretrained("starry").config.style_sha256
