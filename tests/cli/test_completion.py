"""`metastyle completion` knows every command and option."""

from __future__ import annotations

import subprocess

import pytest

from metastyle_hub.cli import main
from metastyle_hub.cli.main import command_parser


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_script_names_commands_and_options(capsys, shell):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(word in script for word in ("interpolate", "completion", "--preserve-color", "--style-size"))


def test_bash_accepts_the_script(capsys):
    main(["completion", "bash"])
    try:
        done = subprocess.run(
            ["bash", "-n"], input=capsys.readouterr().out, text=True, capture_output=True, check=False
        )
    except FileNotFoundError:
        pytest.skip("there is no bash here")
    assert done.returncode == 0, done.stderr


def test_without_arguments_every_command_has_its_own():
    text = command_parser(None).format_help()
    assert "stylize" in text and "completion" in text
