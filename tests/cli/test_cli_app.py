"""The `metastyle space` command: it serves the app, or says in one sentence why it cannot."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from command_line import refused

from metastyle_hub.data.examples import example


def test_without_gradio_the_command_names_the_extra_to_install(monkeypatch, capsys):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "gradio" else find_spec(name))
    assert "metastyle-hub[app]" in refused(capsys, "space")


def test_a_port_in_use_is_named(capsys):
    pytest.importorskip("gradio", reason="gradio is not installed: pip install '.[app]'")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert port in refused(capsys, "space", "--port", port)


def test_an_interrupt_during_an_adaptation_ends_the_process_in_order() -> None:
    # whatever the threads of the adaptation are doing
    gradio_client = pytest.importorskip("gradio_client", reason="gradio is not installed: pip install '.[app]'")
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    # a shell that starts this in the background makes its children ignore interrupts
    listen = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)"
    run = f"from metastyle_hub.cli import main; sys.exit(main(['space', '--device', 'cpu', '--port', '{port}']))"
    command = [sys.executable, "-c", f"{listen}; {run}"]
    variables = {**os.environ, "PYTHONUNBUFFERED": "1"}
    page = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=variables)
    try:
        assert page.stdout is not None
        while "Running on" not in (line := page.stdout.readline()):
            assert line, "the process ended before the page was served"
        client = gradio_client.Client(f"http://127.0.0.1:{port}", verbose=False)
        content, style = (gradio_client.handle_file(example(name)) for name in ("cat", "stained_glass"))
        job = client.submit(content_image=content, style_image=style, steps=200, trainable="decoder", api_name="/adapt")
        while len(job.outputs()) < 3:  # previews are streamed
            assert not job.done(), job.result()
            time.sleep(0.1)
        page.send_signal(signal.SIGINT)
        output, _ = page.communicate(timeout=120)
    finally:
        page.kill()
    assert page.returncode == 0, output
    assert "terminate" not in output
