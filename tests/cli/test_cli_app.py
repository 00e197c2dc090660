"""The `metastyle space` command: it serves the app, or says in one sentence why it cannot."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

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


def test_a_server_that_is_ended_during_an_adaptation_leaves_nothing_of_its_visitors(tmp_path) -> None:
    # whatever the threads of the adaptation are doing
    gradio_client = pytest.importorskip("gradio_client", reason="gradio is not installed: pip install '.[app]'")
    dead, other = tmp_path / "metastyle-space-dead", tmp_path / "metastyle-space"
    for folder in (dead, other):
        folder.mkdir()
        (folder / "image.jpg").touch()
    (dead / "server.lock").touch()
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    variables = {**os.environ, "PYTHONUNBUFFERED": "1", "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "metastyle_hub", "space", "--device", "cpu", "--port", str(port)]
    page = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=variables)
    try:
        assert page.stdout is not None
        while "Running on" not in (line := page.stdout.readline()):
            assert line, "the process ended before the page was served"
        assert not dead.exists()
        client = gradio_client.Client(f"http://127.0.0.1:{port}", verbose=False, download_files=str(tmp_path / "mine"))
        content, style = (gradio_client.handle_file(example(name)) for name in ("cat", "stained_glass"))
        image = client.predict(content_image=content, style_image=style, steps=0, size=64, api_name="/stylize")
        assert list(tmp_path.glob("metastyle-space-*/**/cat*.jpg"))
        if importlib.util.find_spec("mcp") is not None:
            from mcp_client import call, data_url

            assert call(
                f"http://127.0.0.1:{port}/", "apply_style", content_image=data_url(example("cat")), style="cut paper"
            )
        job = client.submit(style_image=style, steps=200, api_name="/adapt")
        while len(job.outputs()) < 3:
            assert not job.done(), job.result()
            time.sleep(0.1)
        page.send_signal(signal.SIGTERM)
        output, _ = page.communicate(timeout=120)
    finally:
        page.kill()
    assert page.returncode in (0, 143), output
    assert "terminate" not in output
    left = [path for path in tmp_path.rglob("*") if path.is_file() and tmp_path / "mine" not in path.parents]
    assert left == [other / "image.jpg"]
    assert Path(image).is_file()
