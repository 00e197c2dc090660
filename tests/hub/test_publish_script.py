"""`scripts/publish.py`: a plan first; interrupted runs can be repeated."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
import tiny

from metastyle_hub import MetaStyle
from metastyle_hub.hub.search import list_styles

ROOT = Path(__file__).resolve().parents[2]


def run_script(command: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", command)
    return int(runpy.run_path(command[0])["main"]())


def test_publishing_is_planned_first_and_can_be_repeated(hub, base, tmp_path, capsys, monkeypatch):
    base.save_pretrained(tmp_path / "base")
    space = tmp_path / "space"
    (space / "__pycache__").mkdir(parents=True)
    (space / "__pycache__" / "app.pyc").write_bytes(b"x")
    (space / "app.py").write_text("print('hello')\n")
    (space / "README.md").write_text("---\nsdk: gradio\n---\n")
    (space / "browser").mkdir()
    (space / "browser" / "page.js").write_text("a source of the browser page, which is a Space of its own\n")
    script = ROOT / "scripts" / "publish.py"
    command = [str(script), "--namespace", "me", "--base", str(tmp_path / "base"), "--styles", "mosaic_sun"]
    command += ["--space", str(space), "--work", str(tmp_path / "work"), "--steps", "1", "--crop-size", "64"]
    environment = {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(tmp_path / "pub"), "HF_HUB_DISABLE_XET": "1"}
    assert run_script(command, monkeypatch) == 0
    out = capsys.readouterr().out
    assert out.count("would push") == 3 and "Nothing was sent" in out and hub.repos == {} and hub.requests == []
    done = tiny.python(*command, "--no-dry-run", **environment)
    assert done.returncode == 0, done.stderr
    assert set(hub.repos) == {"me/metastyle-base", "me/metastyle-mosaic-sun", "me/metastyle"}
    assert set(hub.repos["me/metastyle"].files()) == {".gitattributes", "README.md", "app.py"}
    assert "compact.safetensors" in hub.repos["me/metastyle-base"].files()
    assert {"style.jpg", "preview.jpg"} < hub.repos["me/metastyle-mosaic-sun"].files().keys()
    (found,) = list_styles(base="me/metastyle-base")
    assert MetaStyle.from_pretrained(found.repo_id).name == "mosaic_sun"
    commits = {name: len(repo.commits) for name, repo in hub.repos.items()}
    assert run_script([*command, "--no-dry-run"], monkeypatch) == 0
    assert {name: len(repo.commits) for name, repo in hub.repos.items()} == commits
    # a style with other settings is adapted again, and a file that is gone is deleted from the Space
    (space / "app.py").rename(space / "page.py")
    assert run_script([*command, "--no-dry-run", "--seed", "1"], monkeypatch) == 0
    assert set(hub.repos["me/metastyle"].files()) == {".gitattributes", "README.md", "page.py"}
    changed = {name: len(repo.commits) - commits[name] for name, repo in hub.repos.items()}
    assert changed == {"me/metastyle-base": 0, "me/metastyle-mosaic-sun": 1, "me/metastyle": 1}
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert run_script([*command, "--no-dry-run"], monkeypatch) == 2
    assert "HF_TOKEN" in capsys.readouterr().err
