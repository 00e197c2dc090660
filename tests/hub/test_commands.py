"""The Hub from the command line and from the documentation."""

from __future__ import annotations

import json
import re
from pathlib import Path

import tiny
import torch
from hub_fixtures import content, forget, make_style

from metastyle_hub import MetaStyle
from metastyle_hub.cli import main

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "docs" / "hub.md"


def test_push_list_pull_and_use_from_the_command_line(hub, base, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base.push_to_hub("me/base")
    style = make_style(MetaStyle.from_pretrained("me/base"), 1, name="Starry")
    style.save_pretrained("starry")
    tiny.image(tiny.content()).save("photo.png")
    assert main(["push", "starry", "me/starry-night", "--preview", "photo.png", "--message", "Mine"]) == 0
    repo = hub.repos["me/starry-night"]
    assert repo.log[-1] == "main: Mine" and "preview.jpg" in repo.files()
    assert repo.refs["main"] in capsys.readouterr().out
    assert main(["push", "starry", "me/starry-night", "--revision", "dev", "--license", "mit", "--private"]) == 0
    assert main(["push", "starry", "me/starry-night", "--create-pr", "--license", "mit"]) == 0
    assert "/discussions/1" in capsys.readouterr().out

    assert main(["list", "starry", "--base", "me/base", "--sort", "downloads"]) == 0
    out = capsys.readouterr().out
    assert "me/starry-night" in out and "Starry" in out
    assert main(["list", "--json", "--limit", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["preview"].endswith("/preview.jpg")
    assert main(["list", "nothing-of-that-name"]) == 0
    assert capsys.readouterr().out == "No styles found.\n"

    assert main(["info", "me/starry-night@dev"]) == 0
    assert f"me/starry-night@{repo.refs['dev'][:12]}" in capsys.readouterr().out
    assert main(["pull", "me/starry-night"]) == 0
    assert {p.name for p in Path("starry-night").iterdir()} == set(repo.files()) - {".gitattributes"}
    for name in ("README.md", "model.safetensors", "config.json", "preview.jpg"):
        assert (Path("starry-night") / name).read_bytes() == repo.files()[name]
    forget()
    assert torch.equal(MetaStyle.from_pretrained("starry-night").stylize(content()), style.stylize(content()))
    assert main(["stylize", "photo.png", "-s", "me/starry-night", "-o", "out.png", "--device", "cpu"]) == 0
    assert Path("out.png").is_file()


def test_mistakes_on_the_command_line_are_one_sentence(hub, base, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base.save_pretrained("base")
    base.push_to_hub("me/base")
    Path("full").mkdir()
    (Path("full") / "mine.txt").write_text("x")
    for arguments, value in (
        (["pull", "base"], "base"),
        (["pull", "me/base", "-o", "full"], "full"),
        (["pull", "me/none"], "me/none"),
        (["push", "none", "me/x"], "none"),
        (["push", "base", "me/x", "--create-pr", "--revision", "dev"], "create_pr"),
        (["push", "base", "me/x", "--preview", "none.jpg"], "none.jpg"),
        (["list", "--limit", "0"], "limit"),
        (["convert", "none.pth", "-o", "x"], "none.pth"),
    ):
        assert main(arguments) == 2, arguments
        printed = capsys.readouterr().err
        assert printed.startswith("metastyle: ") and value in printed and "Traceback" not in printed, printed
    assert main(["pull", "me/base", "-o", "full", "--force"]) == 0
    assert {p.name for p in Path("full").iterdir()} > {"mine.txt", "config.json"}


def test_the_example_in_the_documentation_runs(hub, base, tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    base.push_to_hub("me/base")
    make_style(MetaStyle.from_pretrained("me/base"), 1).save_pretrained("starry")
    tiny.image(tiny.content()).save("photo.jpg")
    tiny.image(tiny.style()).save("starry_night.jpg")
    forget()
    exec(compile(code.replace("steps=100", "steps=2"), str(README), "exec"), {})
    assert Path("out.png").is_file() and "preview.jpg" in hub.repos["me/starry-night"].files()
