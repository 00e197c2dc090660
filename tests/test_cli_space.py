"""The `metastyle space` command: finds the page, or says in a sentence why it cannot."""

import importlib.util
import socket
import sys

import pytest

from metastyle_hub import cli, cli_space


def test_the_page_of_the_checkout_is_found():
    pytest.importorskip("gradio", reason="gradio is not installed: pip install '.[space]'")
    assert (cli_space.space_folder() / "style.css").is_file()


def test_a_package_without_the_page_says_where_it_is(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(cli_space, "__file__", str(tmp_path / "site-packages" / "metastyle_hub" / "cli_space.py"))
    assert cli.main(["space"]) == 2
    assert "make space" in capsys.readouterr().err


def test_without_gradio_the_command_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert cli.main(["space"]) == 2
    assert "metastyle-hub[space]" in capsys.readouterr().err


def test_a_port_in_use_is_told_in_a_sentence(capsys):
    pytest.importorskip("gradio", reason="gradio is not installed: pip install '.[space]'")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert cli.main(["space", "--device", "cpu", "--port", str(port)]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert str(port) in told and "another port" in told
