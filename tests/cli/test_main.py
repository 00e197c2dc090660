"""The command explains itself, starts quickly, and works as a program."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny

import metastyle_hub
from metastyle_hub.cli import main


@pytest.mark.parametrize(
    "command", ["adapt", "stylize", "interpolate", "demo", "info", "push", "pull", "list", "convert"]
)
def test_every_command_explains_itself(capsys, command):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    text = capsys.readouterr().out
    assert caught.value.code == 0 and f"usage: metastyle {command}" in text
    assert ("--device" in text) == (command in ("adapt", "stylize", "interpolate", "demo"))


def test_a_closed_pipe_is_no_failure():
    code = "import sys; from metastyle_hub.cli import main; sys.stdin.read(); sys.exit(main(['info']))"
    environment = {**os.environ, "PYTHONPATH": str(Path(metastyle_hub.__file__).parent.parent)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, **pipes) as running:
        running.stdout.close()
        running.stdin.close()
        assert running.stderr.read() == b"" and running.wait() == 1


def test_letters_that_the_terminal_cannot_encode_are_no_failure(home):
    shutil.copytree("starry", "星空")
    done = tiny.python("-m", "metastyle_hub", "info", "星空", PYTHONIOENCODING="cp1252")
    assert done.returncode == 0 and "a style, from \\u661f\\u7a7a" in done.stdout, done.stderr


def test_the_module_runs_as_a_program():
    done = tiny.python("-m", "metastyle_hub", "--help")
    assert done.returncode == 0 and "metastyle stylize photo.jpg" in done.stdout and done.stderr == ""
    for command in ("adapt", "stylize", "interpolate", "info", "demo"):
        assert re.search(rf"^ +{command}\b", done.stdout, re.M)
    wrong = tiny.python("-m", "metastyle_hub", "info", "there/is/none")
    assert wrong.returncode == 2 and wrong.stdout == "" and wrong.stderr.startswith("metastyle: ")
    assert wrong.stderr.count("\n") == 1


def test_version_and_help_do_not_import_torch():
    for argument in ("--version", "--help"):
        done = tiny.python("-X", "importtime", "-m", "metastyle_hub", argument)
        imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
        assert done.returncode == 0 and "metastyle_hub.cli.main" in imported
        assert not imported & {"torch", "PIL", "huggingface_hub", "gradio"}


def test_help_shows_the_recipe_only_on_request(capsys):
    for option, shown in (("--help", False), ("--help-all", True)):
        with pytest.raises(SystemExit) as caught:
            main(["adapt", option])
        text = capsys.readouterr().out
        assert caught.value.code == 0 and "--steps" in text and "--trainable" in text
        assert ("--freeze-encoder-after" in text) == ("--outlier-weight" in text) == shown
