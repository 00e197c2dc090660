"""Run the command line in this process."""

from __future__ import annotations

import re

import pytest

from metastyle_hub.cli import main

QUICK = ["--steps", "2", "--crop-size", "64", "--style-size", "32", "--batch-size", "1", "--precision", "float32"]


def run(*arguments: object) -> int:
    """Run a command on the CPU; return its status."""
    return main([*map(str, arguments), "--device", "cpu"])


def refused(capsys: pytest.CaptureFixture[str], *arguments: object, device: bool = True) -> str:
    """Run a command that must end with status 2 and one sentence; return the sentence."""
    capsys.readouterr()
    assert (run(*arguments) if device else main([*map(str, arguments)])) == 2
    text = capsys.readouterr().err
    assert "Traceback" not in text
    (sentence,) = [line for line in re.split(r"[\r\n]+", text) if line.startswith("metastyle: ")]
    assert sentence.endswith("."), sentence
    return sentence
