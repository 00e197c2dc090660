"""Every script shows its help, and its docstring names its command."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import tiny

ROOT = Path(__file__).parents[2]
SCRIPTS = [
    path
    for path in sorted((ROOT / "scripts").rglob("*.py"))
    if 'if __name__ == "__main__":' in path.read_text(encoding="utf-8") and path.name != "minimal_metastyle.py"
]


def test_there_are_scripts():
    assert len(SCRIPTS) >= 10


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_help_is_the_docstring_with_the_command(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("sys.argv", [str(path), "--help"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(path), run_name="__main__")
    assert stopped.value.code == 0
    assert f"python {path.relative_to(ROOT).as_posix()}" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["evaluation/evaluate.py", "draw_example_styles.py"])
def test_a_script_finds_its_siblings_from_any_folder(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    done = tiny.python(str(ROOT / "scripts" / name), "--help")
    assert done.returncode == 0, done.stderr
