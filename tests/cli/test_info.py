"""`metastyle info` describes what a folder holds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from metastyle_hub import MetaStyle
from metastyle_hub.cli import main


@pytest.mark.parametrize("what", ["base", "starry"])
def test_info_tells_what_a_folder_holds(home, capsys, what):
    assert main(["info", what]) == 0
    text = capsys.readouterr().out
    model = MetaStyle.from_pretrained(what)
    assert f"{model.name}: a {model.config.kind}, from {what}" in text and model.base.fingerprint in text
    assert main(["info", what, "--json"]) == 0
    printed = capsys.readouterr().out
    in_file = json.loads(Path(what, "config.json").read_text())
    del in_file["weights_sha256"]  # of the file, not of the style
    assert json.loads(printed) == in_file and text.endswith(printed)


def test_info_needs_no_base(home, capsys):
    shutil.rmtree("base")
    assert main(["info", "starry"]) == 0
    assert "a style, from starry" in capsys.readouterr().out


def test_the_base_in_the_package_is_the_default(capsys):
    assert main(["info"]) == 0
    assert MetaStyle.from_pretrained().fingerprint in capsys.readouterr().out
