"""The publishing script takes the styles of the Space as they are, if they belong to the shipped base."""

from __future__ import annotations

import publish
import pytest
from huggingface_hub import RepoCard

from metastyle_hub.data.examples import example_styles


def plan(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    monkeypatch.setattr("sys.argv", ["publish.py", "--namespace", "me", *options])
    assert publish.main() == 0
    return capsys.readouterr().out


def test_the_space_s_styles_are_those_of_the_shipped_base_and_the_default_settings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = plan(monkeypatch, capsys)
    for name in example_styles():
        folder = publish.ROOT / "space" / "styles" / name
        line = next(line for line in printed.splitlines() if f" me/metastyle-{name.replace('_', '-')}:" in line)
        assert line.endswith(f"from {folder}")
    printed = plan(monkeypatch, capsys, "--steps", "99")
    assert "99" in printed and ", from " not in printed


def test_the_browser_page_becomes_a_static_space(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "would push spaces/me/metastyle-browser: static Space" in plan(monkeypatch, capsys)
    card = RepoCard.load(publish.ROOT / "space" / "browser" / "README.md").data.to_dict()
    assert card["sdk"] == "static" and card["app_file"] == "index.html"
    assert card["custom_headers"]["cross-origin-embedder-policy"] == "require-corp"  # without it there are no threads
