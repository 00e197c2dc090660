"""The `metastyle space` command: finds the page, or says in a sentence why it cannot."""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from metastyle_hub import cli
from metastyle_hub.cli import space as cli_space
from metastyle_hub.data.examples import example

ROOT = Path(__file__).resolve().parent.parent


def test_the_page_of_the_checkout_is_found():
    pytest.importorskip("gradio", reason="gradio is not installed: pip install '.[space]'")
    assert (cli_space.space_folder() / "style.css").is_file()


def test_a_package_without_the_page_says_where_it_is(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(cli_space, "__file__", str(tmp_path / "site-packages" / "metastyle_hub" / "cli" / "space.py"))
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


def test_interrupted_amid_its_work_the_page_ends_in_order() -> None:
    # whatever the threads that learn are at
    gradio_client = pytest.importorskip("gradio_client", reason="gradio is not installed: pip install '.[space]'")
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    variables = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    # a shell that starts this in the background has its children ignore interrupts
    listen = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)"
    run = f"from metastyle_hub.cli import main; sys.exit(main(['space', '--device', 'cpu', '--port', '{port}']))"
    command = [sys.executable, "-c", f"{listen}; {run}"]
    page = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=variables)
    try:
        assert page.stdout is not None
        while "Running on" not in (line := page.stdout.readline()):
            assert line, "the page ended before it was there"
        client = gradio_client.Client(f"http://127.0.0.1:{port}", verbose=False)
        photo, style = gradio_client.handle_file(example("cat")), gradio_client.handle_file(example("stained_glass"))
        job = client.submit(photo=photo, style=style, steps=200, trainable="decoder", api_name="/adapt")
        while len(job.outputs()) < 3:  # pictures come while it learns
            assert not job.done(), job.result()
            time.sleep(0.1)
        page.send_signal(signal.SIGINT)
        said, _ = page.communicate(timeout=120)
    finally:
        page.kill()
    assert page.returncode == 0, said
    assert "terminate" not in said
